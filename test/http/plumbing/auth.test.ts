import { describe, expect, it } from 'vitest'
import { png, sampleBody, sha256, type World, world } from '../../support/world.ts'
import { DOOR, problem, succeeded } from '../../support/doors.ts'

const TOKENS = {
  submit: 'submit-token-of-the-tests',
  read: 'read-token-of-the-tests',
  review: 'review-token-of-the-tests',
  admin: 'admin-token-of-these-tests',
  both: 'submit-and-read-of-the-tests',
  other: 'another-submitting-token-here',
}

const API_TOKENS = [
  `app:submit:${TOKENS.submit}`,
  `viewer:read:${TOKENS.read}`,
  `reviewer:review:${TOKENS.review}`,
  `boss:admin:${TOKENS.admin}`,
  `tool:submit+read:${TOKENS.both}`,
  `other:submit:${TOKENS.other}`,
].join(',')

const image = 'https://cdn.example.net/a.png'

/** A world with one archived generation, that of the token `admin`. */
async function guarded() {
  const here = world({ API_TOKENS: `${API_TOKENS},admin:admin:admin-token-of-the-tests` })
  const id = await succeeded(here, { output: [image] }, { [image]: await png('red') })
  return { here, id }
}

const DOORS = [
  { method: 'POST', path: () => DOOR, scope: 'submit', right: 202 },
  { method: 'POST', path: (id: string) => `${DOOR}/${id}/retry`, scope: 'submit', right: 202 },
  { method: 'GET', path: () => DOOR, scope: 'read', right: 200 },
  { method: 'GET', path: (id: string) => `${DOOR}/${id}`, scope: 'read', right: 200 },
  { method: 'GET', path: (id: string) => `${DOOR}/${id}/timeline`, scope: 'read', right: 200 },
  { method: 'GET', path: (id: string) => `${DOOR}/${id}/images/0`, scope: 'read', right: 200 },
  { method: 'HEAD', path: (id: string) => `${DOOR}/${id}/images/0`, scope: 'read', right: 200 },
] as const

const knock = ({ call }: World, method: string, path: string, token: string | null) =>
  call(path, { method, token, ...(method === 'POST' ? { body: JSON.stringify(sampleBody) } : {}) })

describe.each(DOORS)('$method of the door with scope $scope', ({ method, path, scope, right }) => {
  it('is closed without a token of ours, and open to the tokens that hold the scope', async () => {
    const { here, id } = await guarded()
    const status = async (token: string | null) =>
      (await knock(here, method, path(id), token)).status

    const answers = {
      none: await status(null),
      unknown: await status('a-token-of-somebody-else'),
      submit: await status(TOKENS.submit),
      read: await status(TOKENS.read),
      review: await status(TOKENS.review),
      admin: await status(TOKENS.admin),
      both: await status(TOKENS.both),
    }

    const others = { submit: 403, read: 403, review: 403, admin: right, both: right }
    expect(answers).toEqual({ none: 401, unknown: 401, ...others, [scope]: right })
  })

  it('says in its 401 what it wants', async () => {
    const { here, id } = await guarded()

    const response = await knock(here, method, path(id), null)

    expect(response.headers.get('www-authenticate')).toBe('Bearer realm="afterimage"')
  })
})

describe.each(['', '/timeline', '/images/0'])('GET /v1/generations/{id}%s', (door) => {
  it('is open to the token that submitted the generation, and to no other that only submits', async () => {
    const { here } = await guarded()
    const { id } = (await (await knock(here, 'POST', DOOR, TOKENS.submit)).json()) as { id: string }
    const status = async (token: string) =>
      (await here.call(`${DOOR}/${id}${door}`, { token })).status

    expect(await status(TOKENS.submit)).toBe(door === '/images/0' ? 404 : 200)
    expect(await status(TOKENS.other)).toBe(403)
  })

  it('tells a token that only submits nothing of which ids exist', async () => {
    const { here, id } = await guarded()
    const answer = async (asked: string) => {
      const response = await here.call(`${DOOR}/${asked}${door}`, { token: TOKENS.submit })
      return { status: response.status, body: await response.text() }
    }

    expect(await answer(id)).toEqual(await answer('019c13ec-9e00-71b8-a8aa-37a2240d1d20'))
  })
})

