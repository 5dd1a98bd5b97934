import { describe, expect, it } from 'vitest'
import { createApp } from '../../../src/http/app.ts'
import { dump, sampleBody, submitted, type World, world } from '../../support/world.ts'
import { DOOR, post, problem } from '../../support/doors.ts'

const BURST = 600

/** The front door as clients of several addresses see it. */
function doorOf({ deps }: World) {
  const app = createApp(deps, {
    isDraining: () => false,
    peerAddress: (c) => c.req.header('peer') ?? null,
  })
  return {
    app,
    forge: async (peer: string, headers: Record<string, string> = {}) =>
      app.request(`/callbacks/019c13ec-9e00-71b8-a8aa-37a2240d1d20/${'0'.repeat(64)}`, {
        method: 'POST',
        body: '{}',
        headers: { peer, ...headers },
      }),
  }
}

/** So many answers, by their status. */
async function answers(times: number, ask: (n: number) => Promise<Response>) {
  const all = await Promise.all(Array.from({ length: times }, (_, n) => ask(n)))
  return (status: number) => all.filter((answer) => answer.status === status)
}

describe('Callbacks with a wrong MAC', () => {
  it('are answered 404 up to a burst, and 429 with Retry-After beyond it', async () => {
    const here = world()
    const { forge } = doorOf(here)

    const found = await answers(BURST + 5, () => forge('203.0.113.9'))

    expect([found(404).length, found(429).length]).toEqual([BURST, 5])
    const [limited] = found(429)
    expect(limited?.headers.get('retry-after')).toBe('1')
    expect(limited?.headers.get('content-type')).toBe('application/problem+json')
    expect(await limited?.json()).toMatchObject({ code: 'rate_limited', status: 429 })
    expect(await dump(here, 'callbacks')).toBe('[]')
  })

  it('are let through again at five a second', async () => {
    const here = world()
    const { forge } = doorOf(here)
    await answers(BURST, () => forge('203.0.113.9'))

    here.clock.advance(2)

    expect((await answers(20, () => forge('203.0.113.9')))(404)).toHaveLength(10)
  })

  it('limit nobody who has the right one, not even at the same address', async () => {
    const here = world()
    const { app, forge } = doorOf(here)
    const { id } = await submitted(here)
    await answers(BURST + 5, () => forge('203.0.113.9'))

    const { pathname } = new URL(here.deps.callbackUrl(id))
    const found = await answers(50, (n) =>
      Promise.resolve(
        app.request(pathname, {
          method: 'POST',
          body: `{"n":${n}}`,
          headers: { peer: '203.0.113.9' },
        }),
      ),
    )

    expect(found(200)).toHaveLength(50)
  })

  it('limit no other address, but the whole /64 of an IPv6 one', async () => {
    const { forge } = doorOf(world())
    const found = await answers(BURST + 5, (n) => forge(`2400:cb00:1:2::${n.toString(16)}`))

    expect(found(429)).toHaveLength(5)
    expect((await forge('2400:cb00:1:3::1')).status).toBe(404)
    expect((await forge('203.0.113.9')).status).toBe(404)
  })

  it('are told apart by X-Forwarded-For behind a trusted proxy, and by nothing that a client makes up', async () => {
    const { forge } = doorOf(world({ TRUSTED_PROXIES: '127.0.0.1' }))
    const spoofed = await answers(BURST + 5, (n) =>
      forge('127.0.0.1', { 'x-forwarded-for': `1.1.1.${n % 256}, 203.0.113.9` }),
    )
    const direct = await answers(BURST + 5, (n) =>
      forge('198.51.100.1', { 'x-forwarded-for': `1.1.1.${n % 256}` }),
    )

    expect([spoofed(429).length, direct(429).length]).toEqual([5, 5])
    expect((await forge('127.0.0.1', { 'x-forwarded-for': '203.0.113.10' })).status).toBe(404)
  })

  it('are one line a minute in the log, with how many there were', async () => {
    const here = world()
    const { app, forge } = doorOf(here)
    const lines = () =>
      here.logged.filter(({ message }) => message === 'callbacks with a wrong MAC')

    await answers(BURST + 100, (n) => forge(`203.0.113.${n % 2}`))
    expect(lines()).toEqual([
      expect.objectContaining({ level: 'warn', fields: { count: 1, limited: 0, addresses: 1 } }),
    ])

    here.clock.advance(61)
    await app.request('/livez')
    await app.request('/livez')
    expect(
      lines()
        .slice(1)
        .map(({ fields }) => fields),
    ).toEqual([{ count: 699, limited: 0, addresses: 2 }])

    here.clock.advance(-3600)
    await forge('203.0.113.1')
    here.clock.advance(61)
    await app.request('/livez')
    expect(lines()).toHaveLength(3)
    expect(here.logged.filter(({ level }) => level !== 'debug' && level !== 'info')).toHaveLength(3)
  })
})

