import { describe, expect, it } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { readFetch } from '../../src/modelslab/read.ts'
import { expireOverdue } from '../../src/work/expire.ts'
import { reconcileDue } from '../../src/work/reconcile.ts'
import { FETCHES, idle } from '../support/archiving.ts'
import { onD1 } from '../support/driver.ts'
import {
  decisions,
  failure,
  happened,
  LINK,
  MIRROR,
  png,
  shown,
  submitted,
  success,
  type World,
  world,
} from '../support/world.ts'

const HOUR = 3600

describe('a result that is late', () => {
  it('is asked for at eta and grace, then at twice the pause up to 10 min', async () => {
    const here = world()
    here.provider.answers({ status: 'processing', id: 134712448, eta: 7 })
    await submitted(here)

    const at = await fetches(here, HOUR)

    expect(at[0]).toBe(17)
    expect(at.slice(1).map((one, n) => one - (at[n] ?? 0))).toEqual([
      20, 40, 80, 160, 320, 600, 600, 600, 600,
    ])
    expect(new Set(here.provider.fetches)).toEqual(new Set(['134712448']))
  })

  it('is asked for after RECONCILE_GRACE_SECONDS where no eta was said', async () => {
    const here = world({ RECONCILE_GRACE_SECONDS: '3' })
    here.provider.answers({ status: 'processing', id: 1 })
    await submitted(here)

    expect(await fetches(here, 10)).toEqual([3, 9])
  })

  it('comes by the fetch: images, verdict and all', async () => {
    const here = world()
    here.cdn.pages.set(LINK, await png('red')).set(MIRROR, await png('red'))
    const { id } = await submitted(here)
    here.provider.knows(
      success(id, { track_id: undefined, proxy_links: [MIRROR], nsfw_content_detected: true }),
    )

    await fetches(here, 60)
    await archiveDue(here.deps, 10)

    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'archived',
      seed: 4139316548,
      nsfw: { verdict: 'flagged', reports: [{ by: 'fetch', value: true }] },
    })
    expect(here.provider.fetches).toHaveLength(1)
  })

  it('that the fetch says has failed has failed', async () => {
    const here = world()
    const { id } = await submitted(here)
    here.provider.knows({ status: 'failed', id: '', message: 'Failed, Try Again', output: '' })

    await fetches(here, 60)

    expect(await shown(here, id)).toMatchObject({
      status: 'failed',
      failure: { code: 'provider_failed', message: 'Failed, Try Again' },
    })
  })

  it.each([
    ['a page of a gateway', '<h1>Bad Gateway</h1>', 502],
    ['an invalid key', { status: 'error', message: 'Invalid API key' }, 200],
    ['no credits', { status: 'error', message: 'You have run out of credits' }, 402],
    ['a failure of theirs', { status: 'error', message: 'Internal error' }, 500],
    ['an unknown status', { status: 'maybe' }, 200],
  ])('is asked for again where the fetch brings %s', async (_what, body, httpStatus) => {
    const here = world()
    const { id } = await submitted(here)
    here.provider.knows(body, httpStatus)
    here.provider.knows(success(id))

    await fetches(here, 60)

    expect(here.provider.fetches).toHaveLength(2)
    expect(await shown(here, id)).toMatchObject({ status: 'succeeded' })
  })

  it('is not asked for before the provider’s retry_after', async () => {
    const here = world()
    await submitted(here)
    here.provider.knows({ status: 'error', message: 'Rate limit exceeded.', retry_after: 300 }, 429)

    expect(await fetches(here, 320)).toEqual([12, 312])
  })

  it('is not asked for where the provider’s id is not known', async () => {
    const here = world()
    here.provider.losesItsAnswer()
    const { id } = await submitted(here)
    await here.callback(id, { status: 'processing', track_id: id })

    expect(await fetches(here, HOUR, 60)).toEqual([])
  })

  it('is asked for once the provider’s id is known by a callback', async () => {
    const here = world()
    here.provider.losesItsAnswer()
    const { id } = await submitted(here)

    await here.callback(id, { status: 'processing', id: 9, eta: 5, track_id: id })

    expect(await fetches(here, 20)).toEqual([15])
  })

  it('is asked for by one of two that look at the same time, and by another if that one dies', async () => {
    const here = world()
    const { id } = await submitted(here)
    here.clock.advance(60)
    here.provider.results.push(() => new Promise(() => {}))
    here.provider.knows(success(id))

    // Whichever of them is first waits for ever.
    const looks = [reconcileDue(here.deps, 10), reconcileDue(here.deps, 10)]
    const meanwhile = await Promise.race(looks)
    const failed = Promise.all(looks)
    while (here.provider.fetches.length === 0)
      await Promise.race([failed, new Promise(setImmediate)])
    here.clock.advance(120)
    await reconcileDue(here.deps, 10)

    expect(meanwhile).toBe(0)
    expect(await shown(here, id)).toMatchObject({ status: 'succeeded' })
  })

  it('is asked for at once after a restart, if it is due', async () => {
    const here = world()
    await submitted(here)
    here.clock.advance(60)
    here.provider.results.push(() => new Promise(() => {}))
    void reconcileDue(here.deps, 10)
    while (here.provider.fetches.length === 0) await new Promise(setImmediate)

    await here.restart()

    expect(await reconcileDue(here.deps, 10)).toBe(1)
  })
})

