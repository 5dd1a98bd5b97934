import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { ConfigError, readConfig } from '../../../src/config.ts'
import { s3Store } from '../../../src/objects/s3.node.ts'
import type { ObjectStore } from '../../../src/deps.ts'
import { reconcileDue } from '../../../src/work/reconcile.ts'
import { type Radosgw, radosgwInstalled, startRadosgw } from '../../support/radosgw.ts'
import { png, sha256, submitted, type World, world } from '../../support/world.ts'
import { DOOR, problem, succeeded } from '../../support/doors.ts'

const OUTPUT = 'https://cdn.example.net/a.png'
const PROXY = 'https://mirror.example.net/a.png'
const SIGNED = 'https://bucket.example.net/a.png?X-Amz-Signature=5f5f5f'
const PRESIGN = { S3_BUCKET: 'afterimage', IMAGE_DELIVERY: 'presign' }
const READER = 'reader-token-of-the-tests'
const OTHER = 'other-app-token-of-the-tests'
const TOKENS = `admin:admin:admin-token-of-the-tests,reader:read:${READER},other:submit:${OTHER}`

const presigning = () => world({ ...PRESIGN, API_TOKENS: TOKENS })

/** One archived picture and its URL, with other bytes on the mirror. */
async function archived(here: World) {
  const pages = { [OUTPUT]: await png('red'), [PROXY]: await png('blue') }
  const id = await succeeded(here, { output: [OUTPUT], proxy_links: [PROXY] }, pages)
  return { url: `${DOOR}/${id}/images/0`, output: pages[OUTPUT], proxy: pages[PROXY] }
}

describe('the image door with IMAGE_DELIVERY=presign', () => {
  /** A store that signs as it is told here; what was asked of it. */
  function signs(here: World, signing: () => Promise<string> = () => Promise.resolve(SIGNED)) {
    const presign = vi.fn<NonNullable<ObjectStore['presign']>>(signing)
    here.deps.objects.presign = presign
    return presign
  }

  it('sends the client on for five minutes, and lets nobody keep where to', async () => {
    const here = presigning()
    const presign = signs(here)
    const { url, output } = await archived(here)

    const response = await here.call(url)

    expect([response.status, await response.text()]).toEqual([302, ''])
    expect(Object.fromEntries(response.headers)).toEqual({
      location: SIGNED,
      'cache-control': 'private, no-store',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
    })
    const hash = sha256(output)
    expect(presign.mock.calls).toEqual([
      [
        `sha256/${hash.slice(0, 2)}/${hash.slice(2, 4)}/${hash}.png`,
        {
          expiresSeconds: 300,
          contentType: 'image/png',
          disposition: `inline; filename="${hash}.png"`,
        },
      ],
    ])
  })

  it('answers 304 to who has the picture already', async () => {
    const here = presigning()
    const presign = signs(here)
    const { url, output } = await archived(here)

    const response = await here.call(url, { headers: { 'if-none-match': `"${sha256(output)}"` } })

    expect([response.status, response.headers.get('location')]).toEqual([304, null])
    expect(response.headers.get('etag')).toBe(`"${sha256(output)}"`)
    expect(presign).not.toHaveBeenCalled()
  })

  it('answers HEAD itself: the store would refuse it on a URL that is signed for GET', async () => {
    const here = presigning()
    const presign = signs(here)
    const { url, output } = await archived(here)

    const response = await here.call(url, { method: 'HEAD' })

    expect([response.status, response.headers.get('location')]).toEqual([200, null])
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'image/png',
      'content-length': String(output.byteLength),
      etag: `"${sha256(output)}"`,
    })
    expect(presign).not.toHaveBeenCalled()
  })

  it('signs nothing for who has no token, may not read, or asks for what is not there', async () => {
    const here = presigning()
    const presign = signs(here)
    const lost = await succeeded(here, { output: ['http://cdn.example.net/a.png'] })
    here.provider.knows({ status: 'success', output: [] })
    await reconcileDue(here.deps, 10)
    const { url } = await archived(here)
    const { id: unfinished } = await submitted(here)
    const pending = await succeeded(here, { output: ['https://cdn.example.net/late.png'] })

    const answers = await Promise.all([
      here.call(url, { token: null }),
      here.call(url, { token: 'not-a-token-of-this-service' }),
      here.call(url, { token: OTHER }),
      here.call(`${url}?download=1`),
      here.call(`${DOOR}/${unfinished}/images/0`),
      here.call(`${DOOR}/${pending}/images/0`),
      here.call(`${DOOR}/${lost}/images/0`),
    ])

    const told = await Promise.all(
      answers.map(async (answer) => [answer.status, (await problem(answer)).code]),
    )
    expect(told).toEqual([
      [401, 'unauthorized'],
      [401, 'unauthorized'],
      [403, 'forbidden'],
      [400, expect.any(String)],
      [404, 'not_found'],
      [404, 'not_archived_yet'],
      [410, 'image_lost'],
    ])
    expect(answers.filter(({ headers }) => headers.has('location'))).toEqual([])
    expect(presign).not.toHaveBeenCalled()
    expect((await here.call(url, { token: READER })).status).toBe(302)
  })

  it('answers 503 and shows nothing while whoever gives out the credentials is away', async () => {
    const here = presigning()
    signs(here, () => Promise.reject(new Error('Could not load credentials from any providers')))
    const { url } = await archived(here)

    const response = await here.call(url)

    expect([response.status, response.headers.get('retry-after')]).toEqual([503, '5'])
    expect(await response.text()).not.toContain('credentials')
  })

  it('writes nothing of where it sends clients into the log', async () => {
    const here = presigning()
    signs(here)
    const { url } = await archived(here)

    await here.call(url)

    expect(here.logged.filter(({ message }) => message === 'request')).not.toEqual([])
    expect(JSON.stringify(here.logged)).not.toMatch(/X-Amz|bucket\.example\.net/u)
  })

  it.each([
    ['presign', 'expected stream while S3_BUCKET is not set'],
    ['redirect', 'expected stream or presign'],
  ])('is refused at start on a disk or by another name: %s', (IMAGE_DELIVERY, message) => {
    const start = () =>
      readConfig({
        MODELSLAB_API_KEY: 'api-key-of-nobody',
        PUBLIC_URL: 'https://images.example.com',
        IMAGE_DELIVERY,
      })

    expect(start).toThrow(ConfigError)
    expect(start).toThrow(`IMAGE_DELIVERY: ${message}`)
  })
})

