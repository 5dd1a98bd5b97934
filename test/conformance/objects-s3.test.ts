import { afterAll, beforeAll, describe, vi } from 'vitest'
import { s3Store } from '../../src/objects/s3.node.ts'
import { type Radosgw, radosgwInstalled, startRadosgw } from '../support/radosgw.ts'
import { behavesAsObjectStore } from './object-store.ts'

describe.skipIf(!radosgwInstalled('objects in S3'))('objects in S3', () => {
  let radosgw: Radosgw
  let store: ReturnType<typeof s3Store>
  beforeAll(async () => {
    radosgw = await startRadosgw()
    vi.stubEnv('AWS_ACCESS_KEY_ID', radosgw.credentials.accessKeyId)
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', radosgw.credentials.secretAccessKey)
    const { bucket, endpoint } = radosgw
    store = s3Store({ bucket, endpoint, region: 'us-east-1', forcePathStyle: true })
  })
  afterAll(async () => {
    store.close()
    vi.unstubAllEnvs()
    await radosgw.stop()
  })

  behavesAsObjectStore(() => store)
})
