import { describe, expect, it, vi } from 'vitest'
import { mostAtOnce, visited } from '../support/visited.ts'
import { happened, shown, withoutJitter, world, type World } from '../support/world.ts'

const GOOD = 'good.example.net'
const LIVES = { 'a minute': 1 / 60, 'a day': 24 }
const half = (slots: number) => Math.max(1, Math.floor(slots / 2))

/** A world with so many slots, and the hosts of its images. */
async function scene(slots: number, life: keyof typeof LIVES = 'a minute') {
  withoutJitter()
  const here = world({
    ARCHIVE_CONCURRENCY: String(slots),
    LINK_LIFETIME_HOURS: String(LIVES[life]),
  })
  const there = await visited(here)
  there.behaves(GOOD, { after: 0.2 })
  return { here, ...there }
}

type Scene = Awaited<ReturnType<typeof scene>>

async function offerHanging({ behaves, offer }: Scene, hosts: number, links: number) {
  for (let n = 0; n < hosts; n++) {
    behaves(`hangs-${n}.net`, 'hangs')
    await offer(`hangs-${n}.net`, links)
  }
}

/** How many seconds pass until the first image of a host is archived, and until so many are. */
async function secondsUntilArchived({ here, pass }: Scene, host: string, count: number) {
  const archived = here.sqlite.db.$client
    .prepare(`select count(*) from images where status = 'archived' and host = ?`)
    .pluck()
  const first = await pass(50, () => Number(archived.get(host)) > 0)
  return { first, all: first + (await pass(50, () => archived.get(host) === count)) }
}

const statuses = async (here: World, id: string) =>
  (await shown(here, id)).images.map(({ status }) => status)

const archived = (count: number) => Array<string>(count).fill('archived')

const cases = [16, 3, 2].flatMap((slots) =>
  [1, 2, 10, 50].flatMap((hosts) =>
    (['a minute', 'a day'] as const).map((life) => ({ slots, hosts, life })),
  ),
)

describe('hosts that hang', () => {
  it.for(cases)(
    'hold up nobody who comes after them: $hosts of them, $slots slots, links that live $life',
    async ({ slots, hosts, life }) => {
      const on = await scene(slots, life)
      await offerHanging(on, hosts, hosts > 10 ? 6 : 60)
      await on.pass(2)

      const id = await on.offer(GOOD, 20)
      const { first, all } = await secondsUntilArchived(on, GOOD, 20)

      expect(first).toBeLessThanOrEqual(2)
      expect(all).toBeLessThanOrEqual(first + (20 / half(slots)) * 0.3)
      expect(await statuses(on.here, id)).toEqual(archived(20))
      expect(mostAtOnce(on.of('hangs'))).toBe(Math.min(hosts, half(slots)))
      expect(mostAtOnce(on.of('hangs-0.'))).toBe(1)
    },
  )

  it.for([16, 3, 2, 1])(
    'hold up nobody who comes in the same instant: fifty of them, %i slots',
    async (slots) => {
      const on = await scene(slots)
      await offerHanging(on, 25, 6)
      const between = await on.offer(GOOD, 20)
      for (let n = 25; n < 50; n++) on.behaves(`hangs-${n}.net`, 'hangs')
      for (let n = 25; n < 50; n++) await on.offer(`hangs-${n}.net`, 6)
      on.behaves('last.net', { after: 0.2 })
      const last = await on.offer('last.net', 20)

      const { first } = await secondsUntilArchived(on, 'last.net', 20)
      await on.pass(60)

      expect(first).toBeLessThanOrEqual(3)
      for (const id of [between, last]) expect(await statuses(on.here, id)).toEqual(archived(20))
      expect(mostAtOnce(on.of('hangs'))).toBe(half(slots))
    },
  )

  it.for([
    ['a new host', false],
    ['one that answered before', true],
  ] as const)(
    'of those that answered before, and hold all slots, give one to %s',
    async ([, isKnown]) => {
      const on = await scene(16)
      for (const host of ['hangs-0.net', 'hangs-1.net', GOOD]) {
        on.behaves(host, { after: 0.2 })
        if (host !== GOOD || isKnown) await on.offer(host, 1)
      }
      await on.pass(1)
      await offerHanging(on, 2, 60)
      await on.pass(0.4)
      expect(mostAtOnce(on.of('hangs'))).toBe(16)

      on.behaves(GOOD, { after: 0.8 })
      const id = await on.offer(GOOD, 40)
      const { first, all } = await secondsUntilArchived(on, GOOD, isKnown ? 41 : 40)

      expect(first).toBeLessThanOrEqual(2)
      // One by one it would be 32 s: what hangs for longer gives more than one slot.
      expect(all).toBeLessThanOrEqual(12)
      expect(await statuses(on.here, id)).toEqual(archived(40))
    },
  )

  it('are tried again one by one, and have half of the slots once they answer', async () => {
    const on = await scene(16, 'a day')
    await offerHanging(on, 1, 30)
    await on.pass(30)
    on.behaves('hangs-0.net', { after: 0.2 })
    expect(mostAtOnce(on.of('hangs'))).toBe(1)

    // A second, two, four and eight: the fifth has begun when it is well again.
    const { all } = await secondsUntilArchived(on, 'hangs-0.net', 30)

    expect(all).toBeLessThanOrEqual(3)
    expect(mostAtOnce(on.of('hangs'))).toBe(8)
  })

  it('give way as if not tried: no attempt is told, and no last try is used up', async () => {
    const on = await scene(2)
    on.behaves('hangs.net', 'hangs')
    const id = await on.offer('hangs.net', 1)
    // Its link has died meanwhile: this is the last try.
    await on.pass(63)
    expect(on.of('hangs')).toHaveLength(2)
    on.behaves('hangs.net', { after: 0.2 })
    await on.offer(GOOD, 2)
    await on.pass(3)

    expect(await happened(on.here, id, 'attempt')).toHaveLength(1)
    expect((await shown(on.here, id)).images).toMatchObject([{ status: 'archived', attempts: 3 }])
    expect(on.of('hangs')).toHaveLength(3)
  })

  it('are found out by whom they are offered, wherever that redirects to', async () => {
    const on = await scene(16)
    on.behaves('leads.net', { after: 0.1, status: 302, to: 'https://hangs.net/a.png' })
    on.behaves('hangs.net', 'hangs')
    await on.offer('leads.net', 60)
    await on.pass(10)

    await on.offer(GOOD, 20)
    const { first } = await secondsUntilArchived(on, GOOD, 20)

    expect(first).toBeLessThanOrEqual(1)
    expect(mostAtOnce(on.of('hangs'))).toBe(1)
  })

  it('are new again to a process that has started again, which loses nothing', async () => {
    const on = await scene(16)
    await offerHanging(on, 2, 60)
    await on.pass(3)
    await on.here.restart()
    const again = { ...on, ...(await visited(on.here)) }
    for (const host of ['hangs-0.net', 'hangs-1.net']) again.behaves(host, 'hangs')
    again.behaves(GOOD, { after: 0.2 })

    const id = await again.offer(GOOD, 20)
    const { first } = await secondsUntilArchived(again, GOOD, 20)

    expect(first).toBeLessThanOrEqual(1)
    expect(await statuses(on.here, id)).toEqual(archived(20))
  })

  it('do not hide that the store is back', async () => {
    const on = await scene(16)
    await offerHanging(on, 2, 60)
    const put = vi.spyOn(on.here.store, 'put').mockRejectedValue(new Error('away'))
    const id = await on.offer(GOOD, 20)
    await on.pass(3)
    expect(on.here.deps.health.read().objects).not.toBe('ok')
    put.mockRestore()

    const { all } = await secondsUntilArchived(on, GOOD, 20)

    expect(all).toBeLessThanOrEqual(5)
    expect(await statuses(on.here, id)).toEqual(archived(20))
  })
})

