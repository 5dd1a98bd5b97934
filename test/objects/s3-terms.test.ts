import { describe, expect, it } from 'vitest'
import { bytes, put, sha256 } from '../conformance/object-store.ts'
import { pickyStore, type Refusal } from '../support/objects/picky-s3.ts'
import { refuse, type Seen, storeOver } from '../support/objects/scripted-s3.ts'

const isConditional = ({ headers }: Seen) => headers['if-none-match'] !== undefined
const hasChecksum = ({ headers }: Seen) => headers['x-amz-checksum-sha256'] !== undefined
const base64 = (text: string) => Buffer.from(sha256(bytes(text)), 'hex').toString('base64')

/** Refuses every condition, in those words. */
const noCondition =
  (status: number, code: string): Refusal =>
  (request) =>
    isConditional(request) ? [status, code] : undefined

/** Heeds the condition, and says in those words that something is there. */
const taken =
  (status: number, code: string): Refusal =>
  (request, isThere) =>
    isConditional(request) && isThere ? [status, code] : undefined

describe('a condition that a store refuses', () => {
  it.each(['xml', '', '<html><body>no & thanks'])(
    'tells that something is there, whatever the body of its 412 (%s)',
    async (body) => {
      const { store } = await storeOver(({ method }, response) => {
        if (method === 'HEAD') response.writeHead(200, { 'content-length': 7 }).end()
        else if (body === 'xml') refuse(response, 412, 'PreconditionFailed')
        else response.writeHead(412).end(body)
      })
      expect(await put(store, 'a.png', bytes('a'), { ifAbsent: true })).toEqual({ bytes: 7 })
    },
  )

  it.each([
    [304, 'NotModified'],
    [400, 'InvalidRequest'],
    [403, 'AccessDenied'],
    [403, 'SignatureDoesNotMatch'],
    [405, 'MethodNotAllowed'],
    [409, 'ConditionalRequestConflict'],
    [409, 'Conflict'],
    [412, 'PreconditionFailed'],
    [417, 'ExpectationFailed'],
    [428, 'PreconditionRequired'],
    [500, 'InternalError'],
    [501, 'NotImplemented'],
  ])('costs a look, once it said %i %s, and is not asked for again', async (status, code) => {
    const { store, requests, kept } = await pickyStore(noCondition(status, code))
    expect(await put(store, 'a.png', bytes('a'), { ifAbsent: true })).toBeNull()
    const first = requests()
    expect(await put(store, 'b.png', bytes('bb'), { ifAbsent: true })).toBeNull()
    expect(await put(store, 'b.png', bytes('ccc'), { ifAbsent: true })).toEqual({
      bytes: 2,
      sha256: sha256(bytes('bb')),
    })

    expect([...new Set(first)]).toEqual(['PUT*+', 'HEAD', 'PUT+'])
    expect(requests().slice(first.length)).toEqual(['HEAD', 'PUT+', 'HEAD'])
    expect([...kept.keys()]).toEqual(['/images/a.png', '/images/b.png'])
  })

  it.each([
    [304, 'NotModified'],
    [400, 'InvalidArgument'],
    [403, 'AccessDenied'],
    [409, 'ObjectAlreadyExists'],
    [412, 'PreconditionFailed'],
  ])(
    'is still asked for where it was heeded once: %i %s is a word for "taken"',
    async (status, code) => {
      const { store, requests } = await pickyStore(taken(status, code))
      await put(store, 'a.png', bytes('a'), { ifAbsent: true })
      const there = await put(store, 'a.png', bytes('bb'), { ifAbsent: true })
      await put(store, 'b.png', bytes('b'), { ifAbsent: true })

      expect(there).toEqual({ bytes: 1, sha256: sha256(bytes('a')) })
      expect(requests()).toEqual(['PUT*+', 'PUT*+', 'HEAD', 'PUT*+'])
    },
  )

  it('tries again when another write of the key was under way', async () => {
    let conflicts = 1
    const { store, requests } = await pickyStore(() =>
      conflicts-- > 0 ? [409, 'ConditionalRequestConflict'] : undefined,
    )
    await put(store, 'a.png', bytes('a'), { ifAbsent: true })
    expect(requests()).toEqual(['PUT*+', 'PUT*+'])
  })

  it('is looked past where the look is refused, too, as without the right to list', async () => {
    const { store, requests } = await pickyStore((request) =>
      isConditional(request) || request.method === 'HEAD' ? [403, 'AccessDenied'] : undefined,
    )
    expect(await put(store, 'a.png', bytes('a'), { ifAbsent: true })).toBeNull()
    expect(requests()).toEqual(['PUT*+', 'HEAD', 'HEAD', 'PUT+'])
  })

  it('is not blamed for what is refused without it, nor tried over and over', async () => {
    const { store, requests } = await pickyStore(() => [403, 'SignatureDoesNotMatch'])
    for (let n = 0; n < 3; n++)
      await expect(put(store, 'a.png', bytes('a'), { ifAbsent: true })).rejects.toMatchObject({
        name: 'SignatureDoesNotMatch',
      })
    const puts = requests().filter((request) => request.startsWith('PUT'))
    expect(puts).toEqual(['PUT*+', 'PUT+', 'PUT*', 'PUT', 'PUT5', 'PUT*+', 'PUT*+'])
  })

  it.each([
    [404, 'NoSuchBucket'],
    [403, 'InvalidAccessKeyId'],
    [403, 'RequestTimeTooSkewed'],
    [413, 'EntityTooLarge'],
    [502, 'BadGateway'],
    [503, 'SlowDown'],
  ])('is not behind %i %s', async (status, code) => {
    const { store, requests } = await pickyStore(() => [status, code])
    await expect(put(store, 'a.png', bytes('a'), { ifAbsent: true })).rejects.toThrow(code)
    expect([...new Set(requests())]).toEqual(['PUT*+'])
  })

  it('says what the store said first where nothing helps', async () => {
    const { store } = await pickyStore((request) =>
      isConditional(request) ? [403, 'AccessDenied'] : [400, 'SomethingElse'],
    )
    await expect(put(store, 'a.png', bytes('a'), { ifAbsent: true })).rejects.toThrow(
      'AccessDenied',
    )
  })
})

