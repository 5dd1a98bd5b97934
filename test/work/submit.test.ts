import { describe, expect, it } from 'vitest'
import { expireOverdue } from '../../src/work/expire.ts'
import { sendHeld } from '../../src/work/held.ts'
import {
  failure,
  happened,
  LINK,
  sampleBody,
  shown,
  submitted,
  success,
  type World,
  world,
} from '../support/world.ts'

const HOUR = 3600
const hits429 = {
  status: 'error',
  message: 'Rate limit exceeded. Maximum 5 queued requests allowed.',
  retry_after: 30,
}

describe('what the provider replies', () => {
  it.each([
    ['success with a URL', 200, { status: 'success', id: 112514254, output: [LINK] }, 'succeeded'],
    [
      'success with one plain URL',
      200,
      { status: 'success', id: 1, output: LINK, proxy_links: null },
      'succeeded',
    ],
    [
      'success with URLs in objects',
      200,
      { status: 'success', id: 1, output: [{ url: LINK }] },
      'succeeded',
    ],
    [
      'processing',
      200,
      { status: 'processing', id: 134712448, eta: 0.25, output: [] },
      'processing',
    ],
    [
      'processing with HTTP 400',
      400,
      { status: 'processing', id: 134712448, output: [] },
      'processing',
    ],
    // What was accepted must not be sent again, so the body speaks first.
    [
      'processing with HTTP 429',
      429,
      { status: 'processing', id: 134712448, retry_after: 5 },
      'processing',
    ],
    ['queued', 200, { status: 'queued', id: 'abc123-def456', output: '' }, 'processing'],
    ['success without a URL', 200, { status: 'success', id: 1, output: [] }, 'processing'],
    [
      'success with an empty text for a URL',
      200,
      { status: 'success', id: 1, output: '' },
      'processing',
    ],
    ['429', 429, hits429, 'requested'],
    ['429 with a page for people', 429, '<h1>Too Many Requests</h1>', 'requested'],
    ['a retry_after with HTTP 200', 200, { ...hits429, retry_after: '30' }, 'requested'],
    ['a retry_after without a status', 503, { retry_after: 2 }, 'requested'],
    ['an error', 200, { status: 'error', message: 'Invalid API key' }, 'failed'],
    ['an error with HTTP 500', 500, { status: 'error', message: 'Server error' }, 'failed'],
    [
      'a failure without an id',
      200,
      { status: 'failed', id: '', message: 'Failed, Try Again', output: '' },
      'failed',
    ],
    ['a page of an overloaded gateway', 503, '<html>503 Service Unavailable</html>', 'unconfirmed'],
    ['an unknown status', 200, { status: 'maybe', id: 5 }, 'unconfirmed'],
    ['no status', 200, { id: 5, output: [LINK] }, 'unconfirmed'],
    ['a JSON list', 200, [], 'unconfirmed'],
    ['JSON that was cut', 200, '{"status":"processing","id":1347', 'unconfirmed'],
    ['nothing', 200, '', 'unconfirmed'],
  ])('%s (HTTP %i) makes it what the table says', async (_what, httpStatus, body, expected) => {
    const here = world()
    here.provider.answers(body, httpStatus)

    const { status } = await submitted(here)

    expect(status).toBe(expected)
  })

  it('is a refusal that says why, where it can be read', async () => {
    const here = world()
    here.provider.answers({
      status: 'error',
      message: { prompt: ['The prompt field is required.'] },
    })

    const generation = await submitted(here)

    expect(generation).toMatchObject({
      status: 'failed',
      archive_status: 'none',
      failure: { code: 'provider_refused', message: 'prompt: The prompt field is required.' },
    })
  })

  it('is the end, with nothing to archive, where the images were withheld as NSFW', async () => {
    const here = world()
    here.provider.answers({ status: 'success', id: 1, output: [], nsfw_content_detected: true })

    const generation = await submitted(here)

    expect(generation).toMatchObject({
      status: 'succeeded',
      archive_status: 'none',
      nsfw: { verdict: 'flagged' },
    })
  })

  it('is kept once the ledger can be written again', async () => {
    const here = world()
    const answer = here.provider.hesitates()
    const submission = submitted(here)
    await sent(here, 1)
    const writeAgain = here.refuseWrites()
    answer({ status: 'processing', id: 134712448 })
    const { id, status } = await submission

    writeAgain()
    await here.idle()

    expect(status).toBe('requested')
    expect(await shown(here, id)).toMatchObject({ status: 'processing', provider_id: '134712448' })
  })

  it('may echo our webhook URL, and shows it to nobody', async () => {
    const here = world()
    const answer = here.provider.hesitates()
    const submission = submitted(here)
    const { webhook, trackId } = await sent(here, 1)
    answer({
      status: 'processing',
      id: 1,
      tip: `we will call ${webhook}`,
      meta: { webhook, track_id: trackId },
    })

    const shownText = JSON.stringify(await submission)

    expect(webhook).toMatch(/\/callbacks\/[0-9a-f-]{36}\/[0-9a-f]{64}$/u)
    expect(shownText).toContain(`/callbacks/${trackId}/***`)
    expect(shownText).not.toContain(webhook.slice(-64))
  })
})

