import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { expireOverdue, reconcileDue } from '../../src/work/reconcile.ts'
import { onD1 } from '../support/driver.ts'
import {
  decisions,
  dump,
  evidence,
  failure,
  type GenerationJson,
  happened,
  LINK,
  MIRROR,
  OTHER_LINK,
  png,
  shown,
  submitted,
  success,
  type World,
  world,
} from '../support/world.ts'

const DAY = 24 * 3600
const other = (id: string, more: Record<string, unknown> = {}) =>
  success(id, { output: [OTHER_LINK], ...more })

describe('success beats failure', () => {
  const roads = ['reply', 'callback', 'fetch'] as const
  const pairs = roads.flatMap((one) =>
    roads.filter((two) => one !== 'reply' || two !== 'reply').map((two) => [one, two]),
  )

  it.each(pairs)('a failure by %s, then a success by %s', async (one, two) => {
    const { here, id, tell } = await talking()

    await tell(one, failure(id))
    const failed = await shown(here, id)
    await tell(two, success(id))

    expect(failed).toMatchObject({ status: 'failed', archive_status: 'none' })
    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'pending',
      failure: null,
    })
  })

  it.each(pairs)('a success by %s, then a failure by %s', async (one, two) => {
    const { here, id, tell } = await talking()

    await tell(one, success(id))
    const succeeded = await shown(here, id)
    await tell(two, failure(id))

    expect(succeeded).toMatchObject({ status: 'succeeded', failure: null })
    expect(await shown(here, id)).toEqual(succeeded)
  })

  it('after the deadline too, and is late', async () => {
    const here = world()
    const { id } = await submitted(here)
    here.clock.advance(DAY + 1)
    await expireOverdue(here.deps)
    const failed = await shown(here, id)

    await here.callback(id, success(id))

    expect(failed).toMatchObject({ status: 'failed', failure: { code: 'no_result' } })
    expect(await decisions(here, id)).toEqual(['late'])
    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'pending',
      failure: null,
      finished_at: new Date(here.clock.now).toISOString(),
    })
  })

  it('and nothing brings back what has ended: not processing, not a second failure', async () => {
    const here = world()
    const { id } = await submitted(here)
    await here.callback(id, failure(id))
    const failed = await shown(here, id)

    await here.callback(id, { status: 'processing', track_id: id, id: 134712448 })
    await here.callback(id, failure(id, { message: 'something else' }))
    await here.callback(id, success(id, { output: [] }))

    const { nsfw: _told, ...after } = await shown(here, id)
    expect(failed).toMatchObject(after)
    expect(await decisions(here, id)).toEqual(['accepted', 'processing', 'duplicate', 'processing'])
  })

  it('a failure after the deadline is kept as late, and the deadline stays the reason', async () => {
    const here = world()
    const { id } = await submitted(here)
    here.clock.advance(DAY + 1)
    await expireOverdue(here.deps)

    await here.callback(id, failure(id))

    expect(await decisions(here, id)).toEqual(['late'])
    expect(await shown(here, id)).toMatchObject({ failure: { code: 'no_result' } })
  })
})

