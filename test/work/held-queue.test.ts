import { describe, expect, it } from 'vitest'
import { expireOverdue } from '../../src/work/expire.ts'
import { sendHeld } from '../../src/work/held.ts'
import { onD1 } from '../support/driver.ts'
import {
  failure,
  happened,
  shown,
  submitted,
  success,
  withoutJitter,
  type World,
  world,
} from '../support/world.ts'

const HOUR = 3600

describe('after a 429', () => {
  it('nothing is sent before retry_after has passed, new requests included', async () => {
    const here = world()
    here.provider.isFull(30)
    const first = await submitted(here)
    const second = await requestedLater(here)

    here.clock.advance(28.99)

    expect([first.status, second.status]).toEqual(['requested', 'requested'])
    expect(await sendHeld(here.deps)).toBe(0)
    expect(sentIds(here)).toEqual([first.id])
  })

  it('Retry-After counts where the body says nothing', async () => {
    const here = world()
    here.provider.answers('<h1>Too Many Requests</h1>', 429, 7)
    await submitted(here)

    here.clock.advance(6.9)
    const early = await sendHeld(here.deps)
    here.clock.advance(0.2)

    expect([early, await sendHeld(here.deps)]).toEqual([0, 1])
  })

  it('that does not say how long, the wait is a second, and longer after each further one', async () => {
    withoutJitter()
    const here = world()
    for (let refusal = 0; refusal < 3; refusal++) here.provider.answers('slow down', 429)
    await submitted(here)

    const waits = [await waited(here), await waited(here), await waited(here)]

    expect(waits).toEqual([1, 2, 4])
  })

  it('one probe goes out, the oldest, and the others wait for its answer', async () => {
    const here = world()
    here.provider.isFull(30)
    const oldest = await submitted(here)
    await requestedLater(here)
    await requestedLater(here)
    here.clock.advance(30)
    here.provider.hesitates()

    await sendHeld(here.deps)
    await sendHeld(here.deps)

    expect(sentIds(here)).toEqual([oldest.id, oldest.id])
  })

  it('a probe that is refused closes the gate again, and the same request keeps its place', async () => {
    const here = world()
    here.provider.isFull(30)
    const oldest = await submitted(here)
    const younger = await requestedLater(here)
    here.clock.advance(30)
    here.provider.isFull(60)
    await here.turn()

    here.clock.advance(59)
    await here.turn()
    expect(sentIds(here)).toEqual([oldest.id, oldest.id])

    here.clock.advance(2)
    await here.turn()
    expect(sentIds(here).slice(0, 3)).toEqual([oldest.id, oldest.id, oldest.id])
    expect(await shown(here, younger.id)).toMatchObject({ status: 'requested' })
  })

  it('each ending frees one, oldest first', async () => {
    const here = world()
    const [a, b] = [await submitted(here), await requestedLater(here)]
    here.provider.isFull(30)
    const [c, d, e] = [
      await requestedLater(here),
      await requestedLater(here),
      await requestedLater(here),
    ]
    here.clock.advance(30)
    await here.turn()
    expect(sentIds(here)).toEqual([a.id, b.id, c.id, c.id])

    await here.callback(a.id, success(a.id))
    await here.turn()
    expect(sentIds(here).slice(4)).toEqual([d.id])

    await here.callback(b.id, failure(b.id))
    await here.turn()
    expect(sentIds(here).slice(4)).toEqual([d.id, e.id])
  })

  it('no further request goes out after the probe until one of those that are out has ended', async () => {
    const here = world()
    await submitted(here)
    here.provider.isFull(30)
    const held = [
      await requestedLater(here),
      await requestedLater(here),
      await requestedLater(here),
    ]
    here.clock.advance(30)
    await here.turn()
    expect(sentIds(here).slice(2)).toEqual([held[0]?.id])

    here.clock.advance(300)
    await here.turn()
    await here.turn()
    expect(sentIds(here).slice(2)).toEqual([held[0]?.id])

    await here.callback(held[0]?.id ?? '', success(held[0]?.id ?? ''))
    await here.turn()
    expect(sentIds(here).slice(2)).toEqual([held[0]?.id, held[1]?.id])
  })

  it('requests leave at once again when none is held any more', async () => {
    const here = world()
    here.provider.isFull(30)
    await submitted(here)
    here.clock.advance(30)
    await here.turn()

    const { status } = await submitted(here)

    expect(status).toBe('processing')
  })

  it('the gate stays closed over a restart', async () => {
    const here = world()
    here.provider.isFull(30)
    await submitted(here)

    await here.restart()
    const { status } = await requestedLater(here)
    const early = await sendHeld(here.deps)

    expect([status, early]).toEqual(['requested', 0])
  })

  it.each([901, 31_536_000, 1e15, 1e300])(
    'a retry_after of %d seconds is believed for a quarter of an hour, then one probes',
    async (seconds) => {
      const here = world()
      here.provider.isFull(seconds)
      const { id } = await submitted(here)
      await requestedLater(here)
      here.clock.advance(899)
      const early = await sendHeld(here.deps)
      here.clock.advance(1)
      here.provider.isFull(seconds)

      const sent = [early, await sendHeld(here.deps)]
      await here.idle()
      here.clock.advance(899)

      expect([...sent, await sendHeld(here.deps)]).toEqual([0, 1, 0])
      expect(sentIds(here)).toEqual([id, id])
    },
  )

  it('under a clock that ran ahead, nothing waits for that time once it is right', async () => {
    const here = world()
    here.clock.advance(2 * HOUR)
    here.provider.isFull(30)
    const { id } = await submitted(here)

    here.clock.advance(-2 * HOUR)
    await here.restart()

    expect(await sendHeld(here.deps)).toBe(1)
    await here.idle()
    expect(await shown(here, id)).toMatchObject({ status: 'processing' })
  })

  it('the timeline tells why and until when a request is held', async () => {
    const here = world()
    here.provider.isFull(30)

    const { id } = await submitted(here)

    expect(await happened(here, id, 'held')).toMatchObject([
      {
        reason: 'Rate limit exceeded. Maximum 5 queued requests allowed.',
        until: '2026-01-31T12:00:30.000Z',
      },
    ])
  })

  it('the timeline has each request leave once for each time that it left', async () => {
    const here = world()
    here.provider.isNotThere()
    const [a, b, c] = [
      await submitted(here),
      await requestedLater(here),
      await requestedLater(here),
    ]
    here.clock.advance(10)
    await here.turn()
    await here.turn()

    const departures = await Promise.all([a, b, c].map(({ id }) => happened(here, id, 'submitted')))

    expect(departures.map(({ length }) => length)).toEqual([2, 1, 1])
  })
})