describe('Tokens', () => {
  it('are known by their hash alone, where only that is set', async () => {
    const token = 'a-token-that-is-set-as-hash'
    const here = world({
      API_TOKENS: `app:read:sha256-${sha256(Buffer.from(token)).toUpperCase()}`,
    })

    expect((await here.call(DOOR, { token })).status).toBe(200)
    expect((await here.call(DOOR, { token: `sha256-${sha256(Buffer.from(token))}` })).status).toBe(
      401,
    )
  })

  it.each([
    ['Basic YWRtaW46YWRtaW4=', 401],
    ['Bearer', 401],
    ['Bearer ', 401],
    [`Bearer ${TOKENS.read} extra`, 401],
    [`Bearer ${TOKENS.read.toUpperCase()}`, 401],
    [`Bearer ${TOKENS.read.slice(0, -1)}`, 401],
    [TOKENS.read, 401],
    [`bearer  ${TOKENS.read} `, 200],
  ])('in "Authorization: %s" are answered %i', async (authorization, status) => {
    const { here } = await guarded()

    const response = await here.call(DOOR, { token: null, headers: { authorization } })

    expect(response.status).toBe(status)
  })

  it('are not taken from the query, where logs would see them', async () => {
    const { here } = await guarded()

    expect((await here.call(`${DOOR}?access_token=${TOKENS.admin}`, { token: null })).status).toBe(
      401,
    )
  })

  it('are asked for before anything is said of what is behind the door', async () => {
    const { here } = await guarded()

    const answers = [
      await here.call('/v1/nothing', { token: null }),
      await here.call(`${DOOR}?limit=0`, { token: null }),
      await here.call(DOOR, { method: 'POST', token: null, body: '{' }),
    ]

    expect(answers.map(({ status }) => status)).toEqual([401, 401, 401])
  })

  it('keep a submission unread whose token may not submit', async () => {
    const { here } = await guarded()

    expect((await here.call(DOOR, { method: 'POST', token: TOKENS.read, body: '{' })).status).toBe(
      403,
    )
  })

  it('that are not set up at all leave 503 at every door but those that need none', async () => {
    const here = world({ API_TOKENS: '' })

    const guardedDoor = await here.call(DOOR)

    expect(guardedDoor.status).toBe(503)
    expect(await problem(guardedDoor)).toMatchObject({ code: 'unavailable' })
    expect((await here.call('/livez', { token: null })).status).toBe(200)
    expect((await here.call('/readyz', { token: null })).status).toBe(200)
  })

  it('never stand in a refusal or in the log', async () => {
    const { here } = await guarded()
    const answers = [
      await here.call(`${DOOR}/x`, { token: 'a-token-of-somebody-else' }),
      await here.call(DOOR, { method: 'POST', token: TOKENS.read }),
    ]

    const seen = JSON.stringify([
      await Promise.all(answers.map((answer) => answer.text())),
      here.logged,
    ])

    expect(seen).not.toContain('a-token-of-somebody-else')
    expect(seen).not.toContain(TOKENS.read)
  })
})

describe('Every other path and method', () => {
  it.each([
    ['GET', '/'],
    ['GET', '/v2/generations'],
    ['DELETE', DOOR],
    ['PUT', `${DOOR}/019c13ec-9e00-71b8-a8aa-37a2240d1d20`],
    ['GET', '/metrics'],
    ['GET', '/callbacks'],
  ])('%s %s is 404 in the form of every problem', async (method, path) => {
    const response = await world().call(path, { method })

    expect(response.status).toBe(404)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
  })
})
