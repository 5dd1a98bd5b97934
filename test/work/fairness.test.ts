import { describe, expect, it } from 'vitest'
import { mostAtOnce, visited } from '../support/visited.ts'
import { shown, world, type World } from '../support/world.ts'

const MINUTE_HOURS = String(1 / 60)
const GOOD = 'good.example.net'

const statuses = async (here: World, id: string) =>
  (await shown(here, id)).images.map(({ status }) => status)

const archivedOf = ({ sqlite }: World, host: string) =>
  sqlite.db.$client
    .prepare(`select count(*) from images where status = 'archived' and host = ?`)
    .pluck()
    .get(host) as number

const cases = [16, 3, 2].flatMap((slots) =>
  [1, 2, 10, 50].flatMap((hosts) =>
    [MINUTE_HOURS, '24'].map((life): [number, number, string] => [hosts, slots, life]),
  ),
)

describe('hosts that hang', () => {
  it.for(cases)(
    '%i of them with %i slots and links that live %s h hold up nobody who comes after them',
    async ([hosts, slots, life]) => {
      const here = world({ ARCHIVE_CONCURRENCY: String(slots), LINK_LIFETIME_HOURS: life })
      const there = await visited(here)
      there.behaves(GOOD, { after: 0.2 })
      for (let n = 0; n < hosts; n++) {
        there.behaves(`hangs-${n}.net`, 'hangs')
        await there.offer(`hangs-${n}.net`, hosts > 10 ? 6 : 60)
      }
      await there.pass(2)
      const id = await there.offer(GOOD, 20)
      const first = await there.pass(30, () => archivedOf(here, GOOD) > 0)
      const all = await there.pass(30, () => archivedOf(here, GOOD) === 20)
      console.log(
        hosts,
        slots,
        life,
        first.toFixed(1),
        all.toFixed(1),
        mostAtOnce(there.of('hangs')),
      )

      expect(first).toBeLessThanOrEqual(2)
      expect(await statuses(here, id)).toEqual(Array(20).fill('archived'))
      expect(mostAtOnce(there.of('hangs'))).toBeLessThanOrEqual(Math.max(1, Math.floor(slots / 2)))
      expect(mostAtOnce(there.of('hangs-0.'))).toBe(1)
    },
  )
})
