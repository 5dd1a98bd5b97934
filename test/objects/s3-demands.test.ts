import {
  CreateBucketCommand,
  HeadObjectCommand,
  PutBucketPolicyCommand,
  PutObjectLockConfigurationCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { s3Store } from '../../src/objects/s3.node.ts'
import type { S3Options } from '../../src/objects/s3-requests.node.ts'
import { bytes, put, read } from '../conformance/object-store.ts'
import { KMS_KEY } from '../support/radosgw-conf.ts'
import { type Radosgw, radosgwInstalled, startRadosgw } from '../support/radosgw.ts'

describe.skipIf(!radosgwInstalled('what buckets demand'))('a bucket of a real S3 server', () => {
  let radosgw: Radosgw
  let client: S3Client
  const stores: ReturnType<typeof s3Store>[] = []
  beforeAll(async () => {
    radosgw = await startRadosgw()
    const { endpoint, credentials } = radosgw
    client = new S3Client({ endpoint, credentials, region: 'us-east-1', forcePathStyle: true })
  })
  beforeEach(() => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', radosgw.credentials.accessKeyId)
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', radosgw.credentials.secretAccessKey)
  })
  afterEach(() => {
    vi.unstubAllEnvs()
    for (const store of stores.splice(0)) store.close()
  })
  afterAll(async () => {
    client.destroy()
    await radosgw.stop()
  })

  function open(bucket: string, more: Partial<S3Options> = {}) {
    const { endpoint } = radosgw
    const store = s3Store({ bucket, endpoint, region: 'us-east-1', forcePathStyle: true, ...more })
    stores.push(store)
    return store
  }

  it('that locks its objects takes them', async () => {
    const Bucket = 'locked'
    await client.send(new CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: true }))
    await client.send(
      new PutObjectLockConfigurationCommand({
        Bucket,
        ObjectLockConfiguration: {
          ObjectLockEnabled: 'Enabled',
          Rule: { DefaultRetention: { Mode: 'GOVERNANCE', Days: 1 } },
        },
      }),
    )
    const store = open(Bucket)
    for (const ifAbsent of [true, true, false])
      await put(store, 'a.png', bytes('locked'), { ifAbsent })
    expect(await read(await store.get('a.png'))).toEqual(bytes('locked'))
  })

  it('whose policy demands encryption takes only what is put as settings say', async () => {
    const Bucket = 'encrypted'
    await client.send(new CreateBucketCommand({ Bucket }))
    const statement = {
      Effect: 'Deny',
      Principal: '*',
      Action: 's3:PutObject',
      Resource: `arn:aws:s3:::${Bucket}/*`,
      Condition: { Null: { 's3:x-amz-server-side-encryption': 'true' } },
    }
    const Policy = JSON.stringify({ Version: '2012-10-17', Statement: [statement] })
    await client.send(new PutBucketPolicyCommand({ Bucket, Policy }))
    await expect(put(open(Bucket), 'a.png', bytes('a'))).rejects.toMatchObject({
      name: 'AccessDenied',
    })

    const store = open(Bucket, { encryption: { algorithm: 'aws:kms', keyId: KMS_KEY } })
    for (const ifAbsent of [true, true, false])
      await put(store, 'a.png', bytes('secret'), { ifAbsent })

    expect(await read(await store.get('a.png'))).toEqual(bytes('secret'))
    expect(await read(await store.get('a.png', { start: 2, end: 4 }))).toEqual(bytes('cre'))
    expect(await store.head('a.png')).toEqual({ bytes: 6 })
    expect(await client.send(new HeadObjectCommand({ Bucket, Key: 'a.png' }))).toMatchObject({
      ServerSideEncryption: 'aws:kms',
    })
  })
})
