import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { download } from '../../src/net/download.ts'
import { answering, fetched, loopbackGet, picture, policy } from '../support/net/downloading.ts'
import { serve, serveRaw, serveTrickle } from '../support/net/loopback.ts'

describe('download', () => {
  it('brings the bytes as they were sent', async () => {
    const { origin } = await serve((_, response) => response.end(picture))
    expect(await fetched(origin)).toEqual({ bytes: new Uint8Array(picture), short: false })
  })

  it('brings a body of undeclared length, in however many pieces', async () => {
    const sent = Buffer.concat(Array<Buffer>(50).fill(picture))
    const { origin } = await serve((_, response) => {
      for (const byte of sent) response.write(Buffer.from([byte]))
      response.end()
    })
    const { bytes, short } = await fetched(origin, { maxBytes: sent.length })
    expect([Buffer.from(bytes).equals(sent), short]).toEqual([true, false])
  })

  it('leaves the connection to the next download from the same origin', async () => {
    const server = await serve((_, response) => response.end(picture))
    const get = loopbackGet([server.origin])
    for (let i = 0; i < 3; i++) await download(get, server.origin, policy([server.origin]))
    expect(server.connections()).toBe(1)
  })
})

describe('download, by answer', () => {
  it.each([
    [404, 'not_found'],
    [403, 'not_found'],
    [410, 'not_found'],
    [500, 'unreachable'],
    [503, 'unreachable'],
    [429, 'unreachable'],
    [401, 'unreachable'],
    [204, 'unreachable'],
    [206, 'unreachable'],
    [300, 'unreachable'],
    [304, 'unreachable'],
  ])('calls a %i %s, to be tried again', async (status, code) => {
    const { origin } = await serve((_, response) =>
      response.writeHead(status, { location: '/1' }).end(),
    )
    await expect(fetched(origin)).rejects.toMatchObject({ code, final: false })
  })

  it.each([
    ['one byte too much', '101'],
    ['a terabyte', '1000000000000'],
    ['with leading zeros', '000000000000101'],
    ['in white space', ' 101 '],
  ])(
    'refuses a declared length over the limit for good, and reads nothing: %s',
    async (_, length) => {
      const get = answering({
        status: 200,
        headers: { 'content-length': length },
        chunks: [picture],
      })
      const failure = download(get, 'https://cdn.test/', { ...policy(), maxBytes: 100 })
      await expect(failure).rejects.toMatchObject({ code: 'too_large', final: true })
      expect([get.read(), get.discarded()]).toEqual([0, true])
    },
  )

  it('drops the connection of an undeclared body once it passes the limit', async () => {
    let closed: Promise<void> | undefined
    const { origin } = await serve((request, response) => {
      closed = new Promise((resolve) => request.socket.on('close', resolve))
      const more = () => {
        while (response.write(Buffer.alloc(1000)));
      }
      response.on('drain', more)
      more()
    })
    await expect(fetched(origin, { maxBytes: 5000 })).rejects.toMatchObject({
      code: 'too_large',
      final: false,
    })
    await closed
  })

  it('takes a body of exactly the limit', async () => {
    for (const headers of [{}, { 'content-length': picture.length }]) {
      const { origin } = await serve((_, response) => response.writeHead(200, headers).end(picture))
      expect((await fetched(origin, { maxBytes: picture.length })).bytes).toHaveLength(
        picture.length,
      )
    }
  })

  it.each([
    'gzip',
    'x-gzip',
    'deflate',
    'br',
    'zstd',
    'compress',
    'GZIP, identity',
    'identity, gzip',
    'aes128gcm',
    'nonsense',
  ])('never inflates a body that is %s-encoded', async (encoding) => {
    const bomb = gzipSync(Buffer.alloc(1_000_000))
    const { origin } = await serve((_, response) =>
      response.writeHead(200, { 'content-encoding': encoding }).end(bomb),
    )
    await expect(fetched(origin)).rejects.toMatchObject({ code: 'not_an_image', final: false })
  })

  it('never inflates a body that is encoded twice, of which the first says nothing', async () => {
    const bomb = gzipSync(Buffer.alloc(1_000_000))
    const { origin } = await serve((_, response) =>
      response.setHeader('content-encoding', ['identity', 'gzip']).end(bomb),
    )
    expect(Buffer.from((await fetched(origin)).bytes)).toEqual(bomb)
  })

  it('never inflates a body that is compressed for the transfer', async () => {
    const bomb = gzipSync(Buffer.alloc(1_000_000))
    const head = Buffer.from('HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n')
    const { origin } = await serveRaw(Buffer.concat([head, bomb]))
    expect(Buffer.from((await fetched(origin)).bytes)).toEqual(bomb)
  })

  it('takes a body that says it is encoded as itself', async () => {
    const { origin } = await serve((_, response) =>
      response.writeHead(200, { 'content-encoding': 'Identity' }).end(picture),
    )
    expect((await fetched(origin)).bytes).toHaveLength(picture.length)
  })

  it.each([{ 'content-length': '0' }, {}])(
    'calls an empty body no image, with the headers %j',
    async (headers) => {
      const { origin } = await serve((_, response) => response.writeHead(200, headers).end())
      await expect(fetched(origin)).rejects.toMatchObject({ code: 'not_an_image', final: false })
    },
  )
})

