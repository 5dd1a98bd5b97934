import { describe, expect, it, vi } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { ImageFailure } from '../../src/errors.ts'
import { reconcileDue } from '../../src/work/reconcile.ts'
import {
  attempts,
  attemptsAndFetches,
  HOUR,
  linksInLedger,
  offered,
  offeredById,
} from '../support/archiving.ts'
import {
  happened,
  LINK,
  OTHER_LINK,
  png,
  shown,
  submitted,
  success,
  world,
} from '../support/world.ts'

describe('an image with several places', () => {
  it('is tried at each of them at once, that one first which dies first', async () => {
    const here = world()
    const links = [3, 1, 2].map(
      (hours) => `${LINK}?Expires=${Date.UTC(2026, 0, 31, 12 + hours) / 1000}`,
    )
    const { id } = await submitted(here)
    for (const link of links) await here.callback(id, success(id, { output: [link] }))

    for (let turn = 0; turn < 5; turn++) await archiveDue(here.deps, 10)

    expect(here.cdn.gets).toEqual([links[1], links[2], links[0]])
  })

  it('is archived from the one that has it, and not copied again', async () => {
    const here = world()
    here.cdn.pages.set(`${LINK}?v=2`, await png('red'))
    const { id } = await submitted(here)
    await here.callback(id, success(id))
    await here.callback(id, success(id, { output: [`${LINK}?v=2`] }))
    for (let turn = 0; turn < 3; turn++) await archiveDue(here.deps, 10)
    const archived = await shown(here, id)

    here.cdn.pages.set(`${LINK}?v=3`, await png('blue'))
    await here.callback(id, success(id, { output: [`${LINK}?v=3`] }))
    await attempts(here, 60, 1)

    expect(archived.images).toMatchObject([
      { status: 'archived', source_url: `${LINK}?v=***`, attempts: 2 },
    ])
    expect((await shown(here, id)).images).toEqual(archived.images)
    expect(here.cdn.gets).toHaveLength(2)
  })

  it('gets a last try at each when it has died', async () => {
    const here = world()
    const [early, late] = [1, 2].map(
      (hours) => `${LINK}?Expires=${Date.UTC(2026, 0, 31, 12 + hours) / 1000}`,
    )
    const id = await offered(here, { output: [early] })
    await here.callback(id, success(id, { output: [late], id: '' }))

    const at = await attempts(here, 3 * HOUR, 100)

    const lastOf = (link = '') => at[here.cdn.gets.lastIndexOf(link)]
    expect([lastOf(early), lastOf(late)]).toEqual([HOUR, 2 * HOUR])
    expect(await shown(here, id)).toMatchObject({ archive_status: 'lost' })
  })

  it('keeps a place that was offered while another was being tried', async () => {
    const here = world()
    here.cdn.pages.set(`${LINK}?v=2`, await png('red'))
    const { id } = await submitted(here)
    here.cdn.pages.set(`${LINK}?Expires=1500000000`, async () => {
      await here.callback(id, success(id, { output: [`${LINK}?v=2`] }))
      throw new ImageFailure('unreachable', 'socket hang up')
    })
    await here.callback(id, success(id, { output: [`${LINK}?Expires=1500000000`] }))

    await archiveDue(here.deps, 10)
    await archiveDue(here.deps, 10)

    expect(await shown(here, id)).toMatchObject({ archive_status: 'archived' })
  })
})