describe('what contradicts a success', () => {
  it.each([
    ['a failure', failure],
    ['a success with other outputs', other],
    ['a success with one output more', (id: string) => success(id, { output: [LINK, OTHER_LINK] })],
  ])('%s: is kept, changes nothing, and owes one fetch', async (_what, contradiction) => {
    const here = world()
    const { id } = await submitted(here)
    await here.callback(id, success(id))
    const before = await shown(here, id)
    here.provider.knows(success(id))

    await here.callback(id, contradiction(id))
    const after = await shown(here, id)
    await fetchAll(here)

    expect(await decisions(here, id)).toEqual(['accepted', 'contradicts'])
    expect({ ...after, nsfw: null }).toEqual({ ...before, nsfw: null })
    expect(here.provider.fetches).toHaveLength(1)
    expect((await shown(here, id)).images).toEqual(before.images)
  })

  it('is asked about again until the provider answers', async () => {
    const here = world()
    const { id } = await submitted(here)
    await here.callback(id, success(id))
    await here.callback(id, other(id))
    here.provider.knows('<h1>Bad Gateway</h1>', 502)
    here.provider.knows(success(id, { output: [LINK, OTHER_LINK] }))

    await fetchAll(here)

    expect(here.provider.fetches).toHaveLength(2)
    expect((await shown(here, id)).images).toHaveLength(2)
  })

  it('owes no fetch where the provider’s id is not known', async () => {
    const here = world()
    here.provider.losesItsAnswer()
    const { id } = await submitted(here)
    await here.callback(id, success(id, { id: '' }))
    await here.callback(id, failure(id, { id: '' }))

    await fetchAll(here)

    expect(await decisions(here, id)).toEqual(['accepted', 'contradicts'])
    expect(here.provider.fetches).toEqual([])
  })

  it('becomes new positions once a fetch names it too', async () => {
    const here = world()
    here.cdn.pages.set(LINK, await png('red')).set(OTHER_LINK, await png('blue'))
    const { id } = await submitted(here)
    await here.callback(id, success(id))
    await archiveDue(here.deps, 10)
    await here.callback(id, other(id))
    here.provider.knows(success(id, { output: [OTHER_LINK], proxy_links: [MIRROR] }))

    await fetchAll(here)
    await archiveDue(here.deps, 10)

    const { images, archive_status } = await shown(here, id)
    expect(
      images.map((image) => [image.source, image.position, image.source_url, image.status]),
    ).toEqual([
      ['output', 0, LINK, 'archived'],
      ['output', 1, OTHER_LINK, 'archived'],
      ['proxy', 1, MIRROR, 'pending'],
    ])
    expect(archive_status).toBe('archived')
  })

  it.each([
    ['names the first outputs', (id: string) => success(id)],
    ['says failed', (id: string) => failure(id)],
    ['names third outputs', (id: string) => success(id, { output: [MIRROR] })],
  ])('stays what it was where the fetch %s', async (_what, result) => {
    const here = world()
    const { id } = await submitted(here)
    await here.callback(id, success(id))
    await here.callback(id, other(id))
    here.provider.knows(result(id))

    await fetchAll(here)

    const { status, images } = await shown(here, id)
    expect(status).toBe('succeeded')
    expect(images.map(({ source_url }) => source_url)).toEqual([LINK])
  })

  it('contradicts again in other words, and teaches nothing', async () => {
    const here = world()
    const { id } = await submitted(here)
    await here.callback(id, success(id))
    const before = await shown(here, id)

    await here.callback(id, other(id))
    await here.callback(id, other(id, { meta: { seed: 1 }, generationTime: 1 }))

    expect(await decisions(here, id)).toEqual(['accepted', 'contradicts', 'contradicts'])
    expect({ ...(await shown(here, id)), nsfw: null }).toEqual({ ...before, nsfw: null })
  })

  it('still says what it says of NSFW', async () => {
    const here = world()
    const { id } = await submitted(here)
    await here.callback(id, success(id, { nsfw_content_detected: false }))

    await here.callback(id, other(id, { nsfw_content_detected: true }))

    expect((await shown(here, id)).nsfw).toMatchObject({ verdict: 'flagged', disputed: true })
  })

  it('is in the timeline, marked, and is never downloaded', async () => {
    const here = world()
    const { id } = await submitted(here)
    await here.callback(id, success(id))
    await here.callback(id, other(id))

    await archiveDue(here.deps, 10)

    expect(here.cdn.gets).toEqual([LINK])
    expect(await happened(here, id, 'offered')).toMatchObject([
      { url: LINK, contradicts: false },
      { url: OTHER_LINK, contradicts: true },
    ])
  })

  it('is kept without the secrets of its links: nobody follows them', async () => {
    const here = world()
    const { id } = await submitted(here)
    await here.callback(id, success(id))

    await here.callback(
      id,
      success(id, { output: [`${LINK}?token=one`, `${OTHER_LINK}?token=two`] }),
    )

    expect(await dump(here, 'offers')).not.toMatch(/token=(?:one|two)/u)
    expect(await dump(here, 'offers')).toContain(`${OTHER_LINK}?token=***`)
  })

  it('is not a link that differs in its query only: that is one more place for the same image', async () => {
    const here = world()
    const { id } = await submitted(here)
    await here.callback(id, success(id, { output: [`${LINK}?Expires=1769900000`] }))

    await here.callback(id, success(id, { output: [`${LINK}?Expires=1769990000`] }))

    expect(await decisions(here, id)).toEqual(['accepted', 'accepted'])
    expect((await shown(here, id)).images).toHaveLength(1)
    expect(await happened(here, id, 'offered')).toMatchObject([{ position: 0 }, { position: 0 }])
  })

  it('is not an output whose position changed', async () => {
    const here = world()
    const { id } = await submitted(here)
    await here.callback(
      id,
      success(id, { output: [LINK, OTHER_LINK], proxy_links: [`${MIRROR}?0`, `${MIRROR}?1`] }),
    )

    await here.callback(
      id,
      success(id, { output: [OTHER_LINK, LINK], proxy_links: [`${MIRROR}?1`, `${MIRROR}?0`] }),
    )

    expect(await decisions(here, id)).toEqual(['accepted', 'duplicate'])
    expect(await happened(here, id, 'offered')).toHaveLength(4)
  })

  it('is not one of several outputs that only their queries tell apart', async () => {
    const here = world()
    const { id } = await submitted(here)
    const output = [`${LINK}?n=0`, `${LINK}?n=1`, `${LINK}?n=2`]
    await here.callback(id, success(id, { output }))

    await here.callback(id, success(id, { output, generationTime: 1 }))
    await here.callback(id, success(id, { output: [...output].reverse() }))

    expect(await decisions(here, id)).toEqual(['accepted', 'duplicate', 'duplicate'])
    expect((await happened(here, id, 'offered')).length).toBe(3)
  })
})

