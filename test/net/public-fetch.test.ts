import type { IncomingHttpHeaders } from 'node:http'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { bytes, get, never, text } from '../support/net/getting.ts'
import { serve, serveRaw } from '../support/net/loopback.ts'

describe('publicGet, the exchange', () => {
  it('sends nothing that identifies us', async () => {
    let headers: IncomingHttpHeaders = {}
    const server = await serve((request, response) => {
      headers = request.headers
      response.setHeader('set-cookie', 'a=b').end()
    })
    const reach = get({ allow: [server.origin] })
    const url = new URL(server.origin.replace('//', '//user:password@'))
    for (let i = 0; i < 2; i++) await text(await reach(url, never))
    expect(headers).toEqual({
      host: url.host,
      connection: 'keep-alive',
      'user-agent': 'afterimage',
      'accept-encoding': 'identity',
    })
  })

  it('follows no redirect and inflates nothing', async () => {
    const zipped = gzipSync('hello')
    const headers = { location: '/elsewhere', 'content-encoding': 'gzip' }
    const { origin } = await serve((_, response) => response.writeHead(302, headers).end(zipped))
    const response = await get({ allow: [origin] })(new URL(origin), never)
    expect([response.status, response.header('location')]).toEqual([302, '/elsewhere'])
    expect(await bytes(response)).toEqual(zipped)
  })

  it('gives the first of repeated headers', async () => {
    const { origin } = await serveRaw(
      'HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n',
    )
    const response = await get({ allow: [origin] })(new URL(origin), never)
    expect([response.header('x-a'), response.header('x-b')]).toEqual(['1', undefined])
  })

  it('keeps no idle connection for as long as the host would like', async () => {
    const answer = 'HTTP/1.1 200 OK\r\nKeep-Alive: timeout=600\r\nContent-Length: 5\r\n\r\nhello'
    const server = await serveRaw(answer, { close: false })
    await text(
      await get({ allow: [server.origin], idleTimeoutMs: 100 })(new URL(server.origin), never),
    )
    await server.closed()
  })

  it('drops the connection of a body that is discarded', async () => {
    let closed: Promise<void> | undefined
    const { origin } = await serve((request, response) => {
      closed = new Promise((resolve) => request.socket.on('close', resolve))
      response.write('the beginning of much')
    })
    const response = await get({ allow: [origin] })(new URL(origin), never)
    response.discard()
    await closed
  })

  it.each([
    ['a port where nobody listens', undefined],
    ['what is no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['an answer that ends in its headers', 'HTTP/1.1 200 OK\r\nContent-Le'],
    ['20 KiB of one header', `HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(20_000)}\r\n\r\n`],
    ['ten thousand headers', `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(10_000)}\r\n`],
    ['a header without an end', `HTTP/1.1 200 OK\r\n${'a'.repeat(20_000)}`],
    ['a status line without an end', `HTTP/1.1 200 ${'a'.repeat(1_000_000)}`],
    [
      'a switch of protocols',
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n',
    ],
    [
      'a hundred thousand early hints',
      'HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n'.repeat(100_000),
    ],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nhello'],
    ['a length below zero', 'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello'],
    [
      'a length beyond all numbers',
      `HTTP/1.1 200 OK\r\nContent-Length: ${'9'.repeat(40)}\r\n\r\nhello`,
    ],
    [
      'a length beside chunks',
      'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    ],
    ['a header split by a line feed', 'HTTP/1.1 200 OK\nContent-Length: 5\n\nhello'],
  ])('calls %s unreachable', async (_, answer) => {
    const origin = answer === undefined ? 'http://127.0.0.1:1' : (await serveRaw(answer)).origin
    const failure = get({ allow: [origin] })(new URL(origin), never)
    await expect(failure).rejects.toMatchObject({ code: 'unreachable', final: false })
  })

  it.each([
    ['headers', ''],
    ['a body', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell'],
  ])('does not wait for ever for %s', async (_, answer) => {
    const { origin } = await serveRaw(answer, { close: false })
    const reading = get({ allow: [origin], idleTimeoutMs: 100 })(new URL(origin), never).then(bytes)
    await expect(reading).rejects.toMatchObject({ code: 'timeout', final: false })
  })

  it('ends a body at once when its signal aborts', async () => {
    const { origin } = await serveRaw('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhell', {
      close: false,
    })
    const reading = get({ allow: [origin] })(new URL(origin), AbortSignal.timeout(50)).then(bytes)
    await expect(reading).rejects.toMatchObject({ code: 'timeout' })
  })
})
