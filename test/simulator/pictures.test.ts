import { createHash } from 'node:crypto'
import sharp from 'sharp'
import { expect, it } from 'vitest'
import { download, generate, start } from '../support/simulator.ts'

function sha256(bytes: Uint8Array) {
  return createHash('sha256').update(bytes).digest('hex')
}

it.each([
  ['png', 'png'],
  ['jpeg', 'jpg'],
  ['webp', 'webp'],
])('paints %s of the size that was asked for', async (format, extension) => {
  const { output } = await generate(await start(), `[format=${format}]`, {
    width: 640,
    height: 512,
  })
  const response = await fetch(output[0] ?? '')
  expect(output[0]).toMatch(new RegExp(`\\.${extension}$`))
  expect(response.headers.get('content-type')).toBe(`image/${format}`)
  expect(await sharp(await response.arrayBuffer()).metadata()).toMatchObject({
    format,
    width: 640,
    height: 512,
  })
})

it('paints every position differently, and the same link always the same', async () => {
  const { output, proxy_links } = await generate(await start(), 'a harbour', {
    samples: 4,
    seed: 7,
  })
  const again = await generate(await start(), 'a harbour', { samples: 4, seed: 7 })
  const hashes = (urls: string[]) =>
    Promise.all(urls.map(async (url) => sha256(await download(url))))
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
  expect(proxy_links).toEqual(
    output.map((url) => url.replace(simulator.outputOrigin, simulator.proxyOrigin)),
  )
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

it('black: shows nothing and says nothing of it', async () => {
  const body = await generate(await start(), '[picture=black nsfw=silent]', { width: 640 })
  const picture = sharp(await download(body.output[0]))
  expect(await picture.metadata()).toMatchObject({ width: 640, height: 512 })
  expect((await picture.stats()).channels.map(({ max }) => max)).toEqual([0, 0, 0])
  expect(body).not.toHaveProperty('nsfw_content_detected')
  expect(body.meta.safety_checker_type).toBe('black')
})

it('pixelated: shows squares of one colour', async () => {
  const { output } = await generate(await start(), '[picture=pixelated]')
  const square = sharp(await download(output[0])).extract({
    left: 32,
    top: 32,
    width: 32,
    height: 32,
  })
  const { channels } = await sharp(await square.png().toBuffer()).stats()
  expect(channels.map(({ stdev }) => stdev)).toEqual([0, 0, 0])
})

it('different: the mirror shows other pictures than output', async () => {
  const { output, proxy_links } = await generate(await start(), '[proxies=different]', {
    samples: 2,
  })
  const hashes = await Promise.all(
    [...output, ...proxy_links].map(async (url) => sha256(await download(url))),
  )
  expect(new Set(hashes).size).toBe(4)
})
