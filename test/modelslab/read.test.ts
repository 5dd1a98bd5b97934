import { describe, expect, it } from 'vitest'
import type { Facts } from '../../src/model/outcome.ts'
import {
  readCallback,
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
  promised: [],
  cutOff: 0,
}

const A = 'https://pub-3626123a908346a7a8be8d9295f44e26.r2.dev/generations/0-0fbc4579.jpg'
const B = 'https://cdn2.stablediffusionapi.com/generations/1-8751f0cf.png'

const output = (position: number, url: string) => ({ source: 'output', position, url })
const proxy = (position: number, url: string) => ({ source: 'proxy', position, url })

const read = (body: unknown, httpStatus = 200, waitSeconds: number | null = null) =>
  readReply(httpStatus, typeof body === 'string' ? body : JSON.stringify(body), waitSeconds)

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
      promised: [output(0, A)],
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
    ['nothing', '', 200],
    ['JSON that breaks off', '{"status":"success","output":["https:', 200],
    ['an array', '["success"]', 200],
    ['two messages in an array', '[{"status":"success"},{"status":"success"}]', 200],
    ['a page with JSON in it', '<html><script>{"status":"success"}</script></html>', 200],
    ['a text', '"success"', 200],
    ['null', 'null', 200],
    ['an object that says nothing', '{}', 200],
    ['a message without a status', '{"message":"fine"}', 200],
    ['a message without a status with HTTP 500', '{"message":"Server Error"}', 500],
    ['an unknown status with HTTP 400', '{"status":"pending"}', 400],
    ['an id without a status with HTTP 422', '{"id":134712448}', 422],
    ['JSON that breaks off with HTTP 400', '{"status":"processing","id":1347', 400],
    ['an outage of a gateway', '<html>Bad Gateway</html>', 502],
  ])('reads %s as no answer: the job may be running', (_what, body, httpStatus) => {
    expect(read(body, httpStatus)).toEqual({
      status: 'unreadable',
      reason: expect.stringContaining(`HTTP ${httpStatus}`) as string,
    })
  })

  it.each([
    ['a wall', '<html>Just a moment…</html>', 403],
    ['a proxy before it', '<html>Proxy Authentication Required</html>', 407],
    ['a path that nobody has', '<html>Not Found</html>', 404],
    ['a path that nobody has, in JSON', '{"error":"Not Found"}', 404],
    ['a path that nobody has, by its number', '{"status":404,"error":"Not Found"}', 404],
    ['a way that the path does not know', '{"message":"Method Not Allowed"}', 405],
    ['a timeout of a gateway', '{"message":"Request Timeout"}', 408],
    ['an object that says nothing', '{}', 400],
    ['a list', '["no"]', 400],
    ['nothing', '', 400],
    ['another host', '{"message":"Misdirected Request"}', 421],
    ['a redirect', '', 302],
    ['a redirect for good', '<html>Moved</html>', 308],
    ['a redirect that is none', '', 304],
  ])('holds what surely was not taken: %s', (_what, body, httpStatus) => {
    expect(read(body, httpStatus, 12)).toEqual({
      status: 'held',
      retryAfterSeconds: 12,
      full: false,
      reason: expect.stringContaining(`HTTP ${httpStatus}`) as string,
    })
  })

  it('does not hold after an outage, although its header says when to come again', () => {
    expect(read('<html>Service Unavailable</html>', 503, 30).status).toBe('unreadable')
  })

  it.each([
    ['{"message":"Unauthenticated."}', 401, 'Unauthenticated.'],
    ['{"status":400,"error":"Bad Request"}', 400, 'Bad Request'],
    ['{"message":"The seed is wrong.","errors":{}}', 422, 'The seed is wrong.'],
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
      5,
      30,
    ],
    [
      'in the body, with its unit',
      { status: 'error', message: 'Rate limit', retry_after: '30 seconds' },
      200,
      null,
      30,
    ],
    [
      'in the body, in words',
      { status: 'error', message: 'Rate limit', retry_after: 'in a while' },
      200,
      null,
      null,
    ],
    [
      'in the body, before now',
      { status: 'error', message: 'Rate limit', retry_after: -1 },
      200,
      null,
      null,
    ],
    ['as zero', { status: 'error', message: 'Rate limit', retry_after: 0 }, 200, null, 0],
    ['in the header', { status: 'error', message: 'Rate limit' }, 429, 5, 5],
    ['not at all', { status: 'error', message: 'Rate limit' }, 429, null, null],
    ['without a status', { message: 'Rate limit', retry_after: 2.5 }, 503, null, 2.5],
    ['as a century', { status: 'error', message: 'Rate limit', retry_after: 3e9 }, 429, null, 900],
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
    [
      [[A], [B]],
      [output(0, A), output(1, B)],
    ],
    [
      [[A, B], A],
      [output(0, A), output(1, B), output(2, A)],
    ],
    [[[], [B]], [output(1, B)]],
    [JSON.stringify([A]), [output(0, A)]],
    [[JSON.stringify([A, B])], [output(0, A), output(1, B)]],
    [JSON.stringify(JSON.stringify([A])), [output(0, A)]],
    [JSON.stringify({ 1: B }), [output(1, B)]],
    [JSON.stringify({ images: [{ image_url: A }] }), [output(0, A)]],
    [`['${A}', '${B}']`, [output(0, A), output(1, B)]],
    [`["${A}",]`, [output(0, A)]],
    [`"${A}"`, [output(0, A)]],
    [`'${A}'`, [output(0, A)]],
    [`"${A}", "${B}"`, [output(0, A), output(1, B)]],
    [`${A},${B}`, [output(0, A), output(1, B)]],
    [`${A}, ${B},`, [output(0, A), output(1, B)]],
    [`${A}\n${B}\n`, [output(0, A), output(1, B)]],
    [`${A}\r\n${B}`, [output(0, A), output(1, B)]],
    [`${A};${B}`, [output(0, A), output(1, B)]],
    [`${A} | ${B}`, [output(0, A), output(1, B)]],
    [
      'https://cdn.test/w=80,h=90/a.png?x=1,2&u=https://b.test/c',
      [output(0, 'https://cdn.test/w=80,h=90/a.png?x=1,2&u=https://b.test/c')],
    ],
    [
      [{ image_url: A }, { image: B }],
      [output(0, A), output(1, B)],
    ],
    [{ images: [A, { url: B }] }, [output(0, A), output(1, B)]],
    [{ image: { url: A } }, [output(0, A)]],
    [{ url: '', image_url: A }, [output(0, A)]],
    [{ 0: [A, B], 1: A }, [output(0, A), output(1, B), output(2, A)]],
    ['[]', []],
    ['["", null]', []],
    [['processing', 'file:///etc/passwd'], []],
    [
      ['processing', A],
      [output(0, 'processing'), output(1, A)],
    ],
    ['{}', []],
    ['null', []],
    ['processing', []],
    ['/generations/a.png', []],
    ['//cdn.test/a.png', []],
    ['file:///etc/passwd', []],
    ['data:image/png;base64,AAAA', []],
    ['https://', []],
    ['https://cdn .test/a.png', []],
    ['', []],
    [' ', []],
    [[], []],
    [{}, []],
    [null, []],
    [undefined, []],
    [true, []],
  ])('reads output %j', (given, images) => {
    expect(read({ status: 'success', output: given })).toMatchObject({ images, cutOff: 0 })
  })

  it.each([
    ['without end', '['.repeat(200_000)],
    ['as a list', '['.repeat(200_000) + ']'.repeat(200_000)],
  ])('finds no link in a text of 200,000 brackets %s', (_how, output) => {
    expect(read({ status: 'success', output })).toMatchObject({ images: [] })
  })

  it('reads links under images where output has none', () => {
    const images = [{ url: A }, { url: B }]

    expect(read({ status: 'success', output: '', images })).toMatchObject({
      images: [output(0, A), output(1, B)],
    })
    expect(read({ status: 'success', output: [B], images })).toMatchObject({
      images: [output(0, B)],
    })
  })

  it.each([
    [[B], true, [proxy(0, B)]],
    [`["${B}"]`, true, [proxy(0, B)]],
    ['[]', true, []],
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

  it.each([
    [
      [A, B],
      [output(0, A), output(1, B)],
    ],
    [`["${A}"]`, [output(0, A)]],
    ['', []],
    [['soon'], []],
  ])('takes no link that is only promised for one of an image: %j', (future_links, promised) => {
    expect(read({ status: 'success', output: [], future_links })).toMatchObject({
      images: [],
      promised,
    })
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
    ['yes', 'flagged'],
    [' YES ', 'flagged'],
    ['True', 'flagged'],
    ['1', 'flagged'],
    ['on', 'flagged'],
    ['nsfw', 'flagged'],
    [2, 'flagged'],
    [['no', 'yes'], 'flagged'],
    [{ 0: false, 1: true }, 'flagged'],
    [[{ nsfw: 'yes', score: 0.97 }], 'flagged'],
    ['[false, true]', 'flagged'],
    ["{'nsfw': True}", 'flagged'],
    ['false,true', 'flagged'],
    ['"yes"', 'flagged'],
    ['no', 'clear'],
    ['No', 'clear'],
    ['0', 'clear'],
    ['off', 'clear'],
    [{ 0: 'no', 1: 0 }, 'clear'],
    ['[false, "no"]', 'clear'],
    ['no, no', 'clear'],
    [0.02, 'unknown'],
    [-1, 'unknown'],
    [134712448, 'unknown'],
    [{ nsfw: false, score: 0.02 }, 'unknown'],
    ['not yet', 'unknown'],
    ['[]', 'unknown'],
    [' ', 'unknown'],
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
    [{ meta: '{"seed":7}' }, 7],
    [{ meta: { seed: '18446744073709551615' } }, '18446744073709551615'],
    [{ seed: '9007199254740993' }, '9007199254740993'],
    [{ seed: '9'.repeat(40) }, null],
    [{}, null],
  ])('reads the seed in %j as %j', (body, seed) => {
    expect(read({ status: 'success', ...body })).toMatchObject({ seed })
  })
})