describe('before an image is lost', () => {
  const dead = `${LINK}?Expires=1500000000`

  it('one fetch asks for fresh links, and a fresh one is tried', async () => {
    const here = world()
    here.cdn.pages.set(LINK, await png('red'))
    const id = await offeredById(here, { output: [dead] })
    here.provider.knows(success(id))

    await attemptsAndFetches(here, 60, 1)

    expect(here.provider.fetches).toHaveLength(1)
    expect(await shown(here, id)).toMatchObject({ archive_status: 'archived' })
  })

  it('a fresh link is tried before those that die later, and those before dead ones', async () => {
    const here = world()
    const id = await offeredById(here, { output: [dead] })
    await archiveDue(here.deps, 10)
    const soon = `${LINK}?Expires=${Date.UTC(2026, 0, 31, 13) / 1000}`
    here.provider.knows(success(id, { output: [soon] }))
    await offeredById(here, { output: [`${OTHER_LINK}?Expires=1500000000`] })
    await offeredById(here, { output: [OTHER_LINK], id: 134712449 })
    here.cdn.gets.length = 0

    await reconcileDue(here.deps, 1)
    for (let turn = 0; turn < 3; turn++) await archiveDue(here.deps, 1)

    expect(here.cdn.gets).toEqual([soon, OTHER_LINK, `${OTHER_LINK}?Expires=1500000000`])
  })

  it('a fresh link may have another name', async () => {
    const here = world()
    here.cdn.pages.set(OTHER_LINK, await png('red'))
    const id = await offeredById(here, { output: [dead] })
    here.provider.knows(success(id, { output: [OTHER_LINK] }))

    await attemptsAndFetches(here, 60, 1)

    const { archive_status, images } = await shown(here, id)
    expect([archive_status, images.map((image) => [image.position, image.source_url])]).toEqual([
      'archived',
      [[0, OTHER_LINK]],
    ])
  })

  it('a retry does not wait for the fetch', async () => {
    const here = world({ LINK_LIFETIME_HOURS: '1' })
    const id = await offeredById(here, { output: [LINK] })
    here.deps.provider.fetch = () => Promise.resolve({ status: 'unreadable', reason: 'HTTP 502' })
    await attemptsAndFetches(here, HOUR + 60, 60)
    here.cdn.pages.set(LINK, await png('red'))

    await here.call(`/v1/generations/${id}/retry`, { method: 'POST' })
    await archiveDue(here.deps, 1)

    expect((await shown(here, id)).archive_status).toBe('archived')
  })

  it.each([
    ['the same links', (id: string) => success(id, { output: [dead] })],
    [
      'that it is processing',
      () => ({ status: 'processing', message: 'try again later.', output: '' }),
    ],
    ['no links', (id: string) => success(id, { output: [] })],
    ['failed', () => ({ status: 'failed', id: '', message: 'Failed, Try Again', output: '' })],
  ])('the fetch that answers %s ends it', async (_what, result) => {
    const here = world()
    const id = await offeredById(here, { output: [dead] })
    await archiveDue(here.deps, 10)
    const parked = await shown(here, id)
    here.provider.knows(result(id))

    await attemptsAndFetches(here, HOUR, 60)

    expect(parked).toMatchObject({ archive_status: 'pending', images: [{ status: 'pending' }] })
    expect(here.provider.fetches).toHaveLength(1)
    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'lost',
      images: [{ status: 'lost', failure: { code: 'not_found' } }],
    })
    expect(await happened(here, id, 'lost')).toHaveLength(1)
  })

  it('the fetch is repeated until the provider answers', async () => {
    const here = world()
    here.cdn.pages.set(LINK, await png('red'))
    const id = await offeredById(here, { output: [dead] })
    for (let n = 0; n < 20; n++) here.provider.knows('<h1>Bad Gateway</h1>', 502)
    here.provider.knows(success(id))

    await attemptsAndFetches(here, 4 * HOUR, 60)

    expect(here.provider.fetches).toHaveLength(21)
    expect((await shown(here, id)).archive_status).toBe('archived')
  })

  it('and not for ever', async () => {
    const here = world()
    const id = await offeredById(here, { output: [dead] })
    here.deps.provider.fetch = () => Promise.resolve({ status: 'unreadable', reason: 'HTTP 502' })

    await attemptsAndFetches(here, 30 * HOUR, 600)

    expect((await shown(here, id)).archive_status).toBe('lost')
  })

  it('fresh links are asked for once', async () => {
    const here = world({ LINK_LIFETIME_HOURS: '1' })
    const id = await offeredById(here, { output: [dead] })
    here.provider.knows(success(id))

    await attemptsAndFetches(here, 3 * HOUR, 100)

    expect(here.provider.fetches).toHaveLength(1)
    expect(await shown(here, id)).toMatchObject({
      archive_status: 'lost',
      images: [{ status: 'lost', failure: { code: 'not_found' } }],
    })
  })

  it('a callback with a fresh link saves it as well', async () => {
    const here = world()
    here.cdn.pages.set(LINK, await png('red'))
    const id = await offeredById(here, { output: [dead] })
    await archiveDue(here.deps, 10)

    await here.callback(id, success(id))
    await archiveDue(here.deps, 10)

    expect(await shown(here, id)).toMatchObject({ archive_status: 'archived' })
  })

  it('and after it, its links have no secrets left', async () => {
    const here = world()
    const id = await offeredById(here, {
      output: [`${LINK}?Expires=1500000000&Signature=a-secret-of-cloudfront`],
    })
    here.provider.knows({ status: 'failed', id: '', message: 'Failed, Try Again', output: '' })

    await attemptsAndFetches(here, 60, 1)

    expect((await shown(here, id)).archive_status).toBe('lost')
    expect(await linksInLedger(here)).not.toContain('a-secret-of-cloudfront')
  })
})

