import type { IncomingMessage, RequestListener } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { describe, expect, it } from 'vitest'
import type { InpaintRequest } from '../../src/model/request.ts'
import { modelsLab } from '../../src/modelslab/client.ts'
import { serve, serveRaw } from '../support/net/loopback.ts'

const request: InpaintRequest = {
  model_id: 'pony_realism',
  prompt: 'a cat',
  negative_prompt: null,
  init_image: 'https://example.com/a.png',
  mask_image: 'https://example.com/a_mask.png',
  width: 512,
  height: 512,
  samples: 1,
  steps: 21,
  guidance_scale: 7.5,
  strength: 0.7,
  scheduler: 'DPMSolverMultistepScheduler',
  use_karras_sigmas: 'yes',
  algorithm_type: 'sde-dpmsolver++',
  clip_skip: 2,
  safety_checker: 'yes',
  seed: null,
}

const TO = { trackId: 'our-id', webhook: 'https://images.example.com/callbacks/our-id/mac' }
const PATIENCE_MS = 5000

const provider = (baseUrl: string, wasNotSent: (error: unknown) => boolean = () => false) =>
  modelsLab({ baseUrl, apiKey: 'our-api-key', fetch, wasNotSent })

interface Asked {
  method: string | undefined
  url: string | undefined
  headers: IncomingMessage['headers']
  body: unknown
}

/** A provider on loopback that answers every request the same, and what it was asked. */
async function answering(answer: RequestListener) {
  const asked: Asked[] = []
  const texts: string[] = []
  const { origin, connections } = await serve((incoming, response) => {
    let text = ''
    incoming.on('data', (chunk: Buffer) => (text += chunk.toString()))
    incoming.on('end', () => {
      const { method, url, headers } = incoming
      texts.push(text)
      asked.push({ method, url, headers, body: JSON.parse(text) as unknown })
      answer(incoming, response)
    })
  })
  return { origin, asked, texts, connections }
}

const says =
  (body: unknown, httpStatus = 200, headers: Record<string, string> = {}): RequestListener =>
  (_request, response) =>
    response
      .writeHead(httpStatus, headers)
      .end(typeof body === 'string' ? body : JSON.stringify(body))

