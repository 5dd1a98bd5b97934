import { firstIdAt } from '../../src/model/uuid.ts'
import { drive, median, quantile } from './load.ts'
import { aims, row, say } from './report.ts'
import { service, TOKEN } from './rig.ts'
import { ended } from './seeds.ts'

const FEW = 10_000
const MANY = 1_000_000
const REQUESTS = 500
/** As `ended` makes them: one generation every 10 ms. */
const APART_MS = 10

const PAGES: Record<string, (rows: number) => string> = {
  'first page': () => '',
  'deep page': (rows) => `&cursor=${firstIdAt(Date.now() - (rows * APART_MS) / 2)}`,
  'nsfw=flagged': () => '&nsfw=flagged',
  'status=failed': () => '&status=failed',
  'archive_status=lost': () => '&archive_status=lost',
  'model_id, deep': (rows) =>
    `&model_id=model-7&cursor=${firstIdAt(Date.now() - (rows * APART_MS) / 2)}`,
  'nsfw=flagged and status=succeeded': () => '&nsfw=flagged&status=succeeded',
  'nsfw=flagged and status=failed, none': () => '&nsfw=flagged&status=failed',
}

/**
 * Pages of 20 of `GET /v1/generations`, one request at a time, over a million rows as against ten
 * thousand.
 */
export async function benchLists(rounds: number) {
  const few = await measured(FEW, rounds)
  const many = await measured(MANY, rounds)
  return Object.keys(PAGES).flatMap((name) => {
    const [slow = Number.NaN, fast = Number.NaN] = [many.get(name), few.get(name)]
    const figures = [`p99 ${slow.toFixed(2)} ms`, `p99 ${fast.toFixed(2)} ms`] as const
    return [
      row(`list of 1,000,000, ${name}`, ...figures, slow, aims.atMost(10, ' ms')),
      row(`list of 1,000,000, ${name}, against 10,000`, ...figures, slow / fast, aims.atMost(1.5)),
    ]
  })
}

async function measured(rows: number, rounds: number) {
  say(`  seeding ${rows} generations …`)
  const program = await service(await ended(rows))
  const p99s = new Map<string, number[]>()
  for (let round = 0; round <= rounds; round++)
    for (const [name, query] of Object.entries(PAGES)) {
      const request = `GET /v1/generations?limit=20${query(rows)} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${TOKEN}\r\n\r\n`
      const { latencies, statuses } = await drive(
        program.url,
        Array.from({ length: REQUESTS }, () => request),
        1,
      )
      if (statuses.get('200') !== REQUESTS) throw new Error(`${name}: ${[...statuses].join(' ')}`)
      // The first round only warms up.
      if (round > 0) p99s.set(name, [...(p99s.get(name) ?? []), quantile(latencies, 0.99)])
    }
  await program.kill()
  return new Map([...p99s].map(([name, of]) => [name, median(of)]))
}