describe('a callback of success', () => {
  it.each([
    ['proxy_links', { proxy_links: undefined }],
    ['proxy_links that are not null', { proxy_links: null }],
    ['nsfw_content_detected', { nsfw_content_detected: undefined }],
    ['both', { proxy_links: undefined, nsfw_content_detected: undefined }],
  ])('without %s owes one fetch, after the output is safe', async (_what, lacks) => {
    const here = world()
    const { id } = await submitted(here)
    here.provider.knows(success(id, { proxy_links: [MIRROR], nsfw_content_detected: true }))
    await here.callback(id, success(id, lacks))

    const early = await fetches(here, 5 * 60, 10)
    here.cdn.pages.set(LINK, await png('red'))
    await catchUp(here)
    const after = await fetches(here, HOUR, 60)

    expect([early.length, after.length]).toEqual([0, 1])
    const { nsfw, images } = await shown(here, id)
    expect(nsfw.verdict).toBe('flagged')
    expect(images.map(({ source, source_url }) => [source, source_url])).toEqual([
      ['output', LINK],
      ['proxy', MIRROR],
    ])
  })

  it('with both owes none', async () => {
    const here = world()
    here.cdn.pages.set(LINK, await png('red'))
    const { id } = await submitted(here)

    await here.callback(id, success(id, { proxy_links: '', nsfw_content_detected: false }))
    await catchUp(here)

    expect(await fetches(here, HOUR, 60)).toEqual([])
  })

  it('owes the fetch also where its output was lost', async () => {
    const here = world()
    const { id } = await submitted(here)
    await here.callback(
      id,
      success(id, { output: ['http://refused.example.net/a.png'], proxy_links: undefined }),
    )
    here.cdn.pages.set(MIRROR, await png('red'))
    here.provider.knows(
      success(id, { output: ['http://refused.example.net/a.png'], proxy_links: [MIRROR] }),
    )

    for (let turn = 0; turn < 5; turn++) await here.turn()

    expect(here.provider.fetches).toHaveLength(1)
    expect(await shown(here, id)).toMatchObject({ archive_status: 'partial' })
  })

  it('whose facts the reply or an earlier message told owes none', async () => {
    const here = world()
    here.cdn.pages.set(LINK, await png('red'))
    const { id } = await submitted(here)
    here.provider.knows({ status: 'processing', nsfw_content_detected: false })
    await fetches(here, 15)
    await here.callback(id, success(id, { nsfw_content_detected: undefined }))
    await catchUp(here)

    expect(await fetches(here, HOUR, 60)).toEqual([])
  })

  it('lets a fetch wait until its output is safe that an unreadable callback before it made due', async () => {
    const here = world()
    const { id } = await submitted(here)
    await here.callback(id, 'not json')
    await here.callback(id, success(id))
    here.provider.knows(success(id))

    const early = await fetches(here, 60, 10)
    here.cdn.pages.set(LINK, await png('red'))
    await catchUp(here)
    const after = await fetches(here, 60, 10)

    expect([early.length, after.length]).toEqual([0, 1])
  })

  it('owes a fetch that is retried the same way until it is answered', async () => {
    const here = world()
    here.cdn.pages.set(LINK, await png('red'))
    const { id } = await submitted(here)
    for (let n = 0; n < 12; n++) here.provider.knows('<h1>Bad Gateway</h1>', 502)
    here.provider.knows(success(id, { nsfw_content_detected: true }))
    await here.callback(id, success(id, { nsfw_content_detected: undefined }))
    await archiveDue(here.deps, 10)

    const at = await fetches(here, 3 * HOUR)

    expect(at.slice(1).map((one, n) => one - (at[n] ?? 0))).toEqual([
      20,
      40,
      80,
      160,
      320,
      ...Array<number>(7).fill(600),
    ])
    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      nsfw: { verdict: 'flagged' },
    })
  })

  it('owes none where the provider’s id is not known', async () => {
    const here = world()
    here.provider.losesItsAnswer()
    const { id } = await submitted(here)
    here.cdn.pages.set(LINK, await png('red'))

    await here.callback(id, success(id, { id: '', proxy_links: undefined }))
    await archiveDue(here.deps, 10)

    expect(await fetches(here, HOUR, 60)).toEqual([])
  })

  it('owes the fetch over a restart', async () => {
    const here = world()
    here.cdn.pages.set(LINK, await png('red'))
    const { id } = await submitted(here)
    await here.callback(id, success(id, { proxy_links: undefined }))

    await here.restart()
    await archiveDue(here.deps, 10)

    expect(await fetches(here, 10)).toHaveLength(1)
  })
})

