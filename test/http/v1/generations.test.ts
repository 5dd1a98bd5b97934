import { brotliCompressSync, gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { archiveDue } from '../../../src/work/archive.ts'
import { cpuClock } from '../../support/cpu.ts'
import { png, sampleBody, sha256, shown, submitted, world } from '../../support/world.ts'
import { DEFAULTS, REQUIRED, SEED_REQUEST, SEED_SAMPLE } from '../../support/bodies.ts'
import { DOOR, pointers, post, problem } from '../../support/doors.ts'

describe('POST /v1/generations', () => {
  it("takes the seed's own sample body as printed, and submits it with our webhook and track_id", async () => {
    const here = world()

    const response = await post(here, SEED_SAMPLE, { 'content-type': 'application/json' })

    expect(response.status).toBe(202)
    const { id, parameters } = (await response.json()) as { id: string; parameters: unknown }
    expect(parameters).toEqual(SEED_REQUEST)
    expect(here.provider.submissions).toEqual([
      { request: SEED_REQUEST, trackId: id, webhook: here.deps.callbackUrl(id) },
    ])
    expect(response.headers.get('location')).toBe(`https://images.example.com/v1/generations/${id}`)
  })

  it('answers with exactly the fields of the contract while the provider is at work', async () => {
    const here = world()
    here.provider.answers({
      status: 'processing',
      id: 134712448,
      eta: 0.25,
      tip: 'Wait.',
      webhook_status: '',
    })

    const generation = await (await post(here, { ...REQUIRED, track_id: 'mine' })).json()

    const { id } = generation as { id: string }
    expect(generation).toStrictEqual({
      id,
      status: 'processing',
      archive_status: 'none',
      endpoint: 'inpaint',
      model_id: 'pony_realism',
      prompt: null,
      negative_prompt: null,
      parameters: DEFAULTS,
      client_track_id: 'mine',
      provider_id: '134712448',
      submitted_by: 'admin',
      nsfw: { verdict: 'unknown', disputed: false, reports: [] },
      requested_at: '2026-01-31T12:00:00.000Z',
      finished_at: null,
      archived_at: null,
      generation_time_s: null,
      eta_s: 0.25,
      seed: null,
      meta: null,
      tip: 'Wait.',
      webhook_status: null,
      failure: null,
      images: [],
    })
  })

  it('shows an archived generation with exactly the fields of the contract', async () => {
    const here = world()
    const red = await png('red')
    const signed = 'https://cdn.example.net/a.png?X-Amz-Signature=secret&Expires=9999999999'
    here.cdn.pages.set(signed, red)
    const { id } = await submitted(here)
    const webhook = here.deps.callbackUrl(id)
    here.clock.advance(9)
    const success = {
      status: 'success',
      generationTime: 9.07,
      id: 7,
      output: [signed],
      proxy_links: [],
      meta: {
        seed: 4139316548,
        W: 512,
        webhook,
        output: [signed],
        init_image: 'https://me:pw@example.com/i.png',
      },
      tip: `see ${signed} too`,
    }
    await here.callback(id, success)
    here.clock.advance(1)
    await archiveDue(here.deps, 10)

    const generation = await shown(here, id)

    const redacted = 'https://cdn.example.net/a.png?X-Amz-Signature=***&Expires=***'
    expect(generation).toStrictEqual({
      id,
      status: 'succeeded',
      archive_status: 'archived',
      endpoint: 'inpaint',
      model_id: 'pony_realism',
      prompt: 'a cat sitting on a bench',
      negative_prompt: null,
      parameters: {
        ...SEED_REQUEST,
        init_image: sampleBody.init_image,
        mask_image: sampleBody.mask_image,
      },
      client_track_id: null,
      provider_id: '1000',
      submitted_by: 'admin',
      nsfw: {
        verdict: 'unknown',
        disputed: false,
        reports: [{ value: null, by: 'callback', at: '2026-01-31T12:00:09.000Z' }],
      },
      requested_at: '2026-01-31T12:00:00.000Z',
      finished_at: '2026-01-31T12:00:09.000Z',
      archived_at: '2026-01-31T12:00:10.000Z',
      generation_time_s: 9.07,
      eta_s: 2,
      seed: 4139316548,
      meta: {
        seed: 4139316548,
        W: 512,
        webhook: `https://images.example.com/callbacks/${id}/***`,
        output: [redacted],
        init_image: 'https://example.com/i.png',
      },
      tip: `see ${redacted} too`,
      webhook_status: null,
      failure: null,
      images: [
        {
          source: 'output',
          position: 0,
          status: 'archived',
          source_url: redacted,
          url: `https://images.example.com/v1/generations/${id}/images/0?source=output`,
          sha256: sha256(red),
          bytes: red.byteLength,
          content_type: 'image/png',
          width: 16,
          height: 16,
          object_key: `sha256/${sha256(red).slice(0, 2)}/${sha256(red).slice(2, 4)}/${sha256(red)}.png`,
          attempts: 1,
          archived_at: '2026-01-31T12:00:10.000Z',
          suspect: null,
          failure: null,
        },
      ],
    })
  })

  it("shows a refusal by the provider as status failed, with the provider's words", async () => {
    const here = world()
    here.provider.answers({
      status: 'error',
      message: { prompt: ['The prompt field is required.'] },
    })

    const response = await post(here, REQUIRED)

    expect(response.status).toBe(202)
    expect(await response.json()).toMatchObject({
      status: 'failed',
      finished_at: '2026-01-31T12:00:00.000Z',
      failure: { code: 'provider_refused', message: 'prompt: The prompt field is required.' },
    })
  })

  it('hides what a link in the words of a refusal proves', async () => {
    const here = world()
    here.provider.answers({
      status: 'error',
      message: 'Cannot read https://me:pw@example.com/a.png?token=secret now.',
    })

    const { id } = await submitted(here)

    const everything = JSON.stringify([
      await shown(here, id),
      await (await here.call(`${DOOR}/${id}/timeline`)).json(),
    ])
    expect(everything).toContain('Cannot read https://example.com/a.png?token=*** now.')
    expect(everything).not.toContain('secret')
  })

  it.each([
    ['nothing', ''],
    ['no JSON', '{"model_id":'],
    ['no UTF-8', Uint8Array.of(0x7b, 0xff, 0x7d)],
    ['an array', '[]'],
    ['null', 'null'],
    ['a string', '"pony_realism"'],
    ['brackets without end', '['.repeat(200_000)],
  ])('refuses a body that is %s', async (_what, body) => {
    const response = await post(world(), body)

    expect(response.status).toBe(400)
    expect(await pointers(response)).toEqual([''])
  })

  describe('with Content-Encoding: gzip', () => {
    const zipped = (body: unknown) => new Uint8Array(gzipSync(JSON.stringify(body)))
    const gzip = { 'content-encoding': 'gzip' }

    it.each([
      ['says so', gzip],
      ['says so in another spelling', { 'content-encoding': 'X-GZIP' }],
      ['does not say so', {}],
    ])('inflates a body that %s', async (_how, headers) => {
      const here = world()

      const response = await post(here, zipped({ ...REQUIRED, prompt: 'a cat' }), headers)

      expect(response.status).toBe(202)
      expect(here.provider.submissions).toMatchObject([{ request: { prompt: 'a cat' } }])
    })

    it('takes one that somebody on the way has inflated already', async () => {
      const response = await post(world(), REQUIRED, gzip)

      expect(response.status).toBe(202)
    })

    it('takes the same request for the same, gzipped or not', async () => {
      const here = world()
      const key = { 'idempotency-key': 'one' }
      await post(here, REQUIRED, key)

      const response = await post(here, zipped(REQUIRED), { ...gzip, ...key })

      expect(response.headers.get('idempotency-replayed')).toBe('true')
      expect(here.provider.submissions).toHaveLength(1)
    })

    it('takes 200,000 characters that were few, and not a million', async () => {
      const here = world()

      const most = await post(here, zipped({ ...REQUIRED, prompt: 'a'.repeat(200_000) }), gzip)
      const more = await post(here, zipped({ ...REQUIRED, prompt: 'a'.repeat(1_000_000) }), gzip)

      expect([most.status, more.status]).toEqual([202, 413])
      expect(here.provider.submissions).toHaveLength(1)
    })

    it('inflates no more of a bomb than it may', async () => {
      const bomb = new Uint8Array(gzipSync(Buffer.alloc(200 * 1024 * 1024)))
      const usedCpuMs = cpuClock()

      const response = await post(world(), bomb, gzip)

      expect(bomb.byteLength).toBeLessThan(256 * 1024)
      expect(response.status).toBe(413)
      expect(usedCpuMs()).toBeLessThan(1000)
    })

    it.each([
      ['is cut short', zipped(REQUIRED).slice(0, -12), gzip, ''],
      ['is not', Uint8Array.of(0x1f, 0x8b, 0, 1, 2, 3), gzip, ''],
      ['is something else', new Uint8Array(brotliCompressSync('{}')), gzip, ''],
      [
        'says it is something else',
        new Uint8Array(brotliCompressSync('{}')),
        { 'content-encoding': 'br' },
        'Content-Encoding',
      ],
    ])('refuses a body that %s', async (_how, body, headers, pointer) => {
      const response = await post(world(), body, headers)

      expect(response.status).toBe(400)
      expect(await pointers(response)).toEqual([pointer])
    })
  })

  it('takes a prompt of 200,000 characters whole', async () => {
    const here = world()
    const prompt = 'a cat, '.repeat(200_000 / 7)

    const response = await post(here, { ...REQUIRED, prompt })

    expect(await response.json()).toMatchObject({ prompt })
    expect(here.provider.submissions[0]?.request.prompt).toBe(prompt)
  })

  it.each([
    ['says its length', { 'content-length': String(300 * 1024) }],
    ['does not say its length', {}],
  ])('answers 413 to a body of 300 KiB that %s', async (_how, headers) => {
    const here = world()

    const response = await post(
      here,
      JSON.stringify({ ...REQUIRED, prompt: 'x'.repeat(300 * 1024) }),
      headers,
    )

    expect(response.status).toBe(413)
    expect(await problem(response)).toMatchObject({
      code: 'body_too_large',
      title: 'Expected a body of at most 262144 bytes.',
    })
    expect(here.provider.submissions).toEqual([])
  })

  it('refuses a query parameter, naming it', async () => {
    const here = world()

    const response = await here.call(`${DOOR}?wait=1`, {
      method: 'POST',
      body: JSON.stringify(REQUIRED),
    })

    expect(response.status).toBe(400)
    expect(await pointers(response)).toEqual(['wait'])
    expect(here.provider.submissions).toEqual([])
  })

  it('answers 503 with Retry-After, and submits nothing, while the request cannot be written', async () => {
    const here = world()
    here.refuseWrites()

    const response = await post(here, REQUIRED)

    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('5')
    expect(here.provider.submissions).toEqual([])
  })
})