describe('a store that is away', () => {
  it('costs delay, and no image', async () => {
    const here = world({ LINK_LIFETIME_HOURS: '1' })
    here.cdn.pages.set(LINK, await png('red'))
    const id = await offered(here, { output: [LINK] })
    const put = vi.spyOn(here.store, 'put').mockRejectedValue(new Error('ECONNREFUSED'))
    await attempts(here, HOUR + 600, 100)
    const meanwhile = await shown(here, id)
    put.mockRestore()

    await attempts(here, HOUR, 100)

    expect(meanwhile).toMatchObject({
      images: [{ status: 'pending', failure: { code: 'store_failed' } }],
    })
    expect(await shown(here, id)).toMatchObject({ archive_status: 'archived' })
  })

  it('is waited for one lifetime of the link, not longer', async () => {
    const here = world({ LINK_LIFETIME_HOURS: '1' })
    here.cdn.pages.set(LINK, await png('red'))
    const id = await offered(here, { output: [LINK] })
    vi.spyOn(here.store, 'put').mockRejectedValue(new Error('ECONNREFUSED'))

    await attempts(here, 3 * HOUR, 100)

    expect((await shown(here, id)).images).toMatchObject([
      { status: 'lost', failure: { code: 'store_failed' } },
    ])
  })
})

it('a mirror that a fetch brings and that is the identical link is the copy that is there already', async () => {
  const here = world()
  here.cdn.pages.set(LINK, await png('red'))
  const { id } = await submitted(here)
  const { proxy_links, ...short } = success(id, { output: [LINK] })
  await here.callback(id, short)
  await archiveDue(here.deps, 10)
  here.provider.knows(success(id, { output: [LINK], proxy_links: [LINK] }))
  await reconcileDue(here.deps, 1)
  await archiveDue(here.deps, 10)

  expect((await shown(here, id)).images.map(({ source, status }) => [source, status])).toEqual([
    ['output', 'archived'],
    ['proxy', 'archived'],
  ])
  expect(here.cdn.gets).toEqual([LINK])
})

it('an output that only a fetch names is asked about once more, and becomes a position when that names it too', async () => {
  const here = world({ RECONCILE_GRACE_SECONDS: '1' })
  for (const link of [LINK, OTHER_LINK]) here.cdn.pages.set(link, await png('red'))
  const { id } = await submitted(here)
  const { proxy_links, ...short } = success(id, { output: [LINK] })
  await here.callback(id, short)
  for (let n = 0; n < 2; n++) here.provider.knows(success(id, { output: [LINK, OTHER_LINK] }))

  await attemptsAndFetches(here, 20, 1)

  expect(
    (await shown(here, id)).images.map(({ source, position, status }) => [
      source,
      position,
      status,
    ]),
  ).toEqual([
    ['output', 0, 'archived'],
    ['output', 1, 'archived'],
  ])
  expect(here.provider.fetches).toHaveLength(2)
})