describe('A number beyond 2^53', () => {
  const big = '1187654321098765432'
  const body = (more: string) => `{"status":"success","output":["${A}"],${more}}`

  it.each([
    ['id', `"id":${big}`, { providerId: big }],
    ['seed', `"seed":${big}`, { seed: big }],
    ['seed in meta', `"meta":{"seed":${big}}`, { seed: big, meta: { seed: big } }],
    ['anything in meta', `"meta":{"ids":[-${big}]}`, { meta: { ids: [`-${big}`] } }],
    ['id, with a fraction', `"id":${big}.0`, { providerId: big }],
    ['seed, with an exponent', `"seed":-1.${big.slice(1)}E+18`, { seed: `-${big}` }],
    ['seed, short', '"seed":2e20', { seed: '200000000000000000000' }],
    ['a list in meta', `"meta":{"a":[${big}]}`, { meta: { a: [big] } }],
  ])('keeps its digits as %s', (_where, more, facts) => {
    expect(read(body(more))).toMatchObject(facts)
  })

  it.each([
    ['a fraction', Number('1187654321098765.4321'), '"x":1187654321098765.4321'],
    ['a small one', Number('1.18765432109876543e-7'), '"x":1.18765432109876543e-7'],
    ['beyond all numbers of JavaScript', Infinity, '"x":1e400'],
  ])('is no number that is %s', (_what, x, more) => {
    expect(read(body(`"meta":{${more}}`))).toMatchObject({ meta: { x } })
  })

  it('keeps its digits as track_id', () => {
    expect(readCallback(body(`"track_id":${big}`)).trackId).toBe(big)
  })

  it('is told from one that JavaScript has exactly', () => {
    expect(read(body('"id":9007199254740991,"seed":9007199254740991'))).toMatchObject({
      providerId: '9007199254740991',
      seed: 9007199254740991,
    })
  })
})

describe('Half a character', () => {
  it('is made well-formed wherever it stands, and whole ones stay', () => {
    const text =
      String.raw`{"status":"success","tip":"a \ud83d",` +
      String.raw`"meta":{"\udc00":"\ud83d\ude00 \\ud83d"}}`

    expect(read(text)).toMatchObject({
      tip: 'a \ufffd',
      meta: { '\ufffd': '\u{1f600} \\ud83d' },
    })
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
    ['a path that nobody has', { message: 'Not Found' }, 404, 'held'],
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
