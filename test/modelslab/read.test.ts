import { describe, expect, it } from 'vitest'
import type { Facts } from '../../src/model/generation.ts'
import {
  parseObject,
  readFetch,
  readOutcome,
  readReply,
  trackIdOf,
} from '../../src/modelslab/read.ts'

/** What a message that tells nothing tells. */
const NOTHING: Facts = {
  providerId: null,
  etaSeconds: null,
  generationTimeSeconds: null,
  seed: null,
  meta: null,
  tip: null,
  webhookStatus: null,
  nsfw: undefined,
  mentionsProxies: false,
}

const A = 'https://pub-3626123a908346a7a8be8d9295f44e26.r2.dev/generations/0-0fbc4579.jpg'
const B = 'https://cdn2.stablediffusionapi.com/generations/1-8751f0cf.png'

const output = (position: number, url: string) => ({ source: 'output', position, url })
const proxy = (position: number, url: string) => ({ source: 'proxy', position, url })

const read = (body: unknown, httpStatus = 200, retryAfter: string | null = null) =>
  readReply(httpStatus, typeof body === 'string' ? body : JSON.stringify(body), retryAfter)

describe('The samples of the provider', () => {
  it('are read: processing', () => {
    const meta = {
      prompt: 'x',
      seed: 681162,
      webhook: null,
      track_id: null,
      id: '134712448',
      output: [A],
    }
    const reply = read({
      status: 'processing',
      tip: 'Wait for it.',
      tip_1: '…',
      eta: 0.25,
      messege: 'Try to fetch request after seconds estimated',
      webhook_status: '',
      fetch_result: 'https://modelslab.com/api/v6/images/fetch/134712449',
      id: 134712448,
      output: [],
      meta,
      future_links: [A],
    })

    expect(reply).toEqual({
      ...NOTHING,
      status: 'processing',
      providerId: '134712448',
      etaSeconds: 0.25,
      seed: 681162,
      meta,
      tip: 'Wait for it.',
    })
  })

  it('are read: success at once', () => {
    const meta = { seed: 4139316548, W: 736, H: 736 }
    const reply = read({
      status: 'success',
      generationTime: 9.07,
      id: 112514254,
      output: [A],
      proxy_links: '',
      nsfw_content_detected: false,
      webhook_status: '',
      meta,
      tip: '…',
    })

    expect(reply).toEqual({
      ...NOTHING,
      status: 'succeeded',
      providerId: '112514254',
      generationTimeSeconds: 9.07,
      seed: 4139316548,
      meta,
      tip: '…',
      nsfw: { value: false, verdict: 'clear' },
      mentionsProxies: true,
      images: [output(0, A)],
      cutOff: 0,
    })
  })

  it('are read: the callback of a success', () => {
    const body = {
      status: 'success',
      id: 'abc123-def456',
      output: [A],
      generationTime: 45.2,
      track_id: 'video_001',
    }

    expect(readOutcome(body)).toEqual({
      ...NOTHING,
      status: 'succeeded',
      providerId: 'abc123-def456',
      generationTimeSeconds: 45.2,
      images: [output(0, A)],
      cutOff: 0,
    })
  })

  it('are read: the callback of a failure', () => {
    const body = {
      status: 'failed',
      id: 'abc123-def456',
      message: 'Processing failed: Invalid input dimensions',
    }

    expect(readOutcome(body)).toEqual({
      ...NOTHING,
      status: 'failed',
      providerId: 'abc123-def456',
      message: 'Processing failed: Invalid input dimensions',
    })
  })
})