describe('the hash that goes with a put', () => {
  it('stands in its headers, signed, for buckets that demand one', async () => {
    const { store, server } = await pickyStore((request) =>
      hasChecksum(request)
        ? undefined
        : [400, 'InvalidRequest', 'Content-MD5 OR x-amz-checksum- HTTP header is required'],
    )
    await put(store, 'a.png', bytes('a'))
    expect(server.seen).toHaveLength(1)
    expect(server.seen[0]?.headers).toMatchObject({ 'x-amz-checksum-sha256': base64('a') })
    expect(server.seen[0]?.headers.authorization).toContain('x-amz-checksum-sha256')
  })

  it.each([
    [400, 'InvalidArgument'],
    [403, 'SignatureDoesNotMatch'],
    [501, 'NotImplemented'],
  ])('is left out, once and for all, where a store says %i %s to it', async (status, code) => {
    const { store, requests } = await pickyStore((request) =>
      hasChecksum(request) ? [status, code] : undefined,
    )
    await put(store, 'a.json', bytes('a'))
    await put(store, 'a.json', bytes('b'))
    await put(store, 'b.png', bytes('b'), { ifAbsent: true })
    expect(requests()).toEqual(['PUT+', 'PUT', 'PUT', 'PUT*'])
  })

  it('is found to be at fault beside a condition that is not', async () => {
    const { store, requests } = await pickyStore((request) =>
      hasChecksum(request) ? [400, 'InvalidArgument'] : undefined,
    )
    await put(store, 'a.png', bytes('a'), { ifAbsent: true })
    await put(store, 'b.png', bytes('b'), { ifAbsent: true })
    expect(requests()).toEqual(['PUT*+', 'HEAD', 'PUT+', 'PUT*', 'PUT*'])
  })

  it('is found to be at fault together with the condition', async () => {
    const { store, requests } = await pickyStore((request) =>
      hasChecksum(request) || isConditional(request) ? [501, 'NotImplemented'] : undefined,
    )
    await put(store, 'a.png', bytes('a'), { ifAbsent: true })
    await put(store, 'b.png', bytes('b'), { ifAbsent: true })
    expect(requests()).toEqual(['PUT*+', 'HEAD', 'PUT+', 'PUT*', 'PUT', 'HEAD', 'PUT'])
  })

  it('is an MD5 too where a store knows nothing else and demands it', async () => {
    const { store, requests, server } = await pickyStore(({ method, headers }) =>
      method === 'PUT' && headers['content-md5'] === undefined
        ? [400, 'InvalidRequest', 'Content-MD5 HTTP header is required for Put Object requests']
        : undefined,
    )
    await put(store, 'a.png', bytes('a'), { ifAbsent: true })
    await put(store, 'b.png', bytes('b'), { ifAbsent: true })
    expect(requests()).toEqual(['PUT*+', 'PUT*+5', 'PUT*+5'])
    expect(server.seen[1]?.headers['content-md5']).toBe('DMF1ucDxtqgxw5niaXcmYQ==')
  })

  it('is an MD5 too where one is demanded in words that do not name it', async () => {
    const { store, requests } = await pickyStore(({ method, headers }) =>
      method === 'PUT' && headers['content-md5'] === undefined
        ? [400, 'MissingSecurityHeader', 'Your request was missing a required header']
        : undefined,
    )
    await put(store, 'a.json', bytes('a'))
    await put(store, 'b.json', bytes('b'))
    expect(requests()).toEqual(['PUT+', 'PUT', 'PUT5', 'PUT5'])
  })

  it('is an MD5 too where that is demanded only once a condition is gone', async () => {
    const { store, requests } = await pickyStore(({ method, headers }) => {
      if (method !== 'PUT' || headers['content-md5'] !== undefined) return undefined
      return headers['if-none-match'] ? [501, 'NotImplemented'] : [400, 'InvalidRequest']
    })
    await put(store, 'a.png', bytes('a'), { ifAbsent: true })
    await put(store, 'b.png', bytes('b'), { ifAbsent: true })
    expect(requests()).toEqual([
      ...['PUT*+', 'HEAD', 'PUT+', 'PUT*', 'PUT', 'PUT5'],
      ...['HEAD', 'PUT5'],
    ])
  })

  it('is told again of what is there, unless the store refuses to be asked for it', async () => {
    const { store, requests } = await pickyStore((request, isThere) =>
      request.headers['x-amz-checksum-mode'] !== undefined
        ? [400, 'InvalidRequest']
        : taken(412, 'PreconditionFailed')(request, isThere),
    )
    const again = () => put(store, 'a.png', bytes('a'), { ifAbsent: true })
    await again()
    expect([await again(), await again()]).toEqual([{ bytes: 1 }, { bytes: 1 }])
    expect(requests()).toEqual(['PUT*+', 'PUT*+', 'HEAD', 'HEAD', 'PUT*+', 'HEAD'])
  })
})

describe('encryption where objects lie', () => {
  it('is asked for with every put, and with nothing else', async () => {
    const encryption = { algorithm: 'aws:kms', keyId: 'alias/images' } as const
    const { store, server } = await pickyStore(() => undefined, { encryption })
    await put(store, 'a.png', bytes('a'))
    await store.head('a.png')
    expect(server.seen[0]?.headers).toMatchObject({
      'x-amz-server-side-encryption': 'aws:kms',
      'x-amz-server-side-encryption-aws-kms-key-id': 'alias/images',
    })
    expect(JSON.stringify(server.seen[1]?.headers)).not.toContain('server-side')
  })

  it('is not asked for where no setting says so', async () => {
    const { store, server } = await pickyStore(() => undefined)
    await put(store, 'a.png', bytes('a'))
    expect(JSON.stringify(server.seen)).not.toContain('server-side')
  })
})