describe('submit', () => {
  it('sends our key, every parameter, our webhook and our track_id, and reads the reply', async () => {
    const { origin, asked } = await answering(says({ status: 'processing', id: 7, eta: 3 }))

    const reply = await provider(origin).submit(request, TO, PATIENCE_MS)

    expect(reply).toMatchObject({ status: 'processing', providerId: '7', etaSeconds: 3 })
    expect(asked).toMatchObject([{ method: 'POST', url: '/api/v6/images/inpaint' }])
    expect(asked[0]?.headers['content-type']).toBe('application/json')
    expect(asked[0]?.body).toStrictEqual({
      ...request,
      key: 'our-api-key',
      webhook: TO.webhook,
      track_id: TO.trackId,
    })
  })

  it('sends a seed beyond 2^53 as a number of the same digits', async () => {
    const { origin, texts } = await answering(says({ status: 'processing' }))

    await provider(origin).submit({ ...request, seed: '18446744073709551615' }, TO, PATIENCE_MS)

    expect(texts[0]).toContain('"seed":18446744073709551615')
  })

  it('keeps the digits of an id beyond 2^53, and asks for it by them', async () => {
    const { origin, asked } = await answering(
      says('{"status":"processing","id":1187654321098765432}'),
    )

    const reply = await provider(origin).submit(request, TO, PATIENCE_MS)
    await provider(origin).fetch('1187654321098765432', PATIENCE_MS)

    expect(reply).toMatchObject({ providerId: '1187654321098765432' })
    expect(asked[1]?.url).toBe('/api/v6/images/fetch/1187654321098765432')
  })

  it('says at which path a page was instead of the API, and what else it was', async () => {
    const { origin } = await answering(says('<h1>Not Found</h1>', 404, { 'retry-after': '3' }))

    expect(await provider(`${origin}/api/v6`).submit(request, TO, PATIENCE_MS)).toEqual({
      status: 'held',
      retryAfterSeconds: 3,
      full: false,
      reason: 'HTTP 404 with a body that is not JSON',
      answer: 'HTTP 404 at /api/v6/api/v6/images/inpaint',
    })
  })

  it.each([
    ['a page that breaks off', 'HTTP/1.1 404 Not Found\r\ncontent-length: 100\r\n\r\n<h1>Not'],
    ['a reply that breaks off', 'HTTP/1.1 400 Bad\r\ncontent-length: 100\r\n\r\n{"status":"proc'],
  ])('does not hold what may have been taken: %s with a 4xx', async (_what, answer) => {
    const { origin } = await serveRaw(answer)

    expect(await provider(origin).submit(request, TO, PATIENCE_MS)).toMatchObject({
      status: 'unreadable',
    })
  })

  it('leaves out a prompt that was not given', async () => {
    const { origin, asked } = await answering(says({ status: 'processing' }))

    await provider(origin).submit({ ...request, prompt: null }, TO, PATIENCE_MS)

    expect(asked[0]?.body).not.toHaveProperty('prompt')
  })

  it('keeps a path in the base URL', async () => {
    const { origin, asked } = await answering(says({ status: 'processing' }))

    await provider(`${origin}/gateway`).submit(request, TO, PATIENCE_MS)

    expect(asked[0]?.url).toBe('/gateway/api/v6/images/inpaint')
  })

  it('takes a new connection for each request: one that just closes would leave us in doubt', async () => {
    const { origin, asked, connections } = await answering(says({ status: 'processing' }))

    await provider(origin).submit(request, TO, PATIENCE_MS)
    await provider(origin).submit(request, TO, PATIENCE_MS)

    expect(connections()).toBe(2)
    expect(asked.map(({ headers }) => headers.connection)).toEqual(['close', 'close'])
  })

  it('reads how long to wait in the header too', async () => {
    const { origin } = await answering(
      says({ status: 'error', message: 'Rate limit' }, 429, { 'retry-after': '12' }),
    )

    expect(await provider(origin).submit(request, TO, PATIENCE_MS)).toMatchObject({
      status: 'held',
      retryAfterSeconds: 12,
      full: true,
    })
  })

  const NOON = 'Sat, 31 Jan 2026 12:00:00 GMT'
  it.each([
    ['a time by its own clock', { date: NOON, 'retry-after': 'Sat, 31 Jan 2026 12:00:12 GMT' }, 12],
    ['a time that has passed', { date: NOON, 'retry-after': 'Sat, 31 Jan 2026 11:00:00 GMT' }, 0],
    ['a time in a year', { date: NOON, 'retry-after': 'Sun, 31 Jan 2027 12:00:00 GMT' }, 900],
    ['a year', { 'retry-after': '31536000' }, 900],
    ['a negative number', { 'retry-after': '-1' }, null],
    ['words', { date: NOON, 'retry-after': 'later' }, null],
  ])('reads how long to wait in the header as %s', async (_what, headers, seconds) => {
    const { origin } = await answering(says('<h1>Too Many Requests</h1>', 429, headers))

    expect(await provider(origin).submit(request, TO, PATIENCE_MS)).toMatchObject({
      status: 'held',
      retryAfterSeconds: seconds,
    })
  })

  it('reads a page with HTTP 500 as no answer', async () => {
    const { origin } = await answering(says('<html>', 500, { 'content-type': 'text/html' }))

    expect(await provider(origin).submit(request, TO, PATIENCE_MS)).toMatchObject({
      status: 'unreadable',
    })
  })

  it.each([301, 302, 303, 307, 308])(
    'follows no redirect %i: our key is for the provider alone',
    async (status) => {
      const elsewhere = await answering(
        says({ status: 'success', output: ['https://example.com/a.png'] }),
      )
      const { origin, asked } = await answering(says('', status, { location: elsewhere.origin }))

      const reply = await provider(origin).submit(request, TO, PATIENCE_MS)

      expect(reply).toMatchObject({
        status: 'held',
        full: false,
        answer: `HTTP ${status} at /api/v6/images/inpaint`,
      })
      expect(asked).toHaveLength(1)
      expect(elsewhere.asked).toHaveLength(0)
    },
  )

  it('reads a reply of just under 4 MiB', async () => {
    const { origin } = await answering(
      says({ status: 'processing', id: 7, tip: 'x'.repeat(4 * 1024 * 1024 - 1000) }),
    )

    expect(await provider(origin).submit(request, TO, PATIENCE_MS)).toMatchObject({
      status: 'processing',
    })
  })

  it('gives up on a reply of more than 4 MiB, and on one without end', async () => {
    const long = await answering(says({ status: 'processing', tip: 'x'.repeat(4 * 1024 * 1024) }))
    const endless = await answering((_request, response) => {
      const chunk = Buffer.alloc(64 * 1024, ' ')
      // Once the client has left, Node 26 calls back with an error and destroys no response.
      const pour = (error?: Error | null) => {
        if (!error && !response.destroyed) response.write(chunk, pour)
      }
      pour()
    })

    const replies = await Promise.all([
      provider(long.origin).submit(request, TO, PATIENCE_MS),
      provider(endless.origin).submit(request, TO, PATIENCE_MS),
    ])

    for (const reply of replies)
      expect(reply).toEqual({
        status: 'unreadable',
        reason: 'the reply is longer than 4194304 bytes',
      })
  })

  it.each([
    ['before its status', ''],
    ['in its headers', 'HTTP/1.1 200 OK\r\ncontent-le'],
    ['in its body', 'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"status":"proc'],
    [
      'in a chunk',
      'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n20\r\n{"status":"processing"}',
    ],
    ['in nonsense', 'SSH-2.0-OpenSSH_9.2\r\n'],
  ])('reads a reply that is cut %s as no answer', async (_where, answer) => {
    const { origin } = await serveRaw(answer)

    expect(await provider(origin).submit(request, TO, PATIENCE_MS)).toMatchObject({
      status: 'unreadable',
    })
  })

  it.each([
    ['never begins', () => undefined],
    [
      'begins and never ends',
      (response: { write: (text: string) => unknown }) => response.write('{"status":"processing"'),
    ],
  ])('waits no longer than it was told for a reply that %s', async (_how, answer) => {
    const { origin } = await answering((_request, response) => void answer(response))
    const startedAt = performance.now()

    const reply = await provider(origin).submit(request, TO, 100)

    expect(reply).toMatchObject({
      status: 'unreadable',
      reason: expect.stringContaining('timeout') as string,
    })
    expect(performance.now() - startedAt).toBeLessThan(2000)
  })

  it('holds what never left, and nothing else that failed', async () => {
    const { origin, asked } = await answering((incoming) => incoming.socket.destroy())
    const errors: unknown[] = []
    const refuses = await closedPort()
    const wasNotSent = (error: unknown) => {
      errors.push(error)
      return (
        error instanceof Error && String((error.cause as { code?: string }).code) === 'ECONNREFUSED'
      )
    }

    const refused = await provider(refuses, wasNotSent).submit(request, TO, PATIENCE_MS)
    const reset = await provider(origin, wasNotSent).submit(request, TO, PATIENCE_MS)

    expect(refused).toEqual({
      status: 'held',
      retryAfterSeconds: null,
      full: false,
      unsent: true,
      reason: expect.stringContaining('ECONNREFUSED') as string,
    })
    expect(reset).toMatchObject({ status: 'unreadable' })
    expect(asked).toHaveLength(1)
    expect(errors).toHaveLength(2)
  })

  it('never names our key in what it could not read', async () => {
    const { origin } = await answering(says('our-api-key is wrong', 500))

    expect(JSON.stringify(await provider(origin).submit(request, TO, PATIENCE_MS))).not.toContain(
      'our-api-key',
    )
  })
})

