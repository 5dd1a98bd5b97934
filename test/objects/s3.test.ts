import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { s3Store } from '../../src/objects/s3.node.ts'
import { bytes, put, read, sha256 } from '../conformance/object-store.ts'
import { spawnTypeScript } from '../support/typescript-child.ts'
import { refuse, type Script, scriptedS3 } from '../support/objects/scripted-s3.ts'

describe('an S3 server that differs', () => {
  let cleanUp: (() => void)[] = []
  beforeEach(() => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'anyone')
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'anything')
  })
  afterEach(() => {
    vi.unstubAllEnvs()
    for (const end of cleanUp) end()
    cleanUp = []
  })

  async function given(script: Script) {
    const server = await scriptedS3(script)
    const store = s3Store({
      bucket: 'images',
      endpoint: server.endpoint,
      region: 'us-east-1',
      forcePathStyle: true,
    })
    cleanUp.push(() => store.close(), server.stop)
    const requests = () =>
      server.seen.map(({ method, headers }) => method + (headers['if-none-match'] ?? ''))
    return { server, store, requests }
  }

  it.each(['xml', '', '<html><body>no & thanks'])(
    'takes 412 for "there already", whatever its body (%s)',
    async (body) => {
      const { store, requests } = await given((_, response) => {
        if (body === 'xml') refuse(response, 412, 'PreconditionFailed')
        else response.writeHead(412).end(body)
      })
      await put(store, 'a.png', bytes('a'), { ifAbsent: true })
      expect(requests()).toEqual(['PUT*'])
    },
  )

  it('tries again when another write of the key was under way', async () => {
    let conflicts = 1
    const { store, requests } = await given((_, response) => {
      if (conflicts-- > 0) refuse(response, 409, 'ConditionalRequestConflict')
      else response.end()
    })
    await put(store, 'a.png', bytes('a'), { ifAbsent: true })
    expect(requests()).toEqual(['PUT*', 'PUT*'])
  })

  it('gives up on a conflict that does not end', async () => {
    const { store, requests } = await given((_, response) =>
      refuse(response, 409, 'ConditionalRequestConflict'),
    )
    await expect(put(store, 'a.png', bytes('a'), { ifAbsent: true })).rejects.toThrow(
      'ConditionalRequestConflict',
    )
    expect(requests()).toHaveLength(5)
  })

  it('looks before it writes where If-None-Match is not implemented, and asks for it only once', async () => {
    const { store, requests } = await given(({ method, headers }, response) => {
      if (headers['if-none-match']) refuse(response, 501, 'NotImplemented')
      else response.writeHead(method === 'HEAD' ? 404 : 200).end()
    })
    await put(store, 'a.png', bytes('a'), { ifAbsent: true })
    await put(store, 'b.png', bytes('b'), { ifAbsent: true })
    expect(requests()).toEqual(['PUT*', 'HEAD', 'PUT', 'HEAD', 'PUT'])
  })

  it('leaves what is there alone where If-None-Match is not implemented', async () => {
    const { store, requests } = await given(({ headers }, response) => {
      if (headers['if-none-match']) refuse(response, 501, 'NotImplemented')
      else response.writeHead(200, { 'content-length': 7 }).end()
    })
    await put(store, 'a.png', bytes('a'), { ifAbsent: true })
    expect(requests()).toEqual(['PUT*', 'HEAD'])
  })

  it('sets no condition on a record that may change', async () => {
    const { store, requests } = await given((_, response) => response.end())
    await put(store, 'a.json', bytes('a'))
    expect(requests()).toEqual(['PUT'])
  })

  it('signs with the hash that it was handed, and says type and length', async () => {
    const { store, server } = await given((_, response) => response.end())
    const handed = sha256(bytes('not these bytes'))
    await put(store, 'a.webp', new Uint8Array(3_000_000), {
      sha256: handed,
      contentType: 'image/webp',
    })
    expect(server.seen[0]?.headers).toMatchObject({
      'x-amz-content-sha256': handed,
      'content-type': 'image/webp',
      'content-length': '3000000',
    })
    expect(server.seen[0]?.headers.authorization).toMatch(/SignedHeaders=[^,]*x-amz-content-sha256/)
    expect(server.seen[0]?.headers).not.toHaveProperty('transfer-encoding')
  })

  it('neither sends nor asks for the checksums that only AWS knows', async () => {
    const { store, server } = await given((_, response) => response.end('a'))
    await put(store, 'a.png', bytes('a'))
    await read(await store.get('a.png'))
    const names = server.seen.flatMap(({ headers }) => Object.keys(headers))
    expect(names.filter((name) => name.includes('checksum'))).toEqual([])
  })

  it('keeps to its connections however many large bodies it is given', async () => {
    const { store, server } = await given((_, response) => setTimeout(() => response.end(), 20))
    const large = new Uint8Array(2_100_000)
    await Promise.all(
      Array.from({ length: 100 }, () =>
        put(store, 'a.png', large, { sha256: 'of no interest here' }),
      ),
    )
    expect(server.seen).toHaveLength(100)
    expect(server.connections()).toBeLessThanOrEqual(64)
  })

  it('fails where a body ends before its length', async () => {
    const { store } = await given((_, response) => {
      response.writeHead(200, { 'content-length': 100 }).write('half')
      setTimeout(() => response.destroy(), 50)
    })
    const found = await store.get('a.png')
    expect(found?.bytes).toBe(100)
    await expect(read(found)).rejects.toThrow('aborted')
  })

  it('fails where a range was asked for and everything came', async () => {
    const { store } = await given((_, response) => response.end('everything'))
    await expect(store.get('a.png', { start: 0, end: 0 })).rejects.toThrow('how long the object is')
  })

  it('tries once more when the server fails, and then leaves it to the caller', async () => {
    const { store, requests } = await given((_, response) => refuse(response, 503, 'SlowDown'))
    await expect(put(store, 'a.png', bytes('a'), { ifAbsent: true })).rejects.toThrow('SlowDown')
    expect(requests()).toHaveLength(2)
  })

  it('prints nothing, and leaves the environment as it was', async () => {
    const { server } = await given((_, response) =>
      response.writeHead(200, { 'content-length': 7 }).end(),
    )
    const env = { ...process.env }
    delete env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED
    const child = spawnTypeScript(
      new URL('../support/objects/use-s3.ts', import.meta.url),
      [server.endpoint],
      env,
    )
    const [said, warned] = await Promise.all([text(child.stdout), text(child.stderr)])
    expect(JSON.parse(said)).toEqual({ found: { bytes: 7 }, switch: null })
    expect(warned).toBe('')
  })
})
