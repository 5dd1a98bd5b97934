import { createHash } from 'node:crypto'
import sharp from 'sharp'
import { expect, it } from 'vitest'
import { generate, inpaint, start } from './client.ts'

async function download(url: string | undefined) {
  const response = await fetch(url ?? 'about:blank')
  return Buffer.from(await response.arrayBuffer())
}

async function codes(urls: string[]) {
  const answers = await Promise.all(urls.map((url) => fetch(url)))
  await Promise.all(answers.map((answer) => answer.arrayBuffer()))
  return answers.map((answer) => answer.status)
}

function sha256(bytes: Uint8Array) {
  return createHash('sha256').update(bytes).digest('hex')
}

it.each([
  ['png', 'png'],
  ['jpeg', 'jpg'],
  ['webp', 'webp'],
])('paints %s of the size that was asked for', async (format, extension) => {
  const { output } = await generate(await start(), `[format=${format}]`, { width: 640, height: 512 })
  const response = await fetch(output[0] ?? '')
  expect(output[0]).toMatch(new RegExp(`\\.${extension}$`))
  expect(response.headers.get('content-type')).toBe(`image/${format}`)
  expect(await sharp(await response.arrayBuffer()).metadata()).toMatchObject({ format, width: 640, height: 512 })
})

it('paints every position differently, and the same link always the same', async () => {
  const { output, proxy_links } = await generate(await start(), 'a harbour', { samples: 4, seed: 7 })
  const again = await generate(await start(), 'a harbour', { samples: 4, seed: 7 })
  const hashes = (urls: string[]) => Promise.all(urls.map(async (url) => sha256(await download(url))))
  const painted = await hashes(output)
  expect(new Set(painted).size).toBe(4)
  expect(await hashes(output)).toEqual(painted)
  expect(await hashes(proxy_links)).toEqual(painted)
  expect(await hashes(again.output)).toEqual(painted)
})

it('hosts the mirror under the same path on another origin', async () => {
  const simulator = await start()
  const { output, proxy_links } = await generate(simulator, 'a harbour')
  expect(output[0]).toMatch(new RegExp(`^${simulator.outputOrigin}/generations/0-`))
  expect(proxy_links).toEqual(output.map((url) => url.replace(simulator.outputOrigin, simulator.proxyOrigin)))
})

it('blurs a flagged picture, unless the safety checker is off', async () => {
  const simulator = await start()
  const clear = await generate(simulator, '[nsfw=clear]', { seed: 7 })
  const flagged = await generate(simulator, '[nsfw=flagged]', { seed: 7 })
  const unchecked = await generate(simulator, '[nsfw=flagged]', { seed: 7, safety_checker: 'no' })
  const sharpness = async (url?: string) => (await sharp(await download(url)).stats()).sharpness
  expect(await sharpness(flagged.output[0])).toBeLessThan((await sharpness(clear.output[0])) / 2)
  expect(sha256(await download(unchecked.output[0]))).toBe(sha256(await download(clear.output[0])))
})

it('has no picture before the job has ended', async () => {
  const { future_links } = await inpaint(await start(), '[delay=60]')
  expect(await codes(future_links)).toEqual([404])
})

it('late: answers 404 for so many seconds after the end, then the picture', async () => {
  let now = 1_700_000_000_000
  const { output, proxy_links } = await generate(await start({ now: () => now }), '[outputs=late late=5]')
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

it('identical: proxy_links are those of output; none: they are empty, as the provider says it', async () => {
  const simulator = await start()
  const identical = await generate(simulator, '[proxies=identical]')
  const none = await generate(simulator, '[proxies=none]')
  expect(identical.proxy_links).toEqual(identical.output)
  expect(none.proxy_links).toBe('')
})
