import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { basename, join } from 'node:path'
import { holdLock } from '../ledger/driver/sqlite.node.ts'
import type { Simulator } from '../simulator/simulator.ts'

/** Made anew by every demo. */
export const DIRECTORY = 'data/demo'
const DATABASE = `${DIRECTORY}/afterimage.db`

/** Empties the folder under its lock: what a running process has there is its own. */
export function makeAnew() {
  mkdirSync(DIRECTORY, { recursive: true })
  const lock = holdLock(DATABASE)
  try {
    for (const name of readdirSync(DIRECTORY))
      if (!name.startsWith(`${basename(DATABASE)}.lock`))
        rmSync(join(DIRECTORY, name), { recursive: true })
  } finally {
    lock.release()
  }
}

/** Everything shorter than in production, so that the end of each story is seen in seconds. */
export function settings(simulator: Simulator, token: string, port: number) {
  return {
    MODELSLAB_API_KEY: 'any-key-will-do',
    MODELSLAB_BASE_URL: simulator.apiUrl,
    PUBLIC_URL: `http://127.0.0.1:${port}`,
    PORT: String(port),
    DATABASE_PATH: DATABASE,
    OBJECTS_DIR: `${DIRECTORY}/objects`,
    API_TOKENS: `demo:admin:${token}`,
    ALLOWED_PRIVATE_ORIGINS: `${simulator.outputOrigin},${simulator.proxyOrigin}`,
    RECONCILE_GRACE_SECONDS: '1',
    RETRY_BASE_SECONDS: '0.3',
    LINK_LIFETIME_HOURS: String(6 / 3600),
    LOG_LEVEL: 'warn',
  }
}

/** `wanted`, or whichever is free where that one is taken. */
export async function freePort(wanted: number): Promise<number> {
  const probe = createServer()
  const port = await new Promise<number | null>((resolve) => {
    probe.once('error', () => resolve(null))
    probe.listen(wanted, '127.0.0.1', () => resolve((probe.address() as AddressInfo).port))
  })
  if (port === null) return freePort(0)
  await new Promise((resolve) => probe.close(resolve))
  return port
}