describe('readReply', () => {
  it.each([
    ['success', 200, 'succeeded'],
    ['SUCCESS', 200, 'succeeded'],
    ['success', 500, 'succeeded'],
    ['processing', 200, 'processing'],
    ['processing', 400, 'processing'],
    ['processing', 429, 'processing'],
    ['queued', 200, 'processing'],
    ['error', 200, 'failed'],
    ['error', 400, 'failed'],
    ['error', 401, 'failed'],
    ['error', 402, 'failed'],
    ['error', 500, 'failed'],
    ['error', 429, 'held'],
    ['failed', 200, 'failed'],
    ['failed', 503, 'failed'],
    ['done', 200, 'unreadable'],
    ['', 200, 'unreadable'],
    [null, 200, 'unreadable'],
    [true, 200, 'unreadable'],
  ])('reads status %j with HTTP %i as %s', (status, httpStatus, expected) => {
    expect(read({ status, message: 'x', output: [A] }, httpStatus).status).toBe(expected)
  })

  it.each([
    ['a page with HTTP 500', '<html>Internal Server Error</html>', 500],
    ['a page with HTTP 502', '<html>Bad Gateway</html>', 502],
    ['a page with HTTP 200', '<html>Just a moment…</html>', 200],
    ['a page with HTTP 403', '<html>Forbidden</html>', 403],
    ['nothing', '', 200],
    ['a redirect', '', 302],
    ['JSON that breaks off', '{"status":"success","output":["https:', 200],
    ['an array', '[{"status":"success"}]', 200],
    ['a text', '"success"', 200],
    ['null', 'null', 200],
    ['an object that says nothing', '{}', 200],
    ['a message without a status', '{"message":"fine"}', 200],
    ['a message without a status with HTTP 500', '{"message":"Server Error"}', 500],
    ['a timeout of a gateway', '{"message":"Request Timeout"}', 408],
    ['an object that says nothing with HTTP 400', '{}', 400],
  ])('reads %s as no answer: the job may be running', (_what, body, httpStatus) => {
    expect(read(body, httpStatus)).toEqual({
      status: 'unreadable',
      reason: expect.stringContaining(`HTTP ${httpStatus}`) as string,
    })
  })

  it.each([
    ['{"message":"Unauthenticated."}', 401, 'Unauthenticated.'],
    ['{"error":"Not Found"}', 404, 'Not Found'],
  ])('reads %s with HTTP %i as a refusal', (body, httpStatus, message) => {
    expect(read(body, httpStatus)).toEqual({ ...NOTHING, status: 'failed', message })
  })

  it.each([
    ['in the body', { status: 'error', message: 'Rate limit', retry_after: 30 }, 200, null, 30],
    [
      'in the body, as text',
      { status: 'error', message: 'Rate limit', retry_after: '30' },
      429,
      null,
      30,
    ],
    [
      'in the body rather than the header',
      { status: 'error', message: 'Rate limit', retry_after: 30 },
      429,
      '5',
      30,
    ],
    ['as zero', { status: 'error', message: 'Rate limit', retry_after: 0 }, 200, null, 0],
    ['in the header', { status: 'error', message: 'Rate limit' }, 429, '5', 5],
    [
      'as a date, which tells us nothing',
      { status: 'error', message: 'Rate limit' },
      429,
      'Sat, 31 Jan 2026',
      null,
    ],
    ['not at all', { status: 'error', message: 'Rate limit' }, 429, null, null],
    ['without a status', { message: 'Rate limit', retry_after: 2.5 }, 503, null, 2.5],
    [
      'as a century',
      { status: 'error', message: 'Rate limit', retry_after: 3e9 },
      429,
      null,
      86_400,
    ],
  ])(
    'holds a request whose waiting time stands %s',
    (_where, body, httpStatus, header, seconds) => {
      expect(read(body, httpStatus, header)).toEqual({
        status: 'held',
        retryAfterSeconds: seconds,
        full: true,
        reason: 'Rate limit',
      })
    },
  )

  it('holds a request after a 429 that is not JSON', () => {
    expect(read('<html>Too Many Requests</html>', 429)).toMatchObject({
      status: 'held',
      reason: 'HTTP 429',
    })
  })

  it('does not hold what was accepted, whatever waiting time it names', () => {
    expect(read({ status: 'processing', id: 1, retry_after: 30 }).status).toBe('processing')
  })

  it.each([
    [
      [A, B],
      [output(0, A), output(1, B)],
    ],
    [A, [output(0, A)]],
    [
      [{ url: A }, { url: B }],
      [output(0, A), output(1, B)],
    ],
    [{ url: A }, [output(0, A)]],
    [{ 0: A, 1: B }, [output(0, A), output(1, B)]],
    [{ 1: B }, [output(1, B)]],
    [['', B], [output(1, B)]],
    [
      [null, 7, {}, [], ` ${A} `],
      [output(1, '7'), output(4, A)],
    ],
    ['', []],
    [' ', []],
    [[], []],
    [{}, []],
    [null, []],
    [undefined, []],
    [true, []],
  ])('reads output %j', (given, images) => {
    expect(read({ status: 'success', output: given })).toMatchObject({ images })
  })

  it.each([
    [[B], true, [proxy(0, B)]],
    [B, true, [proxy(0, B)]],
    [{ 0: B }, true, [proxy(0, B)]],
    [[], true, []],
    ['', true, []],
    [null, false, []],
    [undefined, false, []],
  ])('reads proxy_links %j', (given, mentionsProxies, images) => {
    expect(read({ status: 'success', output: [A], proxy_links: given })).toMatchObject({
      mentionsProxies,
      images: [output(0, A), ...images],
    })
  })

  it.each([
    ['an array', Array.from({ length: 5000 }, () => A)],
    ['an object', Object.fromEntries(Array.from({ length: 5000 }, (_, n) => [String(n), A]))],
  ])(
    'keeps 64 images of a message that names thousands in %s, and counts the rest',
    (_, output) => {
      const reply = read({ status: 'success', output, proxy_links: output })

      expect('images' in reply && reply.images).toHaveLength(128)
      expect(reply).toMatchObject({ cutOff: 2 * (5000 - 64) })
    },
  )

  it.each(['01', '-1', '1.5', '1e1', '__proto__', '9999999999'])(
    'takes no image at the index %j',
    (key) => {
      const output = JSON.parse(
        `{"0":${JSON.stringify(A)},${JSON.stringify(key)}:"https://cdn.test/other.png"}`,
      ) as unknown
      expect(read({ status: 'success', output })).toMatchObject({
        images: [{ position: 0, url: A }],
        cutOff: 0,
      })
    },
  )

  it('takes no link that is only promised', () => {
    expect(read({ status: 'success', output: [], future_links: [A] })).toMatchObject({ images: [] })
  })

  it.each([
    [134712448, '134712448'],
    ['abc123-def456', 'abc123-def456'],
    [' 7 ', '7'],
    [0, '0'],
    ['', null],
    [null, null],
    [undefined, null],
    [{}, null],
  ])('reads id %j as %j', (id, providerId) => {
    expect(read({ status: 'processing', id })).toMatchObject({ providerId })
  })

  it.each([
    [{ message: 'Invalid API key' }, 'Invalid API key'],
    [{ messege: 'Try again' }, 'Try again'],
    [
      { message: { prompt: ['The prompt field is required.'] } },
      'prompt: The prompt field is required.',
    ],
    [{ message: { a: ['x', 'y'], b: 'z' } }, 'a: x y b: z'],
    [{ message: ['x', 'y'] }, 'x y'],
    [{ message: '', tip: 'Use https.' }, 'Use https.'],
    [{ tips: 'Use https.' }, 'Use https.'],
    [{ error: 'no' }, 'no'],
    [{ message: null }, 'The provider gave no reason.'],
    [{}, 'The provider gave no reason.'],
    [{ message: 'x'.repeat(5000) }, 'x'.repeat(2000)],
  ])('reads the reason in %j', (body, message) => {
    expect(read({ status: 'error', ...body })).toMatchObject({ status: 'failed', message })
  })

  it.each([
    [30, 30],
    [0.25, 0.25],
    [960, 960],
    ['12.5', 12.5],
    [0, 0],
    ['', null],
    ['soon', null],
    [null, null],
    [-5, null],
    [[], null],
  ])('reads eta %j as %j', (eta, etaSeconds) => {
    expect(read({ status: 'processing', eta })).toMatchObject({ etaSeconds })
  })

  it.each([
    [true, 'flagged'],
    ['true', 'flagged'],
    [1, 'flagged'],
    [[false, true], 'flagged'],
    [false, 'clear'],
    ['false', 'clear'],
    [0, 'clear'],
    [[false, false], 'clear'],
    [null, 'unknown'],
    ['', 'unknown'],
    [[], 'unknown'],
    [{}, 'unknown'],
    ['maybe', 'unknown'],
    [[false, null], 'unknown'],
  ])('reads nsfw_content_detected %j as %s, and keeps the raw value', (value, verdict) => {
    expect(read({ status: 'success', nsfw_content_detected: value })).toMatchObject({
      nsfw: { value, verdict },
    })
  })

  it('has nothing of a message that is silent about NSFW', () => {
    expect(read({ status: 'success', output: [A] })).toMatchObject({ nsfw: undefined })
  })

  it.each([
    [{ meta: { seed: 4139316548 } }, 4139316548],
    [{ meta: { seed: '681162' } }, 681162],
    [{ seed: 5 }, 5],
    [{ meta: { seed: 1 }, seed: 5 }, 1],
    [{ meta: { seed: null } }, null],
    [{ meta: { seed: 1.5 } }, null],
    [{ meta: { seed: 'random' } }, null],
    [{ meta: [] }, null],
    [{}, null],
  ])('reads the seed in %j as %j', (body, seed) => {
    expect(read({ status: 'success', ...body })).toMatchObject({ seed })
  })
})

