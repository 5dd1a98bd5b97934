import { describe, expect, it } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { ImageFailure, LedgerUnavailable } from '../../src/errors.ts'
import { absent, hanging, offered } from '../support/archiving.ts'
import {
  happened,
  LINK,
  OTHER_LINK,
  png,
  shown,
  success,
  withoutJitter,
  world,
} from '../support/world.ts'

describe('many images', () => {
  it('go first whose links die first, whenever they were offered', async () => {
    const here = world()
    const dying = [5, 1, 3].map(
      (hours) => `https://host-${hours}.net/a?Expires=${Date.UTC(2026, 0, 31, 12 + hours) / 1000}`,
    )
    for (const link of dying) await offered(here, { output: [link] })

    for (let turn = 0; turn < 3; turn++) await archiveDue(here.deps, 1)

    expect(here.cdn.gets).toEqual([dying[1], dying[2], dying[0]])
  })

  it('go first, too, whose further place dies first', async () => {
    const here = world()
    const dying = (link: string, minutes: number) =>
      `${link}?Expires=${Date.UTC(2026, 0, 31, 12, minutes) / 1000}`
    const id = await offered(here, { output: [dying(LINK, 120)] })
    await archiveDue(here.deps, 1)
    await offered(here, { output: [dying(OTHER_LINK, 60)] })
    await here.callback(id, success(id, { id: '', output: [dying(LINK, 5)] }))

    await archiveDue(here.deps, 1)
    await archiveDue(here.deps, 1)

    expect(here.cdn.gets.slice(1)).toEqual([dying(LINK, 5), dying(OTHER_LINK, 60)])
  })

  it('whose links still live go before those whose links have died, on the same host and on others', async () => {
    const here = world()
    const dying = (host: string, minutes: number) =>
      `https://${host}.net/${minutes}.png?Expires=${Date.UTC(2026, 0, 31, 12, minutes) / 1000}`
    const [dead, living, elsewhere] = [dying('one', 10), dying('one', 40), dying('other', 50)]
    for (const link of [dead, living, elsewhere]) await offered(here, { output: [link] })

    here.clock.advance(30 * 60)
    for (let turn = 0; turn < 3; turn++) await archiveDue(here.deps, 1)

    expect(here.cdn.gets).toEqual([living, elsewhere, dead])
  })

  it('of one host hold at most half of the slots', async () => {
    const here = world({ ARCHIVE_CONCURRENCY: '8' })
    await offered(here, {
      output: Array.from({ length: 20 }, (_, n) => `https://slow.example.net/${n}.png`),
    })
    await offered(here, { output: ['https://other.example.net/a.png'] })

    const tried = await archiveDue(here.deps, 8)

    expect(tried).toBe(5)
    expect(here.cdn.gets.filter((url) => url.includes('slow'))).toHaveLength(4)
  })

  it('of a host that holds its half already wait, and those of others go on', async () => {
    const here = world({ ARCHIVE_CONCURRENCY: '8' })
    await offered(here, {
      output: Array.from({ length: 20 }, (_, n) => `https://slow.example.net/${n}.png`),
    })
    await offered(here, { output: ['https://other.example.net/a.png'] })

    await archiveDue(here.deps, 4, new Map([['slow.example.net', 3]]))
    expect(here.cdn.gets).toHaveLength(2)

    await archiveDue(here.deps, 4, new Map([['slow.example.net', 4]]))
    expect(here.cdn.gets).toHaveLength(2)
  })

  it('are each tried once by workers that start together', async () => {
    const here = world()
    await offered(here, { output: [LINK, OTHER_LINK] })

    await Promise.all([archiveDue(here.deps, 10), archiveDue(here.deps, 10)])

    expect(here.cdn.gets.toSorted()).toEqual([LINK, OTHER_LINK])
  })
})

describe('a lease', () => {
  it('that has run out is taken up, and what its holder then says of a failure is ignored', async () => {
    const here = world()
    const stuck = hanging(here, LINK)
    const id = await offered(here, { output: [LINK] })
    const dead = archiveDue(here.deps, 10)
    await stuck.asked

    here.clock.advance(119)
    const early = await archiveDue(here.deps, 10)
    here.clock.advance(1)
    here.cdn.pages.set(LINK, await png('red'))
    const takenUp = await archiveDue(here.deps, 10)
    stuck.fail(new ImageFailure('unreachable', 'socket hang up'))
    await dead

    expect([early, takenUp]).toEqual([0, 1])
    expect((await shown(here, id)).images).toMatchObject([
      { status: 'archived', failure: null, attempts: 2 },
    ])
    expect(await happened(here, id, 'attempt')).toEqual([])
  })

  it('that has run out while the image stays pending leaves the schedule to the next holder', async () => {
    withoutJitter()
    const here = world()
    const stuck = hanging(here, LINK)
    const id = await offered(here, { output: [LINK] })
    const dead = archiveDue(here.deps, 10)
    await stuck.asked
    here.clock.advance(120)
    here.cdn.pages.set(LINK, absent)
    await archiveDue(here.deps, 10)

    stuck.fail(new ImageFailure('refused_address', 'a private address', { final: true }))
    await dead

    expect((await shown(here, id)).images).toMatchObject([
      { status: 'pending', failure: { code: 'not_found' } },
    ])
    expect(await happened(here, id, 'attempt')).toHaveLength(1)
  })

  it('that has run out does not spoil the bytes that come late', async () => {
    const here = world()
    const stuck = hanging(here, LINK)
    const id = await offered(here, { output: [LINK] })
    const slow = archiveDue(here.deps, 10)
    await stuck.asked
    here.clock.advance(120)
    here.cdn.pages.set(LINK, absent)
    await archiveDue(here.deps, 10)

    stuck.send(await png('red'))
    await slow

    expect(await shown(here, id)).toMatchObject({
      archive_status: 'archived',
      images: [{ failure: null }],
    })
  })

  it('is void after a restart', async () => {
    const here = world()
    const stuck = hanging(here, LINK)
    const id = await offered(here, { output: [LINK] })
    void archiveDue(here.deps, 10)
    await stuck.asked

    await here.restart()
    here.cdn.pages.set(LINK, await png('red'))
    await archiveDue(here.deps, 10)

    expect(await shown(here, id)).toMatchObject({ archive_status: 'archived' })
  })
})

it('keeps an image whose bytes are stored although the ledger cannot take that at once, without another download', async () => {
  const here = world()
  const id = await offered(here, { output: [LINK] })
  here.cdn.pages.set(LINK, await png('red'))
  const { archived } = here.deps.ledger
  here.deps.ledger.archived = () => {
    here.deps.ledger.archived = archived
    return Promise.reject(new LedgerUnavailable(new Error('database is locked')))
  }

  await archiveDue(here.deps, 1)
  expect((await shown(here, id)).images[0]?.status).toBe('pending')
  await here.idle()

  expect((await shown(here, id)).images[0]?.status).toBe('archived')
  expect(here.cdn.gets).toEqual([LINK])
})