describe.skipIf(!radosgwInstalled('presigned images'))(
  'a presigned image on a real S3 server',
  () => {
    let radosgw: Radosgw
    let store: ReturnType<typeof s3Store>
    beforeAll(async () => {
      radosgw = await startRadosgw()
    })
    beforeEach(() => {
      vi.stubEnv('AWS_ACCESS_KEY_ID', radosgw.credentials.accessKeyId)
      vi.stubEnv('AWS_SECRET_ACCESS_KEY', radosgw.credentials.secretAccessKey)
      store = s3Store({
        bucket: radosgw.bucket,
        endpoint: radosgw.endpoint,
        region: 'us-east-1',
        forcePathStyle: true,
      })
    })
    afterEach(() => {
      store.close()
      vi.unstubAllEnvs()
    })
    afterAll(() => radosgw.stop())

    /** An archived picture, and where its door sends a client. */
    async function sentOn(query = '') {
      const here = presigning()
      here.deps.objects = store
      const { url, output, proxy } = await archived(here)
      const location = (await here.call(url + query)).headers.get('location') ?? ''
      return { location, output, proxy }
    }

    it.each([
      ['', 'output'],
      ['?source=output', 'output'],
      ['?source=proxy', 'proxy'],
    ] as const)('is had without credentials, for %j the %s copy', async (query, source) => {
      const { location, ...copies } = await sentOn(query)

      const response = await fetch(location)

      expect(response.status).toBe(200)
      expect(new Uint8Array(await response.arrayBuffer())).toEqual(copies[source])
      expect(Object.fromEntries(response.headers)).toMatchObject({
        'content-type': 'image/png',
        'content-disposition': `inline; filename="${sha256(copies[source])}.png"`,
      })
      expect(new URL(location).searchParams.get('X-Amz-Expires')).toBe('300')
    })

    it('has the type that we found, also where the store has it as a web page', async () => {
      const { location, output } = await sentOn()
      const key = new URL(location).pathname.slice(`/${radosgw.bucket}/`.length)
      await store.put(key, output, {
        sha256: sha256(output),
        contentType: 'text/html',
        ifAbsent: false,
      })

      const response = await fetch(location)
      await response.arrayBuffer()

      expect(response.headers.get('content-type')).toBe('image/png')
    })

    it('is had in part', async () => {
      const { location, output } = await sentOn()

      const response = await fetch(location, { headers: { range: 'bytes=3-9' } })

      expect(response.status).toBe(206)
      expect(new Uint8Array(await response.arrayBuffer())).toEqual(output.slice(3, 10))
    })

    it.each([
      ['another picture', (url: URL) => (url.pathname = url.pathname.replace(/\.png$/u, '.jpg'))],
      ['another type', (url: URL) => url.searchParams.set('response-content-type', 'text/html')],
      ['no disposition', (url: URL) => url.searchParams.delete('response-content-disposition')],
      ['a longer time', (url: URL) => url.searchParams.set('X-Amz-Expires', '604800')],
    ])('is refused once its URL was changed to ask for %s', async (_what, change) => {
      const url = new URL((await sentOn()).location)
      change(url)

      const response = await fetch(url)
      await response.arrayBuffer()

      expect(response.status).toBe(403)
    })

    it('is refused once its time is over', async () => {
      const bytes = await png('green')
      await store.put('brief.png', bytes, {
        sha256: sha256(bytes),
        contentType: 'image/png',
        ifAbsent: false,
      })
      const url = await store.presign?.('brief.png', {
        expiresSeconds: 1,
        contentType: 'image/png',
        disposition: 'inline',
      })
      const status = async () => {
        const response = await fetch(url ?? '')
        await response.arrayBuffer()
        return response.status
      }

      expect(await status()).toBe(200)
      await expect.poll(status, { timeout: 10_000, interval: 100 }).toBe(403)
    })
  },
)