describe('a held request', () => {
  it.each([
    ['cannot be read', 'not json', 'requested'],
    ['names another generation', { status: 'processing', track_id: 'somebody-else' }, 'requested'],
    ['says processing', { status: 'processing', id: 5 }, 'processing'],
    ['says success', { ...success('x'), track_id: null }, 'succeeded'],
  ])('is never sent once a callback came for it that %s', async (_what, body, status) => {
    const here = world()
    here.provider.isFull(30)
    const { id } = await submitted(here)

    await here.callback(id, body)
    here.clock.advance(HOUR)
    await here.turn()

    expect(sentIds(here)).toEqual([id])
    expect(await shown(here, id)).toMatchObject({ status })
  })

  it('that is never sent because of its callback does not stand before others', async () => {
    const here = world()
    here.provider.isFull(30)
    const { id } = await submitted(here)
    await here.callback(id, 'not json')
    const held = await requestedLater(here)
    here.clock.advance(30)
    await here.turn()

    const next = await requestedLater(here)

    expect(await shown(here, held.id)).toMatchObject({ status: 'processing' })
    expect(next.status).toBe('processing')
  })

  it('is sent after the provider was not there, and all the others with it', async () => {
    const here = world()
    here.provider.isNotThere()
    const first = await submitted(here)
    const others = [await requestedLater(here), await requestedLater(here)]
    here.clock.advance(1.2)

    await here.turn()
    await here.turn()

    expect(first).toMatchObject({ status: 'requested', failure: null })
    expect(sentIds(here)).toEqual([first.id, first.id, ...others.map(({ id }) => id)])
  })

  it('goes alone after the provider was not there, and the others once it is answered', async () => {
    const here = world()
    here.provider.isNotThere()
    const first = await submitted(here)
    const second = await requestedLater(here)
    here.clock.advance(2)
    const answer = here.provider.hesitates()

    await sendHeld(here.deps)
    await sendHeld(here.deps)
    const meanwhile = sentIds(here)
    answer({ status: 'processing', id: 5 })
    await here.idle()
    await sendHeld(here.deps)

    expect(meanwhile).toEqual([first.id, first.id])
    expect(sentIds(here)).toEqual([first.id, first.id, second.id])
  })

  it.skipIf(onD1)(
    'waits longer each time that the provider is not there, and at most a minute',
    async () => {
      withoutJitter()
      const here = world()
      for (let refusal = 0; refusal < 9; refusal++) here.provider.isNotThere()
      await submitted(here)

      const waits: number[] = []
      for (let refusal = 0; refusal < 9; refusal++) waits.push(await waited(here))

      expect(waits).toEqual([1, 2, 4, 8, 15, 30, 60, 60, 60])
    },
  )

  it('fails as rate_limited at the deadline, and a success that comes after all still counts', async () => {
    const here = world()
    here.provider.isFull(48 * HOUR)
    const { id } = await submitted(here)
    here.clock.advance(24 * HOUR + 1)
    await expireOverdue(here.deps)
    const ended = await shown(here, id)

    await here.callback(id, success(id))

    expect(ended).toMatchObject({ status: 'failed', failure: { code: 'rate_limited' } })
    expect(await shown(here, id)).toMatchObject({ status: 'succeeded', failure: null })
  })
})

