import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { archiveDue } from '../../../src/work/archive.ts'
import { reconcileDue } from '../../../src/work/reconcile.ts'
import { png, sha256, submitted, type World, world } from '../../support/world.ts'
import { DOOR, pointers, problem, succeeded } from '../../support/doors.ts'

const OUTPUT = 'https://cdn.example.net/a.png'
const PROXY = 'https://mirror.example.net/a.png'

/** One archived picture and its URL, on both hosts the same or not. */
async function archived(here: World, { output = 'red', proxy = 'blue' } = {}) {
  const bytes = { output: await png(output), proxy: await png(proxy) }
  const pages = { [OUTPUT]: bytes.output, [PROXY]: bytes.proxy }
  const id = await succeeded(here, { output: [OUTPUT], proxy_links: [PROXY] }, pages)
  return { url: `${DOOR}/${id}/images/0`, ...bytes }
}

/** The one fetch that asks for fresh links finds none. */
async function nothingFresh(here: World) {
  here.provider.knows({ status: 'success', output: [] })
  await reconcileDue(here.deps, 10)
}

const bytesOf = async (response: Response) => new Uint8Array(await response.arrayBuffer())

describe('GET /v1/generations/{id}/images/{position}', () => {
  it('serves the very bytes, with their type and length, in a way that cannot run', async () => {
    const here = world()
    const { url, output } = await archived(here)

    const response = await here.call(url)

    expect(response.status).toBe(200)
    expect(await bytesOf(response)).toEqual(output)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'image/png',
      'content-length': String(output.byteLength),
      etag: `"${sha256(output)}"`,
      'accept-ranges': 'bytes',
      'x-content-type-options': 'nosniff',
      'content-security-policy':
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox",
    })
  })

  it.each([
    ['', 'output'],
    ['?source=output', 'output'],
    ['?source=proxy', 'proxy'],
  ] as const)('serves for %j the %s copy', async (query, source) => {
    const here = world()
    const image = await archived(here)

    expect(await bytesOf(await here.call(image.url + query))).toEqual(image[source])
  })

  it('serves the proxy copy while the output is pending, and lets nobody keep it for the output', async () => {
    const here = world()
    const blue = await png('blue')
    const id = await succeeded(here, { output: [OUTPUT], proxy_links: [PROXY] }, { [PROXY]: blue })

    const response = await here.call(`${DOOR}/${id}/images/0`)

    expect(await bytesOf(response)).toEqual(blue)
    expect(response.headers.get('cache-control')).toBe('private, no-cache')
    expect((await here.call(`${DOOR}/${id}/images/0?source=output`)).status).toBe(404)
  })

  it('lets the copy that was asked for be kept for good', async () => {
    const here = world()
    const { url } = await archived(here)

    const answers = [await here.call(url), await here.call(`${url}?source=proxy`)]

    for (const { headers } of answers)
      expect(headers.get('cache-control')).toBe('private, max-age=31536000, immutable')
  })

  it.each([
    ['bytes=0-9', 0, 10],
    ['bytes=5-5', 5, 6],
    ['bytes=10-', 10, undefined],
    ['bytes=-7', -7, undefined],
    ['bytes=-99999999', 0, undefined],
    ['bytes=3-99999999999999999999', 3, undefined],
  ])('serves %s as one part', async (range, start, end) => {
    const here = world()
    const { url, output } = await archived(here)
    const part = output.slice(start, end)
    const first = output.byteLength - output.slice(start).byteLength

    const response = await here.call(url, { headers: { range } })

    expect(response.status).toBe(206)
    expect(await bytesOf(response)).toEqual(part)
    expect(response.headers.get('content-range')).toBe(
      `bytes ${first}-${first + part.byteLength - 1}/${output.byteLength}`,
    )
    expect(response.headers.get('content-length')).toBe(String(part.byteLength))
  })

  it.each([
    'bytes=9-5',
    'bytes=0-1,3-4',
    'bytes=-',
    'bytes=a-b',
    'items=0-1',
    'bytes 0-1',
    'bytes=--5',
  ])('serves the whole for the range %s', async (range) => {
    const here = world()
    const { url, output } = await archived(here)

    const response = await here.call(url, { headers: { range } })

    expect(response.status).toBe(200)
    expect(await bytesOf(response)).toEqual(output)
    expect(response.headers.get('content-range')).toBeNull()
  })

  it.each(['bytes=1000000-', 'bytes=1000000-1000001', 'bytes=-0', `bytes=${'9'.repeat(400)}-`])(
    'answers 416 to the range %s, with the length',
    async (range) => {
      const here = world()
      const { url, output } = await archived(here)

      const response = await here.call(url, { headers: { range } })

      expect(response.status).toBe(416)
      expect(response.headers.get('content-range')).toBe(`bytes */${output.byteLength}`)
      expect(await problem(response)).toMatchObject({ code: 'range_not_satisfiable' })
    },
  )

  it.each([
    ['the same ETag', (etag: string) => etag, 206],
    ['another ETag', () => '"0"', 200],
    ['a weak ETag', (etag: string) => `W/${etag}`, 200],
    ['a date', () => 'Sat, 31 Jan 2026 12:00:00 GMT', 200],
  ])('answers a range with If-Range of %s accordingly', async (_what, ifRange, status) => {
    const here = world()
    const { url, output } = await archived(here)

    const response = await here.call(url, {
      headers: { range: 'bytes=0-1', 'if-range': ifRange(`"${sha256(output)}"`) },
    })

    expect(response.status).toBe(status)
  })

  it.each([
    ['the same ETag', (etag: string) => etag, 304],
    ['the same ETag, weakened by a proxy', (etag: string) => `W/${etag}`, 304],
    ['the same ETag among others', (etag: string) => `"0", ${etag}`, 304],
    ['any', () => '*', 304],
    ['another ETag', () => '"0"', 200],
  ])('answers If-None-Match of %s with %i', async (_what, ifNoneMatch, status) => {
    const here = world()
    const { url, output } = await archived(here)

    const response = await here.call(url, {
      headers: { 'if-none-match': ifNoneMatch(`"${sha256(output)}"`) },
    })

    expect(response.status).toBe(status)
    expect(response.headers.get('etag')).toBe(`"${sha256(output)}"`)
    if (status === 304) expect((await bytesOf(response)).byteLength).toBe(0)
  })

  it.each([{}, { range: 'bytes=0-1' }, { range: 'bytes=1000000-' }])(
    'answers HEAD with %j as the whole, without a body and without asking the store',
    async (headers) => {
      const here = world()
      const { url, output } = await archived(here)
      here.deps.objects.get = () => Promise.reject(new Error('asked'))

      const response = await here.call(url, { method: 'HEAD', headers })

      expect(response.status).toBe(200)
      expect((await bytesOf(response)).byteLength).toBe(0)
      expect(response.headers.get('content-length')).toBe(String(output.byteLength))
      expect(response.headers.get('etag')).toBe(`"${sha256(output)}"`)
    },
  )

  it('answers 404 not_archived_yet with Retry-After while the image is pending', async () => {
    const here = world()
    const id = await succeeded(here, { output: [OUTPUT] })

    const response = await here.call(`${DOOR}/${id}/images/0`)

    expect(response.status).toBe(404)
    expect(await problem(response)).toMatchObject({ code: 'not_archived_yet' })
    const seconds = Number(response.headers.get('retry-after'))
    expect(seconds).toBeGreaterThanOrEqual(1)
    expect(seconds).toBeLessThanOrEqual(60)
  })

  it('answers 410 once no place has the image', async () => {
    const here = world()
    const id = await succeeded(here, { output: ['http://cdn.example.net/a.png'] })
    await nothingFresh(here)

    const response = await here.call(`${DOOR}/${id}/images/0`)

    expect(response.status).toBe(410)
    expect(await problem(response)).toMatchObject({ code: 'image_lost' })
  })

  it('answers 410 for the output that was lost and 200 for the proxy copy beside it', async () => {
    const here = world()
    const id = await succeeded(
      here,
      { output: ['http://cdn.example.net/a.png'], proxy_links: [PROXY] },
      { [PROXY]: await png('blue') },
    )
    await nothingFresh(here)

    const statuses = await Promise.all(
      ['', '?source=output', '?source=proxy'].map(
        async (query) => (await here.call(`${DOOR}/${id}/images/0${query}`)).status,
      ),
    )

    expect(statuses).toEqual([200, 410, 200])
  })

  it.each(['1', '-1', '0.0', 'first', '99999', '%30%30%30%30%30'])(
    'answers 404 to the position %s, which it has not',
    async (position) => {
      const here = world()
      const { url } = await archived(here)

      const response = await here.call(url.replace(/0$/u, position))

      expect(response.status).toBe(404)
      expect(await problem(response)).toMatchObject({ code: 'not_found' })
    },
  )

  it('answers 404 where no such copy was offered', async () => {
    const here = world()
    const id = await succeeded(here, { output: [OUTPUT] }, { [OUTPUT]: await png('red') })

    expect((await here.call(`${DOOR}/${id}/images/0?source=proxy`)).status).toBe(404)
  })

  it.each([
    ['source=both', ['source']],
    ['source=', ['source']],
    ['source=output&source=proxy', ['source']],
    ['download=1', ['download']],
  ])('refuses ?%s, naming %j', async (query, named) => {
    const here = world()
    const { id } = await submitted(here)

    const response = await here.call(`${DOOR}/${id}/images/0?${query}`)

    expect(response.status).toBe(400)
    expect(await pointers(response)).toEqual(named)
  })

  it('answers 503 while nobody is there, and says so in /readyz until somebody is', async () => {
    const here = world()
    const { url } = await archived(here)
    const away = Object.assign(new Error('away'), { code: 'ECONNREFUSED' })
    const get = vi.spyOn(here.store, 'get').mockRejectedValue(away)

    const response = await here.call(url)

    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('5')
    expect(await (await here.call('/readyz')).json()).toMatchObject({
      objects: 'down since 2026-01-31T12:00:00.000Z',
    })
    get.mockRestore()
    expect((await here.call(url)).status).toBe(200)
    expect(await (await here.call('/readyz')).json()).toMatchObject({ objects: 'ok' })
  })

  it('answers 503 where the store does not give one object, and holds nothing up', async () => {
    const here = world()
    const { url } = await archived(here)
    vi.spyOn(here.store, 'get').mockRejectedValue(new Error('what a strange answer'))

    const responses = [await here.call(url), await here.call(url)]

    expect(responses.map(({ status }) => status)).toEqual([503, 503])
    expect(await (await here.call('/readyz')).json()).toMatchObject({ objects: 'ok' })
    expect(
      here.logged.filter(({ message }) => message === 'an object cannot be read'),
    ).toHaveLength(1)
  })

  it.each([undefined, 'bytes=0-9'])(
    'answers 500 to the range %s of an object that is shorter than it was',
    async (range) => {
      const here = world()
      const { url, output } = await archived(here)
      const key = `sha256/${sha256(output).replace(/^(..)(..)/u, '$1/$2/$1$2')}.png`
      writeFileSync(join(here.config.objectsDir, key), output.slice(0, 10))

      const response = await here.call(url, range === undefined ? {} : { headers: { range } })

      expect(response.status).toBe(500)
      const errors = here.logged.filter(({ level }) => level === 'error')
      expect(errors.map(({ fields }) => String(fields['error']))).toEqual([
        expect.stringContaining(`${key} has 10 bytes`),
      ])
      expect(await (await here.call('/readyz')).json()).toMatchObject({ objects: 'ok' })
    },
  )

  it('answers 500 that shows nothing where the archived bytes are gone from the store', async () => {
    const here = world()
    const { url, output } = await archived(here)
    await here.deps.objects.delete(
      `sha256/${sha256(output).replace(/^(..)(..)/u, '$1/$2/$1$2')}.png`,
    )

    const response = await here.call(url)

    expect(response.status).toBe(500)
    expect(await response.text()).not.toContain('sha256')
    expect(here.logged.filter(({ level }) => level === 'error')).toHaveLength(1)
  })

  it('serves a picture that is no web page even where it was sent as one', async () => {
    const here = world()
    const gif = Buffer.concat([
      Buffer.from('GIF89a\u0001\u0000\u0001\u0000\u0000\u0000\u0000<script>', 'latin1'),
    ])
    here.cdn.pages.set(OUTPUT, {
      status: 200,
      bytes: gif,
      headers: { 'content-type': 'text/html' },
    })
    const id = await succeeded(here, { output: [OUTPUT] })
    here.clock.advance(25 * 3600)
    await archiveDue(here.deps, 10)

    const response = await here.call(`${DOOR}/${id}/images/0`)

    expect(response.headers.get('content-type')).toBe('image/gif')
    expect(response.headers.get('x-content-type-options')).toBe('nosniff')
  })
})