describe('a submission', () => {
  it('is on disk before the provider hears of it', async () => {
    const here = world()
    const answer = here.provider.hesitates()
    const submission = submitted(here)
    const { trackId } = await sent(here, 1)

    const [seen] = await here.committed(
      `select status, submission_started_at from generations where id = '${trackId}'`,
    )

    expect(seen).toEqual({ status: 'requested', submission_started_at: here.clock.now })
    answer({ status: 'processing', id: 1 })
    await submission
  })

  it('is given our track_id and webhook, and keeps the client’s track_id for itself', async () => {
    const here = world()

    const generation = await submitted(here, { track_id: 'order-17' })

    expect(generation.client_track_id).toBe('order-17')
    expect(here.provider.submissions).toMatchObject([
      {
        trackId: generation.id,
        webhook: here.deps.callbackUrl(generation.id),
        request: { width: 512, samples: 1 },
      },
    ])
  })

  it('is never sent again after a lost answer', async () => {
    const here = world()
    here.provider.losesItsAnswer()
    const { id, status } = await submitted(here)

    for (let hour = 0; hour < 30; hour++) {
      here.clock.advance(HOUR)
      await here.restart()
      await here.turn()
    }

    expect(status).toBe('unconfirmed')
    expect(here.provider.submissions).toHaveLength(1)
    expect(await shown(here, id)).toMatchObject({
      status: 'failed',
      failure: { code: 'submission_unconfirmed' },
    })
  })

  it('whose reply was awaited when the process was killed is unconfirmed, and not sent again', async () => {
    const here = world()
    here.provider.hesitates()
    void submitted(here)
    const { trackId } = await sent(here, 1)

    await here.restart()
    await here.turn()

    expect(await shown(here, trackId)).toMatchObject({ status: 'unconfirmed' })
    expect(await happened(here, trackId, 'replied')).toMatchObject([{ status: 'unreadable' }])
    expect(here.provider.submissions).toHaveLength(1)
  })

  it('that was written and not sent when the process was killed is sent at the next start', async () => {
    const here = world()
    here.provider.isNotThere()
    const { id } = await submitted(here)
    here.clock.advance(2)

    await here.restart()
    await here.turn()

    expect(here.provider.submissions.map(({ trackId }) => trackId)).toEqual([id, id])
    expect(await shown(here, id)).toMatchObject({ status: 'processing' })
  })

  it('that is unconfirmed believes any callback', async () => {
    const here = world()
    here.provider.losesItsAnswer()
    here.provider.losesItsAnswer()
    here.provider.losesItsAnswer()
    const [running, done, refused] = [
      await submitted(here),
      await submitted(here),
      await submitted(here),
    ]

    await here.callback(running.id, { status: 'processing', id: 9, track_id: running.id })
    await here.callback(done.id, success(done.id))
    await here.callback(refused.id, failure(refused.id))

    const after = await Promise.all([running, done, refused].map(({ id }) => shown(here, id)))
    expect(after.map(({ status }) => status)).toEqual(['processing', 'succeeded', 'failed'])
  })

  it('of text that is no Unicode is the same, sent at once or held before', async () => {
    const here = world()
    here.provider.isFull(30)
    const { id } = await submitted(here, { prompt: 'a cat \ud83d' })
    here.clock.advance(30)
    await sendHeld(here.deps)
    await here.idle()

    const prompts = here.provider.submissions.map(({ request }) => request.prompt)

    expect(prompts).toEqual(['a cat \ufffd', 'a cat \ufffd'])
    expect(await shown(here, id)).toMatchObject({ prompt: 'a cat \ufffd' })
  })

  it('keeps every digit of its seed, sent at once or held before', async () => {
    const here = world()
    here.provider.isFull(30)
    await submitted(here, { seed: '18446744073709551615' })
    here.clock.advance(30)
    await sendHeld(here.deps)
    await here.idle()

    expect(here.provider.submissions.map(({ request }) => request.seed)).toEqual([
      '18446744073709551615',
      '18446744073709551615',
    ])
  })

  it('whose callback came before the reply is not put back by it', async () => {
    const here = world()
    const answer = here.provider.hesitates()
    const submission = submitted(here)
    const { trackId } = await sent(here, 1)
    await here.callback(trackId, success(trackId))

    answer({ status: 'processing', id: 134712448, eta: 10 })

    expect(await submission).toMatchObject({ status: 'succeeded', provider_id: '134712448' })
  })

  it('whose callback came before a 429 is neither held nor sent again', async () => {
    const here = world()
    const answer = here.provider.hesitates()
    const submission = submitted(here)
    const { trackId } = await sent(here, 1)
    await here.callback(trackId, { status: 'processing', id: 134712448, track_id: trackId })

    answer(hits429, 429)

    expect(await submission).toMatchObject({ status: 'processing' })
    here.clock.advance(HOUR)
    expect(await sendHeld(here.deps)).toBe(0)
  })

  it('is not ended by the deadline while its reply is awaited', async () => {
    const here = world()
    const answer = here.provider.hesitates()
    const submission = submitted(here)
    await sent(here, 1)
    here.clock.advance(25 * HOUR)

    await expireOverdue(here.deps)
    answer({ status: 'success', id: 1, output: [LINK] })

    expect(await submission).toMatchObject({ status: 'succeeded' })
  })
})