describe('hosts that only take their time', () => {
  it('are broken off a few times until that is known', async () => {
    const on = await scene(16)
    on.behaves('slow.net', { after: 6 })
    const id = await on.offer('slow.net', 20)
    await on.pass(45)

    expect(await statuses(on.here, id)).toEqual(archived(20))
    expect(on.of('slow').length).toBeLessThanOrEqual(20 + 3 + 3)
    expect(mostAtOnce(on.of('slow'))).toBe(8)
  })

  it('are never broken off for nothing: a single image may take what a download may', async () => {
    const on = await scene(16)
    on.behaves('slow.net', { after: 50 })
    const id = await on.offer('slow.net', 1)
    await offerHanging(on, 3, 60)
    await on.pass(55)

    expect(await statuses(on.here, id)).toEqual(archived(1))
    expect(on.of('slow')).toHaveLength(1)
  })

  it.for([
    ['a new host', 1],
    ['a new host', 4],
    ['a host that answered before', 10],
  ] as const)(
    'lose nothing of %s where the first %i of sixty links hang',
    async ([what, count]) => {
      const on = await scene(16)
      on.behaves('mixed.net', { after: 0.2 })
      for (let n = 0; n < count; n++) on.behaves(`https://mixed.net/${n}.png`, 'hangs')
      if (what !== 'a new host') {
        on.behaves('https://mixed.net/before.png', { after: 0.2 })
        await on.offer('mixed.net/before', 1)
        await on.pass(1)
      }

      const id = await on.offer('mixed.net', 60)
      await on.pass(55)

      expect((await statuses(on.here, id)).slice(count)).toEqual(archived(60 - count))
    },
  )

  it('are found out in rounds that become longer, where ten hang and two slots are', async () => {
    const on = await scene(2, 'a day')
    await offerHanging(on, 10, 6)
    await on.pass(5)
    on.behaves('slow.net', { after: 6 })
    const id = await on.offer('slow.net', 3)
    // Each of the ten may be waited for for a minute.
    await on.pass(200)

    expect(await statuses(on.here, id)).toEqual(archived(3))
  })

  it('do not cost each other what they have downloaded, where three share the slots', async () => {
    const on = await scene(16)
    const hosts = ['slow-0.net', 'slow-1.net', 'slow-2.net']
    for (const host of hosts) on.behaves(host, { after: 2 })
    for (const host of hosts) await on.offer(host, 40)
    await on.pass(60)

    expect(on.of('slow').filter(({ began, ended }) => ended - began < 1.9).length).toBeLessThan(12)
  })

  it('hold half of the slots at once where they refuse quickly', async () => {
    const on = await scene(16)
    on.behaves('refuses.net', { after: 0.4, status: 503 })
    await on.offer('refuses.net', 60)
    await on.pass(1)

    expect(mostAtOnce(on.of('refuses'))).toBe(8)
  })
})
