import { describe, expect, it } from 'vitest'
import {
  callbacks,
  fetchResult,
  finished,
  generate,
  inpaint,
  start,
  webhook,
} from '../support/simulator.ts'

describe('the provider id', () => {
  it('text: is one in every message, and a fetch takes it', async () => {
    const [simulator, hook] = [await start(), await webhook()]
    const body = await inpaint(simulator, '[id=text]', { webhook: hook.url })
    await callbacks(simulator, 1)
    expect(body.id).toMatch(/^[0-9a-f]{6}-[0-9a-f]{6}$/)
    expect(body.fetch_result).toBe(`${simulator.apiUrl}/api/v6/images/fetch/${body.id}`)
    expect(hook.received).toMatchObject([{ id: body.id, meta: { id: body.id } }])
    expect(await fetchResult(simulator, body.id)).toMatchObject({ status: 'success', id: body.id })
    expect(simulator.submissions()).toMatchObject([{ providerId: body.id }])
  })

  it('mismatch: fetch_result names another than id, which is the right one', async () => {
    const simulator = await start()
    const { id, fetch_result } = await inpaint(simulator, '[id=mismatch delay=60]')
    expect(fetch_result).toBe(`${simulator.apiUrl}/api/v6/images/fetch/${id + 1}`)
    expect(await fetchResult(simulator, id)).toMatchObject({ status: 'processing' })
  })

  it.each([
    ['null', { id: null }],
    ['empty', { id: '' }],
  ])('%s: is missing in the reply, and named by the callback', async (knob, said) => {
    const [simulator, hook] = [await start(), await webhook()]
    expect(await inpaint(simulator, `[id=${knob}]`, { webhook: hook.url })).toMatchObject(said)
    await callbacks(simulator, 1)
    expect(hook.received[0]?.id).toBe(simulator.submissions()[0]?.providerId)
  })

  it.each(['processing', 'success'])(
    'absent: is not even a field of a reply of %s',
    async (reply) => {
      const body = await inpaint(await start(), `[id=absent reply=${reply}]`)
      expect(body.status).toBe(reply)
      expect(body).not.toHaveProperty('id')
    },
  )
})

describe('output', () => {
  it('objects: lists links as objects with a url', async () => {
    const simulator = await start()
    const { id, future_links } = await inpaint(simulator, '[outputs_shape=objects]', { samples: 2 })
    await simulator.until(([only]) => only?.endedAt)
    expect((await fetchResult(simulator, id)).output).toEqual(future_links.map((url) => ({ url })))
  })

  it('text: is one plain link, and "" where there is none', async () => {
    const simulator = await start()
    const accepted = await inpaint(simulator, '[outputs_shape=text delay=60]')
    const one = await generate(simulator, '[outputs_shape=text]')
    const none = await generate(simulator, '[outputs_shape=text result=none]')
    expect(accepted.output).toBe('')
    expect(one.output).toMatch(new RegExp(`^${simulator.outputOrigin}/generations/0-`))
    expect(none.output).toBe('')
  })
})

describe('proxy_links', () => {
  it('identical: are the links of output', async () => {
    const { output, proxy_links } = await generate(await start(), '[proxies=identical]')
    expect(proxy_links).toEqual(output)
  })

  it.each([
    ['none', ''],
    ['empty', []],
    ['null', null],
  ])('%s: are %j', async (knob, said) => {
    const simulator = await start()
    expect((await generate(simulator, `[proxies=${knob}]`)).proxy_links).toEqual(said)
    expect(simulator.submissions()).toMatchObject([{ links: [{ source: 'output' }] }])
  })

  it('absent: are not even a field', async () => {
    expect(await generate(await start(), '[proxies=absent]')).not.toHaveProperty('proxy_links')
  })

  it('text: are one plain link', async () => {
    const simulator = await start()
    const { output, proxy_links } = await generate(simulator, '[proxies_shape=text]', {
      samples: 2,
    })
    expect(proxy_links).toBe(output[0]?.replace(simulator.outputOrigin, simulator.proxyOrigin))
  })

  it('indexed: are an object of links', async () => {
    const simulator = await start()
    const { output, proxy_links } = await generate(simulator, '[proxies_shape=indexed]', {
      samples: 2,
    })
    const [first, second] = output.map((url) =>
      url.replace(simulator.outputOrigin, simulator.proxyOrigin),
    )
    expect(proxy_links).toEqual({ '0': first, '1': second })
  })
})

describe('nsfw_content_detected', () => {
  it.each([
    ['nsfw=flagged', true],
    ['nsfw=flagged nsfw_shape=text', 'true'],
    ['nsfw=clear nsfw_shape=text', 'false'],
    ['nsfw=null', null],
  ])('[%s] is %j', async (words, said) => {
    expect((await generate(await start(), `[${words}]`)).nsfw_content_detected).toBe(said)
  })
})

it('says the same in its reply, its callback and a fetch', async () => {
  const [simulator, hook] = [await start(), await webhook()]
  const words =
    '[reply=success callback=sent outputs_shape=objects proxies_shape=indexed nsfw_shape=text]'
  const body = await inpaint(simulator, words, { webhook: hook.url, track_id: 'mine' })
  await callbacks(simulator, 1)
  expect(await fetchResult(simulator, body.id)).toEqual(body)
  expect(hook.received).toEqual([{ ...body, track_id: 'mine' }])
  expect(await finished(simulator, 'another')).toBe(body.id + 1)
})