/** From now on the provider is full for these. */
function refuses(here: World, isRefused: (id: string) => boolean) {
  const submit = here.provider.port.submit
  here.provider.port.submit = (request, to) => {
    if (isRefused(to.trackId)) here.provider.isFull(1)
    return submit(request, to)
  }
}

describe('a request that the provider always refuses', () => {
  /** Refuses one, takes the others and ends them, for `turns` waits of a second. */
  async function played(here: World, unlucky: string, turns: number, meanwhile = async () => {}) {
    refuses(here, (id) => id === unlucky)
    for (let turn = 0; turn < turns; turn++) {
      here.clock.advance(1)
      await meanwhile()
      await here.turn()
      const last = sentIds(here).at(-1) ?? unlucky
      if (last !== unlucky) await here.callback(last, failure(last))
    }
  }

  it('lets the others go first after three times, and keeps none until its deadline', async () => {
    const here = world()
    here.provider.isFull(1)
    const unlucky = await submitted(here)
    const others = [await requestedLater(here), await requestedLater(here)]

    await played(here, unlucky.id, 2)
    const before = sentIds(here)
    await played(here, unlucky.id, 4)

    expect(before).toEqual([unlucky.id, unlucky.id, unlucky.id])
    expect(sentIds(here).slice(3, 5)).toEqual(others.map(({ id }) => id))
    expect(sentIds(here).slice(5)).toContain(unlucky.id)
  })

  it('is tried again although new ones come all the time', async () => {
    const here = world()
    here.provider.isFull(1)
    const unlucky = await submitted(here)
    await requestedLater(here)

    await played(here, unlucky.id, 12, async () => {
      await requestedLater(here)
      await requestedLater(here)
    })

    expect(sentIds(here).filter((id) => id === unlucky.id).length).toBeGreaterThan(4)
    expect(await shown(here, unlucky.id)).toMatchObject({ status: 'requested' })
  })

  it('limits nobody else: each that is accepted lets the next one probe', async () => {
    const here = world()
    here.provider.isFull(1)
    const unlucky = await submitted(here)
    const others = [await requestedLater(here), await requestedLater(here)]
    others.push(await requestedLater(here), await requestedLater(here))
    refuses(here, (id) => id === unlucky.id)

    for (let turn = 0; turn < 10; turn++) {
      here.clock.advance(1)
      await here.turn()
    }

    expect(sentIds(here).filter((id) => id !== unlucky.id)).toEqual(others.map(({ id }) => id))
  })

  it('is behind a new one after each further refusal', async () => {
    const here = world()
    here.provider.isFull(1)
    const unlucky = await submitted(here)
    await played(here, unlucky.id, 5)
    const newcomer = await requestedLater(here)

    await played(here, unlucky.id, 2)

    expect(sentIds(here).slice(6)).toEqual([unlucky.id, newcomer.id])
  })

  it('keeps its new place over a restart', async () => {
    const here = world()
    for (let refusal = 0; refusal < 3; refusal++) here.provider.isFull(1)
    const unlucky = await submitted(here)
    const other = await requestedLater(here)
    for (let turn = 0; turn < 2; turn++) {
      here.clock.advance(2)
      await here.turn()
    }

    await here.restart()
    here.clock.advance(2)
    await sendHeld(here.deps)
    await here.idle()

    expect(sentIds(here)).toEqual([unlucky.id, unlucky.id, unlucky.id, other.id])
  })

  it('keeps its place where nobody was reached who could refuse it', async () => {
    withoutJitter()
    const here = world()
    for (let refusal = 0; refusal < 4; refusal++) here.provider.isNotThere()
    const oldest = await submitted(here)
    await requestedLater(here)

    for (let turn = 0; turn < 4; turn++) await waited(here)

    expect(sentIds(here).slice(0, 5)).toEqual(Array.from({ length: 5 }, () => oldest.id))
  })

  it('takes turns with others that are refused as well', async () => {
    const here = world()
    for (let refusal = 0; refusal < 9; refusal++) here.provider.isFull(1)
    const a = await submitted(here)
    const b = await requestedLater(here)

    for (let turn = 0; turn < 8; turn++) {
      here.clock.advance(1)
      await sendHeld(here.deps)
      await here.idle()
    }

    const names = sentIds(here).map((id) => (id === a.id ? 'a' : id === b.id ? 'b' : '?'))
    expect(names.join('')).toBe('aaabbbaba')
  })
})