describe('the NSFW verdict', () => {
  it.each([
    [true, 'flagged'],
    ['true', 'flagged'],
    [1, 'flagged'],
    [[false, true], 'flagged'],
    [false, 'clear'],
    ['False', 'clear'],
    [0, 'clear'],
    [null, 'unknown'],
    ['', 'unknown'],
    [[], 'unknown'],
    [undefined, 'unknown'],
  ])('of %j is read as %s, and the raw value is kept', async (value, verdict) => {
    const here = world()
    const { id } = await submitted(here)

    await here.callback(id, success(id, { nsfw_content_detected: value }))

    const { nsfw } = await shown(here, id)
    expect(nsfw).toEqual({
      verdict,
      disputed: false,
      reports: [
        { value: value ?? null, by: 'callback', at: new Date(here.clock.now).toISOString() },
      ],
    })
  })

  it.each([
    ['reply', 'processing'],
    ['reply', 'failed'],
    ['callback', 'processing'],
    ['callback', 'failed'],
    ['fetch', 'processing'],
    ['fetch', 'failed'],
  ] as const)('hears a report by %s that comes with %s', async (road, status) => {
    const { here, id, tell } = await talking()

    await tell(road, {
      status,
      id: 134712448,
      message: 'NSFW content',
      nsfw_content_detected: true,
    })

    expect((await shown(here, id)).nsfw).toMatchObject({
      verdict: 'flagged',
      reports: [{ value: true, by: road }],
    })
  })

  it.skipIf(onD1)('does not depend on the order in which it was reported', async () => {
    const here = world()
    const values = fc.array(fc.constantFrom(true, false, null, undefined), {
      minLength: 2,
      maxLength: 4,
    })
    const verdictOf = async (reports: unknown[]) => {
      const { id } = await submitted(here)
      for (const [n, value] of reports.entries())
        await here.callback(id, success(id, { nsfw_content_detected: value, generationTime: n }))
      const { verdict, disputed } = (await shown(here, id)).nsfw
      return { verdict, disputed }
    }

    await fc.assert(
      fc.asyncProperty(values, async (reports) => {
        const said = (value: boolean) => reports.includes(value)
        const expected = {
          verdict: said(true) ? 'flagged' : said(false) ? 'clear' : 'unknown',
          disputed: said(true) && said(false),
        }
        expect(await verdictOf(reports)).toEqual(expected)
        expect(await verdictOf(reports.toReversed())).toEqual(expected)
      }),
      { numRuns: 20 },
    )
  })
})

describe('whatever is said in whatever order', () => {
  const output = fc.constantFrom([LINK], [OTHER_LINK], [LINK, OTHER_LINK], [])
  const nsfw = fc.constantFrom(true, false, undefined)
  const message = fc.oneof(
    fc.record({
      status: fc.constant('success'),
      output,
      nsfw_content_detected: nsfw,
      id: fc.constantFrom(7, ''),
    }),
    fc.record({
      status: fc.constantFrom('processing', 'failed', 'error'),
      id: fc.constantFrom(7, ''),
    }),
  )
  const noise = fc.constantFrom(
    'not json',
    '{"status":"success","track_id":"another","output":["https://x.net/y"]}',
  )
  const seconds = fc.constantFrom(0, 1, 60, 3600, DAY + 1)
  const step = fc.oneof(
    fc.record({ kind: fc.constant('callback' as const), body: fc.oneof(message, message, noise) }),
    fc.record({ kind: fc.constant('turn' as const), knows: fc.oneof(message, noise), seconds }),
  )

  it.skipIf(onD1)(
    'no callback is lost, no success undone, nothing that ended goes on, and only facts make the verdict',
    async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom('accepts', 'loses', 'refuses', 'succeeds'),
          fc.array(step, { maxLength: 12 }),
          async (reply, steps) => {
            const here = world()
            here.cdn.pages.set(LINK, await png('red'))
            const run = await begin(here, reply)
            for (const one of steps) {
              if (one.kind === 'callback') await run.callback(one.body)
              else await run.turn(one.knows, one.seconds)
              await run.check()
            }
          },
        ),
        { numRuns: 50 },
      )
    },
  )
})

