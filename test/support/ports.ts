import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

/** Below the range from which the kernel picks ports by itself. */
const FIRST = 10_000
const BLOCK = 1000
const BLOCKS = 20

/** Each process of the tests has a block of its own. */
const first = FIRST + BLOCK * (Number(process.env['VITEST_POOL_ID'] ?? 0) % BLOCKS)
let given = randomInt(BLOCK)

/**
 * A port at which nobody listens, and that nobody else is given: whoever is to listen there may take
 * its time, and finds it free again after a stop.
 */
export async function freePort(): Promise<number> {
  const port = first + (given++ % BLOCK)
  const server = createServer()
  const isTaken = await new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(true))
    server.listen(port, '127.0.0.1', () => resolve(false))
  })
  if (isTaken) return freePort()
  await new Promise((resolve) => server.close(resolve))
  return port
}