describe('readFetch', () => {
  const fetched = (body: unknown, httpStatus = 200) =>
    readFetch(httpStatus, JSON.stringify(body), null)

  it.each([
    ['a success', { status: 'success', id: 7, output: [A], future_links: [A] }, 200, 'succeeded'],
    [
      'a wait',
      { status: 'processing', message: 'try again later.', output: '', tip: '…' },
      200,
      'processing',
    ],
    [
      'a wait in other words',
      { status: 'processing', messege: 'try again later.' },
      400,
      'processing',
    ],
    [
      'a failure',
      { status: 'failed', id: '', message: 'Failed, Try Again', output: '' },
      200,
      'failed',
    ],
    ['an error about the job', { status: 'error', message: 'Request not found' }, 200, 'failed'],
    ['a wrong key', { status: 'error', message: 'Invalid API key' }, 200, 'unreadable'],
    ['a wrong key by its HTTP status', { status: 'error', message: 'no' }, 401, 'unreadable'],
    [
      'no credits left',
      { status: 'error', message: 'You have run out of credits' },
      200,
      'unreadable',
    ],
    ['no credits left by its HTTP status', { status: 'error', message: 'no' }, 402, 'unreadable'],
    ['an outage', { status: 'error', message: 'Server error' }, 500, 'unreadable'],
    ['a rate limit', { status: 'error', message: 'Rate limit', retry_after: 30 }, 429, 'held'],
  ])('reads %s', (_what, body, httpStatus, status) => {
    expect(fetched(body, httpStatus).status).toBe(status)
  })
})

describe('trackIdOf', () => {
  it.each([
    ['video_001', 'video_001'],
    [12, '12'],
    [null, null],
    ['', null],
    [undefined, null],
  ])('reads %j as %j', (track_id, expected) => {
    expect(trackIdOf({ track_id })).toBe(expected)
  })
})

describe('parseObject', () => {
  it('reads past a byte order mark', () => {
    expect(parseObject('\uFEFF{"status":"success"}')).toEqual({ status: 'success' })
  })

  it.each(['', '[]', 'null', '1', '{', `{"meta":${'['.repeat(500_000)}${']'.repeat(500_000)}}`])(
    'finds none in %.20s',
    (text) => {
      expect(parseObject(text)).toBeNull()
    },
  )
})
