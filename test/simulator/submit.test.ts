import { describe, expect, it } from 'vitest'
import { fetchResult, inpaint, post, read, request, send, start } from '../support/simulator.ts'

describe('a submission', () => {
  it('is answered processing, in the shape and names of the provider', async () => {
    const simulator = await start({ knobs: { delay: 60 } })
    const response = await send(simulator, 'a harbour', {
      samples: '2',
      width: '640',
      seed: null,
      track_id: 'mine',
    })
    const body = await read(response)
    expect(response.status).toBe(200)
    expect(body).toMatchObject({ status: 'processing', eta: 60, output: [], webhook_status: '' })
    expect(body.fetch_result).toBe(`${simulator.apiUrl}/api/v6/images/fetch/${body.id}`)
    expect(body.future_links).toHaveLength(2)
    expect(body.meta).toMatchObject({
      W: 640,
      H: 512,
      n_samples: 2,
      track_id: 'mine',
      webhook: null,
      prompt: 'a harbour',
    })
    expect(Number.isInteger(body.id)).toBe(true)
  })

  it('keeps the seed that was asked for, also above 2^31, and makes one up where none was', async () => {
    const simulator = await start()
    const asked = await inpaint(simulator, null, { seed: 4139316548 })
    const made = await inpaint(simulator, null)
    expect(asked.meta.seed).toBe(4139316548)
    expect(made.meta.seed).toSatisfy(Number.isSafeInteger)
  })

  it('is refused with every field at fault named', async () => {
    const simulator = await start()
    const body = await inpaint(simulator, null, {
      width: 516,
      height: 1032,
      samples: 5,
      init_image: undefined,
      webhook: 'nowhere',
    })
    expect(body).toEqual({
      status: 'error',
      message: {
        width: ['The width must be an integer from 512 to 1024, divisible by 8.'],
        height: ['The height must be an integer from 512 to 1024, divisible by 8.'],
        samples: ['The samples must be an integer from 1 to 4.'],
        init_image: ['The init_image field is required.'],
        webhook: ['The webhook must be an http or https URL.'],
      },
    })
  })

  it('is refused where its body is not JSON', async () => {
    const simulator = await start()
    const url = `${simulator.apiUrl}/api/v6/images/inpaint`
    const response = await fetch(url, { method: 'POST', body: '{', headers: { key: 'a-key' } })
    expect(await read(response)).toEqual({
      status: 'error',
      message: 'The request body must be a JSON object.',
    })
  })

  it('is refused without a key, and with another than the one that was set', async () => {
    const simulator = await start({ key: 'the-key' })
    expect((await inpaint(simulator, null)).message).toBe('Invalid API key')
    expect((await inpaint(simulator, null, { key: undefined })).message).toEqual({
      key: ['The key field is required.'],
    })
    expect((await inpaint(simulator, null, { key: 'the-key' })).status).toBe('processing')
  })

  it.each([{ key: 'the-key' }, { authorization: 'Bearer the-key' }])(
    'may carry its key in %o',
    async (headers) => {
      const simulator = await start({ key: 'the-key' })
      const response = await post(
        `${simulator.apiUrl}/api/v7/images/inpaint`,
        { ...request, key: undefined },
        headers,
      )
      expect((await read(response)).status).toBe('processing')
    },
  )

  it('is answered 429 while too many are queued, and taken again when one has ended', async () => {
    const simulator = await start({ maxQueued: 1 })
    const first = await inpaint(simulator, '[delay=0.2]')
    const second = await send(simulator, '[retry_after=7]')
    expect(second.status).toBe(429)
    expect(await second.json()).toEqual({
      status: 'error',
      message: 'Rate limit exceeded. Maximum 1 queued requests allowed.',
      retry_after: 7,
    })
    await simulator.until((all) =>
      all.some((each) => each.providerId === first.id && each.state === 'success'),
    )
    expect((await inpaint(simulator, null)).status).toBe('processing')
  })
})