describe('at the deadline', () => {
  const states: [string, (here: World) => void, string][] = [
    ['held', (here) => here.provider.isFull(48 * HOUR), 'rate_limited'],
    ['unconfirmed', (here) => here.provider.losesItsAnswer(), 'submission_unconfirmed'],
    ['processing', (here) => here.provider.answers({ status: 'processing', id: 5 }), 'no_result'],
  ]

  it.each(states)('what is %s fails, and not before', async (_state, begin, code) => {
    const here = world({ RESULT_DEADLINE_HOURS: '2' })
    begin(here)
    const { id } = await submitted(here)

    here.clock.advance(2 * HOUR)
    await expireOverdue(here.deps)
    const before = await shown(here, id)
    here.clock.advance(0.001)
    await expireOverdue(here.deps)

    expect(before.failure).toBeNull()
    expect(await shown(here, id)).toMatchObject({
      status: 'failed',
      archive_status: 'none',
      failure: { code },
      finished_at: new Date(here.clock.now).toISOString(),
    })
    expect(await happened(here, id, 'failed')).toMatchObject([{ code }])
  })

  it('nothing that has ended fails, and nothing is asked or sent any more', async () => {
    const here = world()
    const [done, refused, late] = [
      await submitted(here),
      await submitted(here),
      await submitted(here),
    ]
    await here.callback(done.id, success(done.id))
    await here.callback(refused.id, failure(refused.id))
    here.clock.advance(24 * HOUR + 1)

    const ended = await expireOverdue(here.deps)
    const again = await expireOverdue(here.deps)

    expect([ended, again]).toEqual([1, 0])
    expect(await shown(here, done.id)).toMatchObject({ status: 'succeeded' })
    expect(await shown(here, refused.id)).toMatchObject({ failure: { code: 'provider_failed' } })
    expect(await shown(here, late.id)).toMatchObject({ failure: { code: 'no_result' } })
    expect(await fetches(here, HOUR, 60)).toEqual([])
    expect(here.provider.submissions).toHaveLength(3)
  })

  it.skipIf(onD1)('more than one batch of them ends', async () => {
    const here = world()
    await Promise.all(Array.from({ length: 501 }, () => submitted(here)))
    here.clock.advance(24 * HOUR + 1)

    expect(await expireOverdue(here.deps)).toBe(501)
  })

  it('a result that is fetched at that very moment is not lost', async () => {
    const here = world()
    const { id } = await submitted(here)
    here.clock.advance(24 * HOUR + 1)
    here.provider.results.push(async () => {
      await expireOverdue(here.deps)
      return readFetch(200, JSON.stringify(success(id)), null)
    })

    await reconcileDue(here.deps, 10)

    expect(await shown(here, id)).toMatchObject({ status: 'succeeded', failure: null })
    expect(await decisions(here, id)).toEqual([])
  })
})

/** Lets `seconds` pass, and tells at which of them a fetch was made. */
async function fetches(here: World, seconds: number, step = 1) {
  const at: number[] = []
  for (let elapsed = 0; elapsed <= seconds;) {
    for (let n = await reconcileDue(here.deps, 10); n > 0; n--) at.push(elapsed)
    const pause = await idle(here, step, seconds - elapsed, FETCHES)
    if (elapsed < seconds) here.clock.advance(pause)
    elapsed += pause
  }
  return at
}

/** Lets every image that waits be tried. */
async function catchUp(here: World) {
  here.clock.advance(HOUR)
  await archiveDue(here.deps, 100)
}
