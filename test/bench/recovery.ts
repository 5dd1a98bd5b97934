import { until } from '../support/process/program.ts'
import { macs } from '../../src/secrets/mac.ts'
import { newId } from '../../src/model/uuid.ts'
import { median } from './load.ts'
import { aims, row, say } from './report.ts'
import { copyOf, links, loopbackHosts, s3At, SECRET, service } from './rig.ts'
import { pending } from './seeds.ts'

const ROWS = 100_000
const IMAGE_BYTES = 200_000

/**
 * From the start of the process to the first callback answered and the first image archived, with
 * much left to do.
 */
export async function benchRecovery(rounds: number) {
  const seeded = await loopbackHosts()
  const full = await pending(links(seeded, IMAGE_BYTES, ROWS, 'recovery'))
  const short = await pending(links(seeded, IMAGE_BYTES, 16, 'little'))
  const measures: Record<'full' | 'short', { answered: number; archived: number }>[] = []
  for (let round = 1; round <= rounds; round++) {
    const measure = { short: await measured(short, seeded), full: await measured(full, seeded) }
    measures.push(measure)
    say(`  round ${round}: ${JSON.stringify(measure)}`)
  }
  const of = (size: 'full' | 'short', figure: 'answered' | 'archived') =>
    median(measures.map((measure) => measure[size][figure]))
  const line = (name: string, figure: 'answered' | 'archived', most: number) =>
    row(
      name,
      `${of('full', figure).toFixed(2)} s`,
      `${of('short', figure).toFixed(2)} s with 16`,
      of('full', figure),
      aims.atMost(most, ' s'),
    )
  return [
    line('first callback answered, 100,000 images due', 'answered', 1),
    line('first image archived, 100,000 images due', 'archived', 2),
  ]
}

async function measured(database: string, hosts: Awaited<ReturnType<typeof loopbackHosts>>) {
  const path = await copyOf(database)
  const { puts: before } = await hosts.seen()
  const began = Date.now()
  const settings = { ...s3At(hosts.store), ALLOWED_PRIVATE_ORIGINS: hosts.allowed }
  const started = service(path, settings)
  const archived = until(async () => (await hosts.seen()).puts > before).then(
    () => (Date.now() - began) / 1000,
  )
  const program = await started
  const id = newId(began)
  const url = `${program.url}/callbacks/${id}/${macs('callback', [SECRET]).sign(id)}`
  const response = await fetch(url, {
    method: 'POST',
    body: JSON.stringify({ status: 'processing', id: 1 }),
  })
  if (!response.ok) throw new Error(`the callback was answered ${response.status}`)
  const answered = (Date.now() - began) / 1000
  const figures = { answered, archived: await archived }
  await program.kill()
  return figures
}
