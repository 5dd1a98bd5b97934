import { inspect } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { s3Store } from '../../src/objects/s3.node.ts'
import { bytes, put, read } from '../conformance/object-store.ts'
import { type Radosgw, radosgwInstalled, startRadosgw } from '../support/radosgw.ts'

describe.skipIf(!radosgwInstalled('what S3 refuses'))('what S3 refuses', () => {
  let radosgw: Radosgw
  const stores: ReturnType<typeof s3Store>[] = []
  beforeAll(async () => {
    radosgw = await startRadosgw()
  })
  beforeEach(() => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', radosgw.credentials.accessKeyId)
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', radosgw.credentials.secretAccessKey)
  })
  afterEach(() => {
    vi.unstubAllEnvs()
    for (const store of stores.splice(0)) store.close()
  })
  afterAll(() => radosgw.stop())

  function open(bucket = radosgw.bucket) {
    const store = s3Store({
      bucket,
      endpoint: radosgw.endpoint,
      region: 'us-east-1',
      forcePathStyle: true,
    })
    stores.push(store)
    return store
  }

  it('throws on a wrong secret, at every door and without saying it', async () => {
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'a-wrong-secret')
    const store = open()
    const writing = await put(store, 'a.png', bytes('a'), { ifAbsent: true }).catch(
      (reason: unknown) => reason,
    )
    const reading = await store.get('a.png').catch((reason: unknown) => reason)
    const deleting = await store.delete('a.png').catch((reason: unknown) => reason)
    for (const error of [writing, reading, deleting]) {
      expect(error).toMatchObject({ name: 'SignatureDoesNotMatch' })
      expect(inspect(error, { depth: 20 })).not.toMatch(/a-wrong-secret|authorization/i)
    }
    await expect(store.head('a.png')).rejects.toMatchObject({ $metadata: { httpStatusCode: 403 } })
  })

  it('throws where the bucket is missing, rather than finding nothing in it', async () => {
    const store = open('no-such-bucket')
    await expect(put(store, 'a.png', bytes('a'))).rejects.toMatchObject({ name: 'NoSuchBucket' })
    await expect(store.get('a.png')).rejects.toMatchObject({ name: 'NoSuchBucket' })
    await expect(store.delete('a.png')).rejects.toMatchObject({ name: 'NoSuchBucket' })
  })

  it('throws while the gateway is away, and finds everything once it is back', async () => {
    const store = open()
    await put(store, 'kept.png', bytes('kept'), { ifAbsent: true })
    await radosgw.stopGateway()
    await expect(store.get('kept.png')).rejects.toThrow()
    await expect(put(store, 'later.png', bytes('later'), { ifAbsent: true })).rejects.toThrow()
    await radosgw.startGateway()
    await put(store, 'later.png', bytes('later'), { ifAbsent: true })
    expect(await read(await store.get('kept.png'))).toEqual(bytes('kept'))
  })
})
