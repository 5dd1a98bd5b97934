import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import {
  callbacks,
  download,
  fetchResult,
  finished,
  generate,
  inpaint,
  start,
  webhook,
} from '../support/simulator.ts'

async function codes(urls: string[]) {
  const answers = await Promise.all(urls.map((url) => fetch(url)))
  await Promise.all(answers.map((answer) => answer.arrayBuffer()))
  return answers.map((answer) => answer.status)
}

/** A simulator with a clock that only the test moves. */
async function startAt(now: number) {
  const clock = { now }
  return { clock, simulator: await start({ now: () => clock.now }) }
}

const NOON = Date.UTC(2026, 0, 31, 12)

it('has no picture before the job has ended, whatever is asked for', async () => {
  const simulator = await start()
  const { future_links } = await inpaint(simulator, '[delay=60]')
  const unready = await inpaint(simulator, '[delay=60 outputs=late unready=half]')
  expect(await codes([...future_links, ...unready.future_links])).toEqual([404, 404])
})

it('late: answers 404 for so many seconds after the end, then the picture', async () => {
  let now = 1_700_000_000_000
  const { output, proxy_links } = await generate(
    await start({ now: () => now }),
    '[outputs=late late=5]',
  )
  now += 4999
  expect(await codes([...output, ...proxy_links])).toEqual([404, 200])
  now += 1
  expect(await codes(output)).toEqual([200])
})

it.each([
  ['outputs=dead', [404, 200]],
  ['proxies=dead', [200, 404]],
  ['proxies=late late=60', [200, 404]],
])('[%s]: output and mirror answer %j', async (words, expected) => {
  const { output, proxy_links } = await generate(await start(), `[${words}]`)
  expect(await codes([...output, ...proxy_links])).toEqual(expected)
})

describe('a link that is not ready', () => {
  it.each(['404', '403'])(
    'answers a page under HTTP %s where unready asks for it',
    async (code) => {
      const { output } = await generate(await start(), `[outputs=dead unready=${code}]`)
      expect(await codes(output)).toEqual([Number(code)])
    },
  )

  it('answers a page under HTTP 200, then the picture', async () => {
    const { clock, simulator } = await startAt(NOON)
    const { output } = await generate(simulator, '[outputs=late late=5 unready=page]')
    const early = await fetch(output[0] ?? '')
    expect(early.status).toBe(200)
    expect(early.headers.get('content-type')).toContain('text/html')
    expect(await early.text()).toMatch(/^<html>/)
    clock.now += 5000
    expect((await fetch(output[0] ?? '')).headers.get('content-type')).toBe('image/png')
  })

  it.each(['outputs=late late=5', 'outputs=late late=5 encoding=base64'])(
    '[%s unready=half]: answers half of it as if it were all, then all',
    async (words) => {
      const { clock, simulator } = await startAt(NOON)
      const { output } = await generate(simulator, `[${words} unready=half]`)
      const early = await download(output[0])
      clock.now += 5000
      const whole = await download(output[0])
      expect(early.length).toBe(Math.floor(whole.length / 2))
      expect(early).toEqual(whole.subarray(0, early.length))
    },
  )

  it('stays half for ever where it is dead', async () => {
    const { clock, simulator } = await startAt(NOON)
    const { output, proxy_links } = await generate(simulator, '[outputs=dead unready=half]')
    clock.now += 3_600_000
    const [half, whole] = await Promise.all(
      [...output, ...proxy_links].map(async (url) => (await download(url)).length),
    )
    expect(half).toBe(Math.floor((whole ?? 0) / 2))
  })
})

