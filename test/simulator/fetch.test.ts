import { describe, expect, it } from 'vitest'
import {
  ask,
  callbacks,
  fetchResult,
  finished,
  generate,
  inpaint,
  post,
  read,
  start,
  webhook,
} from '../support/simulator.ts'

describe('the fetch knob', () => {
  it.each([
    ['processing', 200, { status: 'processing', message: 'try again later.', output: '' }],
    ['messege', 200, { status: 'processing', messege: 'try again later.', output: '' }],
    ['failed', 200, { status: 'failed', id: '' }],
    [
      'error error_code=402 error_words=messege',
      402,
      { status: 'error', messege: expect.any(String) as string },
    ],
    ['429 retry_after=7', 429, { status: 'error', retry_after: 7 }],
  ])(
    '%s: is the first answer, under HTTP %i, and then comes the result',
    async (words, code, body) => {
      const simulator = await start()
      const id = await finished(simulator, `[fetch=${words}]`)
      const first = await ask(simulator, id)
      expect(first.status).toBe(code)
      expect(await first.json()).toMatchObject(body)
      expect(await fetchResult(simulator, id)).toMatchObject({ status: 'success', id })
      expect(simulator.submissions()).toMatchObject([
        { fetches: [{ code, status: body.status }, { status: 'success' }] },
      ])
    },
  )

  it('page: answers HTML for as many asks as fetch_asks says', async () => {
    const simulator = await start()
    const id = await finished(simulator, '[fetch=page fetch_asks=2]')
    for (const response of [await ask(simulator, id), await ask(simulator, id)]) {
      expect(response.status).toBe(502)
      expect(response.headers.get('content-type')).toContain('text/html')
    }
    expect(await fetchResult(simulator, id)).toMatchObject({ status: 'success' })
    expect(simulator.submissions()).toMatchObject([
      { fetches: [{ code: 502, status: null }, { code: 502, status: null }, { code: 200 }] },
    ])
  })

  it('counts no ask before the end of the job', async () => {
    const simulator = await start()
    const { id } = await inpaint(simulator, '[fetch=429 delay=0.2]')
    expect(await fetchResult(simulator, id)).toMatchObject({ status: 'processing' })
    await simulator.until(([only]) => only?.endedAt)
    expect((await ask(simulator, id)).status).toBe(429)
    expect((await ask(simulator, id)).status).toBe(200)
  })
})

describe('what a fetch names', () => {
  it('other: other pictures than the callback, with their own mirrors, all alive', async () => {
    const [simulator, hook] = [await start(), await webhook()]
    const body = await generate(simulator, '[fetch_outputs=other]', {
      webhook: hook.url,
      samples: 2,
    })
    await callbacks(simulator, 1)
    const told = hook.received[0]?.output ?? []
    expect(body.output).toHaveLength(2)
    expect(body.output.filter((url) => told.includes(url))).toEqual([])
    expect(body.proxy_links).toEqual(
      body.output.map((url) => url.replace(simulator.outputOrigin, simulator.proxyOrigin)),
    )
    for (const url of [...told, ...body.output, ...body.proxy_links])
      expect((await fetch(url)).status).toBe(200)
  })

  it('all: those of every callback', async () => {
    const [simulator, hook] = [await start(), await webhook()]
    const words = '[fetch_outputs=all callback_says=result+other]'
    const body = await generate(simulator, words, { webhook: hook.url, samples: 2 })
    await callbacks(simulator, 2)
    expect(body.output).toEqual(hook.received.flatMap(({ output }) => output))
  })

  it('short: no mirrors and no verdict; future: future_links still', async () => {
    const simulator = await start()
    const short = await generate(simulator, '[fetch_body=short]')
    const future = await generate(simulator, '[fetch_body=future]')
    expect(Object.keys(short)).toEqual(['status', 'id', 'output', 'generationTime', 'meta'])
    expect(future).toMatchObject({ status: 'success', nsfw_content_detected: false })
    expect(future.future_links).toEqual(future.output)
  })
})

describe('a fetch', () => {
  it('takes the id in the path or as request_id, and gives the result', async () => {
    const simulator = await start()
    const { id, future_links } = await inpaint(simulator, null)
    await simulator.until(([only]) => only?.endedAt)
    const byBody = await read(
      await post(`${simulator.apiUrl}/api/v6/images/fetch`, {
        key: 'a-key',
        request_id: String(id),
      }),
    )
    expect(byBody).toMatchObject({ status: 'success', id, output: future_links })
    expect(await fetchResult(simulator, id)).toEqual(byBody)
  })

  it('of an unknown id, or with a wrong key, is refused', async () => {
    const simulator = await start({ key: 'the-key' })
    expect((await fetchResult(simulator, 1)).message).toBe('Invalid API key')
    const unknown = await post(`${simulator.apiUrl}/api/v6/images/fetch/1`, { key: 'the-key' })
    expect((await read(unknown)).message).toBe('The requested image was not found.')
  })
})
