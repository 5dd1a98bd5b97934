import { afterAll, beforeAll, beforeEach, describe, expect } from 'vitest'
import { type Radosgw, radosgwInstalled, startRadosgw } from '../support/radosgw.ts'
import { it } from '../support/process/bench.ts'
import { Bucket, picturesInLedger, s3Settings } from '../support/process/bucket.ts'
import { ask, isSettled, submitted, untilShown } from '../support/process/client.ts'
import { Front, type Manner, MANNERS } from '../support/process/front.ts'
import { type Program, until } from '../support/process/program.ts'
import { sha256 } from '../support/process/stand-in.ts'
import { pollLivez } from '../support/process/livez.ts'

const readiness = async (program: Program) => {
  const response = await ask(program, '/readyz')
  return {
    code: response.status,
    ...((await response.json()) as { ledger: string; objects: string }),
  }
}

const SLOTS = 4
const BEFORE = 6
const MEANWHILE = 6
/** As long as a store that hangs is waited for. */
const PATIENCE_MS = 10_000

const { fine, ...faults } = MANNERS

describe.skipIf(!radosgwInstalled('the faults of a store'))('a store that', () => {
  let radosgw: Radosgw
  let bucket: Bucket
  beforeAll(async () => {
    radosgw = await startRadosgw()
    bucket = new Bucket(radosgw)
  })
  beforeEach(() => bucket.empty())
  afterAll(async () => {
    bucket.close()
    await radosgw.stop()
  })

  it.for<[string, Manner]>(Object.entries(faults))(
    '%s costs delay: callbacks are kept, /readyz and the log say it, nothing is hammered, and all is copied in the end',
    { timeout: 90_000 },
    async ([, fault], { bench }) => {
      const front = new Front(radosgw)
      const settings = s3Settings(await front.open())
      bench.after(() => front.close())
      const { here, provider, program } = await bench.service(undefined, {
        ...settings,
        RETRY_BASE_SECONDS: '0.2',
        ARCHIVE_CONCURRENCY: String(SLOTS),
      })
      const livez = pollLivez(program)
      const ids: string[] = []
      const submitMany = async (count: number) => {
        for (let n = 0; n < count; n++) ids.push((await submitted(program)).id)
      }
      await submitMany(BEFORE)
      for (const id of ids) await untilShown(program, id, isSettled)

      front.manner = fault
      const since = Date.now()
      await submitMany(MEANWHILE)
      await until(() => provider.deliveries.length === BEFORE + MEANWHILE)
      const down = await until(async () => {
        const state = await readiness(program)
        return state.objects !== 'ok' && state
      }, PATIENCE_MS + 10_000)
      const puts = () => front.puts.filter((at) => at > since).length
      const [from, before] = [Date.now(), puts()]
      await until(() => Date.now() - from > 3000)
      const hammered = puts() - before
      front.manner = fine
      for (const id of ids)
        await until(() => untilShown(program, id, isSettled).catch(() => null), 40_000)

      expect(down).toMatchObject({
        code: 200,
        ledger: 'ok',
        objects: expect.stringMatching(/^down since/u) as unknown,
      })
      expect(
        program.lines.filter((line) => line.includes('the object store does not answer')),
      ).toHaveLength(1)
      expect(provider.deliveries.map(({ status }) => status)).toEqual(
        Array(BEFORE + MEANWHILE).fill(200),
      )
      // One probe a second, which the SDK tries twice; and the records.
      expect(hammered).toBeLessThanOrEqual(2 * (4 + SLOTS))
      expect(await livez.longestGapMs()).toBeLessThan(1000)
      const kept = await bucket.pictures()
      expect(kept).toEqual(picturesInLedger(here.database))
      const pictures = provider.submissions.flatMap(({ pictures }) => pictures.map(sha256))
      expect([...kept.values()].toSorted()).toEqual([...new Set(pictures)].toSorted())
      expect(await readiness(program)).toMatchObject({ code: 200, objects: 'ok' })
    },
  )
})