/** A run of the property: what was told is counted here, on its own. */
async function begin(here: World, reply: string) {
  const told: Record<string, unknown>[] = []
  const delivered = new Map<string, number>()
  if (reply === 'loses') here.provider.losesItsAnswer()
  if (reply === 'refuses') here.provider.answers({ status: 'error', message: 'Invalid model' })
  if (reply === 'succeeds') {
    const body = { status: 'success', id: 7, output: [LINK], nsfw_content_detected: false }
    here.provider.answers(body)
    told.push(body)
  }
  let before = await submitted(here)
  const { id } = before

  return {
    callback: async (body: Record<string, unknown> | string) => {
      const text = typeof body === 'string' ? body : JSON.stringify({ ...body, track_id: id })
      expect((await here.callback(id, text)).status).toBe(200)
      // An equal body tells nothing that was not told before.
      if (typeof body !== 'string') told.push(body)
      delivered.set(text, (delivered.get(text) ?? 0) + 1)
    },
    turn: async (knows: Record<string, unknown> | string, seconds: number) => {
      here.clock.advance(seconds)
      const asked = here.provider.fetches.length
      here.provider.results.length = 0
      here.provider.knows(knows)
      await here.turn()
      if (here.provider.fetches.length > asked && typeof knows !== 'string') told.push(knows)
    },
    check: async () => {
      const now = await shown(here, id)
      expectForward(before, now)
      const kept = await evidence(here, id)
      expect(new Map(kept.map(({ body, count }) => [body, count]))).toEqual(delivered)
      expect(now.nsfw).toMatchObject(expectedVerdict(told))
      if (told.some(isSuccess)) expect(now.status).toBe('succeeded')
      expect(here.provider.submissions).toHaveLength(1)
      before = now
    },
  }
}

const isSuccess = ({ status, output, nsfw_content_detected: flagged }: Record<string, unknown>) =>
  status === 'success' && ((Array.isArray(output) && output.length > 0) || flagged === true)

function expectedVerdict(told: Record<string, unknown>[]) {
  const said = (value: boolean) => told.some(({ nsfw_content_detected: one }) => one === value)
  return {
    verdict: said(true) ? 'flagged' : said(false) ? 'clear' : 'unknown',
    disputed: said(true) && said(false),
  }
}

/** What was true stays true: a success, an end, an image that is kept or lost, a position. */
function expectForward(before: GenerationJson, now: GenerationJson) {
  if (before.status === 'succeeded') expect(now.status).toBe('succeeded')
  if (before.status === 'failed') expect(['failed', 'succeeded']).toContain(now.status)
  if (before.provider_id !== null) expect(now.provider_id).toBe(before.provider_id)
  expect(now.nsfw.reports.slice(0, before.nsfw.reports.length)).toEqual(before.nsfw.reports)
  for (const image of before.images) {
    const same = now.images.find(
      ({ source, position }) => source === image.source && position === image.position,
    )
    expect(same).toBeDefined()
    if (image.status !== 'pending') expect(same).toEqual(image)
  }
}

/**
 * A generation whose provider's id is known, whose reply is still awaited, and to which any road
 * may now tell something. A callback that cannot be read makes a fetch due.
 */
async function talking() {
  const here = world()
  const answer = here.provider.hesitates()
  const submission = submitted(here)
  while (here.provider.submissions.length === 0) await new Promise(setImmediate)
  const id = here.provider.submissions[0]?.trackId ?? ''
  await here.callback(id, { status: 'processing', id: 134712448, track_id: id })

  const tell = async (road: 'reply' | 'callback' | 'fetch', message: Record<string, unknown>) => {
    here.clock.advance(1)
    if (road === 'callback') await here.callback(id, message)
    if (road === 'reply') {
      answer(message)
      await submission
    }
    if (road === 'fetch') {
      await here.callback(id, `please ask: ${here.clock.now}`)
      here.provider.knows(message)
      await reconcileDue(here.deps, 10)
    }
  }
  return { here, id, tell }
}

/** Lets an hour pass in which every fetch that comes due is made. */
async function fetchAll(here: World) {
  for (let minute = 0; minute < 60; minute++) {
    await reconcileDue(here.deps, 10)
    here.clock.advance(60)
  }
}