describe('the reply knob', () => {
  it('success: answers with the result when the job has ended', async () => {
    const simulator = await start()
    const body = await inpaint(simulator, '[reply=success delay=0.1]', { samples: 3 })
    expect(simulator.submissions()).toMatchObject([
      { state: 'success', reply: { code: 200, status: 'success' } },
    ])
    expect(body).toMatchObject({
      status: 'success',
      nsfw_content_detected: false,
      webhook_status: '',
    })
    expect(body.output).toHaveLength(3)
    expect(body.proxy_links).toHaveLength(3)
    expect(body.generationTime).toBeGreaterThan(0)
  })

  it.each([
    ['queued', 200, 'queued'],
    ['hollow', 200, 'success'],
    ['unknown', 200, 'resting'],
    ['400', 400, 'processing'],
  ])('%s: accepts under HTTP %i with status %s', async (knob, code, status) => {
    const simulator = await start()
    const response = await send(simulator, `[reply=${knob}]`)
    expect(response.status).toBe(code)
    expect(await response.json()).toMatchObject({ status, output: [] })
    expect(simulator.submissions()).toMatchObject([
      { providerId: expect.any(Number) as number, reply: { code, status } },
    ])
  })

  it.each([
    ['error', 200, 'error'],
    ['failed', 200, 'failed'],
    ['429', 429, 'error'],
    ['limited', 200, 'error'],
  ])('%s: refuses under HTTP %i with status %s', async (knob, code, status) => {
    const simulator = await start()
    const response = await send(simulator, `[reply=${knob}]`)
    expect(response.status).toBe(code)
    expect((await read(response)).status).toBe(status)
    expect(simulator.submissions()).toMatchObject([
      { state: 'refused', providerId: null, reply: { code, status } },
    ])
  })

  it.each([
    ['500', 'success'],
    ['503', 'refused'],
  ])('%s: answers a page of HTML, and the job becomes %s', async (knob, state) => {
    const simulator = await start()
    const response = await send(simulator, `[reply=${knob}]`)
    expect(response.status).toBe(Number(knob))
    expect(response.headers.get('content-type')).toContain('text/html')
    await simulator.until(([only]) => only?.state === state)
  })

  it.each([
    ['page', /^<html>/],
    ['half', /^\{"status":"processing",[^}]*$/],
    ['empty', /^$/],
    ['array', /^\[\{"status":"processing".*\]$/],
  ])('%s: accepts the job under HTTP 200 with a body that tells nobody so', async (knob, text) => {
    const simulator = await start()
    const response = await send(simulator, `[reply=${knob}]`)
    expect(response.status).toBe(200)
    expect(await response.text()).toMatch(text)
    const job = await simulator.until(([only]) => only?.state === 'success' && only)
    expect(job.reply).toEqual({ code: 200, status: null })
  })

  it('hollow: success without output, although a fetch has it later', async () => {
    const simulator = await start()
    const body = await inpaint(simulator, '[reply=hollow]')
    await simulator.until(([only]) => only?.endedAt)
    expect(body).toMatchObject({ status: 'success', output: [] })
    expect((await fetchResult(simulator, body.id)).output).toEqual(body.future_links)
  })

  it('limited: says retry_after as a 429 would', async () => {
    const body = await inpaint(await start(), '[reply=limited retry_after=7]')
    expect(body).toMatchObject({
      message: 'Rate limit exceeded. Maximum 5 queued requests allowed.',
      retry_after: 7,
    })
  })

  it.each(['error', 'failed'])(
    '%s: refuses under the error_code that was asked for',
    async (knob) => {
      const simulator = await start()
      const answers = ['400', '401', '402', '403', '500'].map((code) =>
        send(simulator, `[reply=${knob} error_code=${code}]`),
      )
      const codes = (await Promise.all(answers)).map((response) => response.status)
      expect(codes).toEqual([400, 401, 402, 403, 500])
    },
  )

  const why = 'Something went wrong, as the prompt asked for.'
  it.each([
    ['message', { status: 'error', message: why }],
    ['messege', { status: 'error', messege: why }],
    ['fields', { status: 'error', message: { prompt: [why] } }],
    ['tip', { status: 'error', tip: why }],
    ['tips', { status: 'error', tips: why }],
    ['bare', { message: why }],
  ])('error: says why as error_words=%s asks', async (words, body) => {
    expect(await inpaint(await start(), `[reply=error error_words=${words}]`)).toEqual(body)
  })

  it('cut: accepts the job and ends the connection in the middle of the reply', async () => {
    const simulator = await start()
    const response = await send(simulator, '[reply=cut]')
    expect(response.status).toBe(200)
    await expect(response.text()).rejects.toThrow()
    const job = await simulator.until(([only]) => only?.state === 'success' && only)
    expect(job.reply).toBe('cut')
  })

  it('waits for reply_delay seconds', async () => {
    const simulator = await start()
    const sent = performance.now()
    await inpaint(simulator, '[reply_delay=0.2]')
    expect(performance.now() - sent).toBeGreaterThan(190)
  })
})

describe('the result knob', () => {
  it('failed: the job fails, and a fetch says so', async () => {
    const simulator = await start()
    const { id } = await inpaint(simulator, '[result=failed]')
    await simulator.until(([only]) => only?.state === 'failed')
    expect(await fetchResult(simulator, id)).toMatchObject({ status: 'failed', id })
  })

  it('none: success without a picture', async () => {
    const body = await inpaint(await start(), '[reply=success result=none nsfw=flagged]')
    expect(body).toMatchObject({
      status: 'success',
      output: [],
      proxy_links: [],
      nsfw_content_detected: true,
    })
  })

  it('never: a fetch goes on saying processing', async () => {
    const simulator = await start()
    const { id } = await inpaint(simulator, '[result=never]')
    expect(await fetchResult(simulator, id)).toMatchObject({
      status: 'processing',
      message: 'try again later.',
      output: '',
    })
    expect(simulator.submissions()).toMatchObject([
      { state: 'processing', fetches: [{ status: 'processing' }] },
    ])
  })
})