describe('an Idempotency-Key', () => {
  const key = { 'idempotency-key': 'order-17' }
  const twoClients = { API_TOKENS: `a:submit:${'a'.repeat(20)},b:submit:${'b'.repeat(20)}` }

  const post = (
    { call }: World,
    body: object,
    headers: Record<string, string> = key,
    token?: string,
  ) =>
    call('/v1/generations', {
      method: 'POST',
      body: JSON.stringify({ ...sampleBody, ...body }),
      headers,
      ...(token === undefined ? {} : { token }),
    })

  it('makes a repeated request the same generation, as it is now', async () => {
    const here = world()
    const { id } = await submitted(here, {}, key)
    await here.callback(id, success(id))

    const again = await post(here, {})

    expect(again.status).toBe(202)
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    expect(await again.json()).toMatchObject({ id, status: 'succeeded' })
    expect(here.provider.submissions).toHaveLength(1)
  })

  it('knows the same request in other spellings', async () => {
    const here = world()
    const { id } = await submitted(
      here,
      { width: '512', safety_checker: 'no', seed: null, key: 'one' },
      key,
    )

    const again = await submitted(
      here,
      { width: 512, safety_checker: false, seed: undefined, key: 'two' },
      key,
    )

    expect(again.id).toBe(id)
  })

  it('tells requests apart by the last digit of a seed or track_id beyond 2^53', async () => {
    const here = world()
    const body = (seed: string, trackId: string) =>
      JSON.stringify({ ...sampleBody, seed: 0, track_id: 0 })
        .replace('"seed":0', `"seed":${seed}`)
        .replace('"track_id":0', `"track_id":${trackId}`)
    const statusOf = async (text: string) =>
      (await here.call('/v1/generations', { method: 'POST', body: text, headers: key })).status
    const [one, other] = ['9007199254740993', '9007199254740992']

    expect(await statusOf(body(one, one))).toBe(202)
    expect(await statusOf(body(one, one))).toBe(202)
    expect(await statusOf(body(other, one))).toBe(422)
    expect(await statusOf(body(one, other))).toBe(422)
    expect(here.provider.submissions).toHaveLength(1)
  })

  it.each([{ prompt: 'a dog' }, { track_id: 'order-18' }])(
    'refuses another request: %j differs',
    async (difference) => {
      const here = world()
      await submitted(here, {}, key)

      const other = await post(here, difference)

      expect(other.status).toBe(422)
      expect(here.provider.submissions).toHaveLength(1)
    },
  )

  it('sends one of twenty equal requests that arrive together', async () => {
    const here = world()

    const answers = await Promise.all(Array.from({ length: 20 }, () => post(here, {})))

    const generations = (await Promise.all(answers.map((answer) => answer.json()))) as {
      id: string
    }[]
    expect(here.provider.submissions).toHaveLength(1)
    expect(new Set(generations.map(({ id }) => id))).toEqual(
      new Set([here.provider.submissions[0]?.trackId]),
    )
    expect(answers.filter(({ headers }) => headers.has('idempotency-replayed'))).toHaveLength(19)
  })

  it('is not used up by a request that is refused', async () => {
    const here = world()
    const refused = await post(here, { width: 500 })

    const taken = await post(here, {})

    expect([refused.status, taken.status]).toEqual([400, 202])
    expect(taken.headers.has('idempotency-replayed')).toBe(false)
  })

  it('is each token’s own', async () => {
    const here = world(twoClients)

    const theirs = await post(here, {}, key, 'a'.repeat(20))
    const ours = await post(here, { prompt: 'a dog' }, key, 'b'.repeat(20))

    expect([theirs.status, ours.status]).toEqual([202, 202])
    expect(here.provider.submissions).toHaveLength(2)
  })

  it('is known after a restart, also of a request whose answer was lost', async () => {
    const here = world()
    here.provider.losesItsAnswer()
    const { id } = await submitted(here, {}, key)

    await here.restart()
    const again = await submitted(here, {}, key)

    expect(again).toMatchObject({ id, status: 'unconfirmed' })
    expect(here.provider.submissions).toHaveLength(1)
  })

  it.each(['', 'k'.repeat(256), 'ключ'])('that is %j is refused', async (value) => {
    const here = world()
    const headers = new Headers({ 'idempotency-key': Buffer.from(value).toString('latin1') })

    const response = await here.call('/v1/generations', {
      method: 'POST',
      body: JSON.stringify(sampleBody),
      headers,
    })

    expect(response.status).toBe(400)
    expect(here.provider.submissions).toHaveLength(0)
  })
})

/** The n-th submission, as soon as the provider has it. */
async function sent({ provider }: World, n: number) {
  for (;;) {
    const submission = provider.submissions[n - 1]
    if (submission) return submission
    await new Promise(setImmediate)
  }
}