describe('fetch', () => {
  it.each([
    ['134712448', '/api/v6/images/fetch/134712448'],
    ['abc123-def456', '/api/v6/images/fetch/abc123-def456'],
    ['../../account?x=#y', '/api/v6/images/fetch/..%2F..%2Faccount%3Fx%3D%23y'],
  ])('asks for %s with our key alone', async (id, path) => {
    const { origin, asked } = await answering(
      says({ status: 'success', id, output: ['https://example.com/a.png'] }),
    )

    const reply = await provider(origin).fetch(id, PATIENCE_MS)

    expect(reply).toMatchObject({
      status: 'succeeded',
      images: [{ url: 'https://example.com/a.png' }],
    })
    expect(asked).toMatchObject([{ method: 'POST', url: path, body: { key: 'our-api-key' } }])
  })

  it('reads an error about the account as no answer about the job', async () => {
    const { origin } = await answering(says({ status: 'error', message: 'Invalid API key' }, 401))

    expect(await provider(origin).fetch('7', PATIENCE_MS)).toMatchObject({ status: 'unreadable' })
  })

  it('waits no longer than it was told', async () => {
    const { origin } = await answering(() => undefined)

    expect(await provider(origin).fetch('7', 100)).toMatchObject({ status: 'unreadable' })
  })
})

/** An origin where nobody listens any more. */
async function closedPort() {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return `http://127.0.0.1:${port}`
}