describe('a link that dies', () => {
  it('answers 403 so many seconds after the end of the job, and does not say so before', async () => {
    const { clock, simulator } = await startAt(NOON)
    const { output, proxy_links } = await generate(simulator, '[lifetime=60]')
    clock.now += 59_999
    expect(await codes([...output, ...proxy_links])).toEqual([200, 200])
    clock.now += 1
    expect(await codes([...output, ...proxy_links])).toEqual([403, 403])
    expect(new URL(output[0] ?? '').search).toBe('')
  })

  it.each([
    ['expires', { Expires: String(NOON / 1000 + 60) }],
    ['amz', { 'X-Amz-Date': '20260131T120000Z', 'X-Amz-Expires': '60' }],
  ])('says when by %s, and keeps its word', async (signed, stated) => {
    const { clock, simulator } = await startAt(NOON)
    const { output, proxy_links } = await generate(simulator, `[signed=${signed} lifetime=60]`)
    expect(Object.fromEntries(new URL(output[0] ?? '').searchParams)).toMatchObject(stated)
    clock.now += 59_999
    expect(await codes([...output, ...proxy_links])).toEqual([200, 200])
    clock.now += 1
    expect(await codes([...output, ...proxy_links])).toEqual([403, 403])
  })

  it('is signed anew by every message', async () => {
    const { clock, simulator } = await startAt(NOON)
    const hook = await webhook()
    const id = await finished(simulator, '[signed=expires lifetime=60]', { webhook: hook.url })
    await callbacks(simulator, 1)
    clock.now += 60_000
    const [told = ''] = hook.received[0]?.output ?? []
    const [fresh = ''] = (await fetchResult(simulator, id)).output
    expect(await codes([told, fresh])).toEqual([403, 200])
    expect(fresh.split('?')[0]).toBe(told.split('?')[0])
  })

  it.each(['expires', 'amz'])('is dead without its whole query: %s', async (signed) => {
    const { output } = await generate(await start(), `[signed=${signed}]`)
    const [url = ''] = output
    const [bare, later, unsigned] = [new URL(url), new URL(url), new URL(url)]
    bare.search = ''
    for (const name of ['Expires', 'X-Amz-Expires'])
      if (later.searchParams.has(name)) later.searchParams.set(name, '9999999999')
    for (const name of ['Signature', 'X-Amz-Signature'])
      if (unsigned.searchParams.has(name)) unsigned.searchParams.set(name, '***')
    expect(await codes([url, bare.href, later.href, unsigned.href])).toEqual([200, 403, 403, 403])
  })
})

describe('a picture comes', () => {
  it('as text/plain where content_type asks for it', async () => {
    const { output } = await generate(await start(), '[content_type=text]')
    const response = await fetch(output[0] ?? '')
    expect(response.headers.get('content-type')).toBe('text/plain')
    expect(await sharp(await response.arrayBuffer()).metadata()).toMatchObject({ format: 'png' })
  })

  it.each([
    ['base64', ''],
    ['data', 'data:image/webp;base64,'],
  ])('as text where encoding=%s asks for it, behind "%s"', async (encoding, prefix) => {
    const { output } = await generate(await start(), `[encoding=${encoding} format=webp]`)
    const text = await (await fetch(output[0] ?? '')).text()
    expect(output[0]).toMatch(/\.base64$/)
    expect(text.startsWith(prefix)).toBe(true)
    const bytes = Buffer.from(text.slice(prefix.length), 'base64')
    expect(bytes.toString('base64')).toBe(text.slice(prefix.length))
    expect(await sharp(bytes).metadata()).toMatchObject({ format: 'webp' })
  })

  it('slowly where slow asks for it, and whole', async () => {
    const simulator = await start()
    const { output, proxy_links } = await generate(simulator, '[slow=2]')
    const asked = performance.now()
    const response = await fetch(output[0] ?? '')
    const answered = performance.now()
    const bytes = Buffer.from(await response.arrayBuffer())
    const ended = performance.now()
    expect(ended - asked).toBeGreaterThan(1990)
    // The head comes at once, and the body after it.
    expect(ended - answered).toBeGreaterThan(500)
    expect(bytes.length).toBe(Number(response.headers.get('content-length')))
    expect(bytes).toEqual(await download(proxy_links[0]))
  })
})