describe('Submissions', () => {
  const settings = {
    SUBMISSIONS_PER_MINUTE: '3',
    API_TOKENS: 'one:submit+read:token-one-of-the-limits,two:submit:token-two-of-the-limits',
  }
  const submit = ({ call }: World, token: string, headers: Record<string, string> = {}) =>
    call(DOOR, {
      method: 'POST',
      body: JSON.stringify(sampleBody),
      token: `token-${token}-of-the-limits`,
      headers,
    })

  it('beyond the limit of a token are answered 429 with Retry-After, and written nowhere', async () => {
    const here = world(settings)
    for (let n = 0; n < 3; n++) expect((await submit(here, 'one')).status).toBe(202)

    const refused = await submit(here, 'one')

    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '20'])
    expect(await problem(refused)).toMatchObject({ code: 'rate_limited' })
    expect(here.provider.submissions).toHaveLength(3)
    expect(JSON.parse(await dump(here, 'generations'))).toHaveLength(3)
    expect((await submit(here, 'two')).status).toBe(202)
    here.clock.advance(20)
    expect((await submit(here, 'one')).status).toBe(202)
    expect((await submit(here, 'one')).status).toBe(429)
  })

  it('count when they are replays, and when they are not taken', async () => {
    const here = world(settings)
    const once = { 'idempotency-key': 'order-17' }
    await submit(here, 'one', once)
    await submit(here, 'one', once)
    await here.call(DOOR, { method: 'POST', body: 'no JSON', token: 'token-one-of-the-limits' })

    expect((await submit(here, 'one', once)).status).toBe(429)
    expect((await here.call(DOOR, { token: 'token-one-of-the-limits' })).status).toBe(200)
  })

  it('are limited at 6000 a minute unless told otherwise', () => {
    expect(world().config.submissionsPerMinute).toBe(6000)
  })
})

describe('Every answer', () => {
  it('forbids to be taken for a page', async () => {
    const here = world()
    const { id } = await submitted(here, { prompt: '<script>alert(1)</script>' })
    const shown = await Promise.all([
      here.call(`${DOOR}/${id}`),
      here.call(`${DOOR}?limit=x`),
      here.call(`${DOOR}/${id}/timeline`),
      here.call(`${DOOR}/${id}/images/0`),
      here.call(DOOR, { token: null }),
      here.call('/<script>alert(1)</script>'),
      here.call('/livez'),
      here.call('/readyz'),
      here.callback(id, '<script>'),
      post(here, '<script>alert(1)</script>'),
      here.call(`/callbacks/${id}/<script>`, { method: 'POST' }),
    ])

    expect(shown.map(({ headers }) => headers.get('x-content-type-options'))).toEqual(
      shown.map(() => 'nosniff'),
    )
    for (const { headers } of shown)
      expect(headers.get('content-type')).toMatch(/^application\/(?:problem\+)?json/u)
    expect(((await shown[0].json()) as { prompt: string }).prompt).toBe('<script>alert(1)</script>')
  })
})