describe('what surely was not accepted', () => {
  it.each([301, 302, 307, 308, 400, 401, 403, 404, 405, 408, 413, 421, 426])(
    'is held: a page with HTTP %i',
    async (httpStatus) => {
      withoutJitter()
      const here = world()
      here.provider.isElsewhere(httpStatus)
      const { id, status } = await submitted(here)

      const seconds = await waited(here)

      expect([status, seconds]).toEqual(['requested', 1])
      expect(sentIds(here)).toEqual([id, id])
      expect(await happened(here, id, 'held')).toMatchObject([
        { reason: `HTTP ${httpStatus} with a body that is not JSON` },
      ])
    },
  )

  it('waits for its Retry-After, and longer each time where there is none', async () => {
    withoutJitter()
    const here = world()
    here.provider.isElsewhere(403, 7)
    for (let refusal = 0; refusal < 3; refusal++) here.provider.isElsewhere()
    await submitted(here)

    const waits = [await waited(here), await waited(here), await waited(here), await waited(here)]

    expect(waits).toEqual([7, 2, 4, 8])
  })

  it('is told with its path in the log and in /readyz, till the provider answers', async () => {
    const here = world()
    here.provider.isElsewhere()
    await submitted(here)
    const readyz = async () => (await (await here.call('/readyz')).json()) as { provider: string }
    const away = await readyz()
    here.clock.advance(2)
    await here.turn()

    const state = 'down since 2026-01-31T12:00:00.000Z: HTTP 404 at /api/v6/images/inpaint'
    expect(away).toMatchObject({ status: 'ready', provider: state })
    expect(here.logged).toContainEqual({
      level: 'error',
      message: 'the provider does not answer',
      fields: { state, error: 'HTTP 404 with a body that is not JSON' },
    })
    expect(await readyz()).toMatchObject({ provider: 'ok' })
  })
})

describe('MAX_IN_FLIGHT', () => {
  it('caps what is out, and each ending lets the oldest go', async () => {
    const here = world({ MAX_IN_FLIGHT: '2' })
    const [a, b] = [await submitted(here), await requestedLater(here)]
    const [c, d] = [await requestedLater(here), await requestedLater(here)]
    await here.turn()
    expect(sentIds(here)).toEqual([a.id, b.id])

    await here.callback(b.id, success(b.id))
    await here.turn()

    expect(sentIds(here)).toEqual([a.id, b.id, c.id])
    expect(await shown(here, d.id)).toMatchObject({ status: 'requested' })
  })

  it('counts a request whose answer was lost for as long as it may be running', async () => {
    const here = world({ MAX_IN_FLIGHT: '1' })
    here.provider.losesItsAnswer()
    await submitted(here)
    await requestedLater(here)

    here.clock.advance(15 * 60 - 1)
    const early = await sendHeld(here.deps)
    here.clock.advance(1)

    expect([early, await sendHeld(here.deps)]).toEqual([0, 1])
  })

  it('counts no request whose answer was lost in a time that is yet to come', async () => {
    const here = world({ MAX_IN_FLIGHT: '1' })
    here.clock.advance(2 * HOUR)
    here.provider.losesItsAnswer()
    await submitted(here)
    here.clock.advance(-2 * HOUR)

    expect(await submitted(here)).toMatchObject({ status: 'processing' })
  })

  it('holds for requests that arrive together', async () => {
    const here = world({ MAX_IN_FLIGHT: '3' })

    await Promise.all(Array.from({ length: 10 }, () => submitted(here)))

    expect(sentIds(here)).toHaveLength(3)
  })
})

const sentIds = ({ provider }: World) => provider.submissions.map(({ trackId }) => trackId)

/** Requests of one millisecond have no order. */
function requestedLater(here: World) {
  here.clock.advance(0.001)
  return submitted(here)
}

/** Seconds until something is sent. */
async function waited(here: World) {
  const from = here.clock.now
  while ((await sendHeld(here.deps)) === 0) here.clock.advance(0.1)
  await here.idle()
  return (here.clock.now - from) / 1000
}
