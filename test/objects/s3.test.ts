import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { bytes, put, read, sha256 } from '../conformance/object-store.ts'
import { spawnTypeScript } from '../support/typescript-child.ts'
import { refuse, storeOver } from '../support/objects/scripted-s3.ts'

describe('an S3 server that differs', () => {
  it('sets no condition on a record that may change', async () => {
    const { store, requests } = await storeOver((_, response) => response.end())
    await put(store, 'a.json', bytes('a'))
    expect(requests()).toEqual(['PUT'])
  })

  it('signs with the hash that it was handed, and says type and length', async () => {
    const { store, server } = await storeOver((_, response) => response.end())
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

  it('keeps to its connections however many large bodies it is given', async () => {
    const { store, server } = await storeOver((_, response) => setTimeout(() => response.end(), 20))
    const large = new Uint8Array(2_100_000)
    await Promise.all(
      Array.from({ length: 100 }, () =>
        put(store, 'a.png', large, { sha256: 'of no interest here' }),
      ),
    )
    expect(server.seen).toHaveLength(100)
    expect(server.connections()).toBeLessThanOrEqual(64)
  })

  it('takes objects while readers stand still', async () => {
    const { store } = await storeOver(({ method }, response) => {
      if (method === 'GET')
        response.writeHead(200, { 'content-length': 2 ** 23 }).write('a beginning')
      else response.end()
    })
    const standing = await Promise.all(Array.from({ length: 200 }, () => store.get('a.png')))
    await put(store, 'b.png', bytes('b'), { ifAbsent: true })
    expect(await store.head('b.png')).not.toBeNull()
    for (const one of standing) await one?.body.cancel()
  })

  it('fails where a body ends before its length', async () => {
    const { store } = await storeOver((_, response) => {
      response.writeHead(200, { 'content-length': 100 }).write('half')
      setTimeout(() => response.destroy(), 50)
    })
    const found = await store.get('a.png')
    expect(found?.bytes).toBe(100)
    await expect(read(found)).rejects.toThrow('aborted')
  })

  it('tries once more when the server fails, and then leaves it to the caller', async () => {
    const { store, requests } = await storeOver((_, response) => refuse(response, 503, 'SlowDown'))
    await expect(put(store, 'a.png', bytes('a'), { ifAbsent: true })).rejects.toThrow('SlowDown')
    expect(requests()).toHaveLength(2)
  })

  it('prints nothing', async () => {
    const { server } = await storeOver((_, response) =>
      response.writeHead(200, { 'content-length': 7 }).end(),
    )
    const file = new URL('../support/objects/use-s3.ts', import.meta.url)
    const child = spawnTypeScript(file, [server.endpoint])
    const [said, warned] = await Promise.all([text(child.stdout), text(child.stderr)])
    expect(JSON.parse(said)).toEqual({ bytes: 7 })
    expect(warned).toBe('')
  })
})