describe('download, cut off', () => {
  it.each([
    [
      'ignores a body that lied about its length',
      `Content-Length: 1000\r\n\r\n${picture.toString()}`,
    ],
    [
      'keeps what came of a chunked body',
      `Transfer-Encoding: chunked\r\n\r\n23\r\n${picture.toString()}\r\n23\r\nas ma`,
    ],
  ])('%s, and says that it is short', async (_, rest) => {
    const { origin } = await serveRaw(`HTTP/1.1 200 OK\r\n${rest}`)
    const { bytes, short } = await fetched(origin)
    expect([Buffer.from(bytes.subarray(0, picture.length)).equals(picture), short]).toEqual([
      true,
      true,
    ])
  })

  it('keeps every byte of a large body that breaks off', async () => {
    const sent = Buffer.alloc(3_000_000, 'picture')
    const { origin } = await serveRaw(
      Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n'), sent]),
    )
    const { bytes, short } = await fetched(origin, { maxBytes: 5_000_000 })
    expect([Buffer.from(bytes).equals(sent), short]).toEqual([true, true])
  })

  it('stops where the declared length ends, whatever follows', async () => {
    const { origin } = await serveRaw(
      'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npictHTTP/1.1 200 OK\r\n\r\nsmuggled',
    )
    const { bytes, short } = await fetched(origin)
    expect([Buffer.from(bytes).toString(), short]).toEqual(['pict', false])
  })

  it('calls a body that breaks off before its first byte unreachable', async () => {
    const { origin } = await serveRaw('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n')
    await expect(fetched(origin)).rejects.toMatchObject({ code: 'unreachable', final: false })
  })

  it('gives one time limit to all hops and the body together', async () => {
    const { origin } = await serve((request, response) => {
      if (request.url === '/slow') response.write(picture)
      else setTimeout(() => response.writeHead(302, { location: '/slow' }).end(), 60)
    })
    const startedAt = performance.now()
    await expect(fetched(origin, { timeoutMs: 150 })).rejects.toMatchObject({
      code: 'timeout',
      final: false,
    })
    expect(performance.now() - startedAt).toBeLessThan(1000)
  })

  it.each([
    ['a server that says nothing', '', ''],
    ['one byte of the headers at a time', 'HTTP/1.1 200 OK\r\nX-A: ', 'a'],
    ['one early hint after another', '', 'HTTP/1.1 103 Early Hints\r\n\r\n'],
    ['one byte of the body at a time', 'HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n', 'a'],
    ['one byte of an undeclared body at a time', 'HTTP/1.1 200 OK\r\n\r\n', 'a'],
    ['one chunk at a time', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '1\r\na\r\n'],
    ['an endless chunk extension', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;', 'a'],
    [
      'an endless trailer',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-A: ',
      'a',
    ],
    ['an endless row of line ends before the answer', '', '\r\n'],
  ])('does not let %s outlast the time limit', async (_, begin, again) => {
    const server = await serveTrickle(begin, again)
    await expect(fetched(server.origin, { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'timeout',
      final: false,
    })
    await server.closed()
  })

  it.each([
    ['a chunk extension', '1;', 'unreachable'],
    ['a trailer', '1\r\na\r\n0\r\nX-A: ', undefined],
  ])('gives up on %s of megabytes', async (_, begin, code) => {
    const flood = 'a'.repeat(50_000_000)
    const { origin } = await serveRaw(
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${begin}${flood}`,
    )
    const outcome = await fetched(origin).then(
      ({ short }) => ({ short }),
      (error: unknown) => error,
    )
    expect(outcome).toMatchObject(code === undefined ? { short: true } : { code, final: false })
  })
})
