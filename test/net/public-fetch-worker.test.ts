import type { IncomingHttpHeaders } from 'node:http'
import { describe, expect, it, vi } from 'vitest'
import { publicFetch } from '../../src/net/public-fetch.worker.ts'
import { never, REFUSED, text } from '../support/net/getting.ts'
import { serve } from '../support/net/loopback.ts'

const get = (...allow: string[]) =>
  publicFetch({ allowedPrivateOrigins: new Set(allow), fetch: (url, init) => fetch(url, init) })

describe('publicFetch', () => {
  it.each([
    'https://127.0.0.1/',
    'https://127.1/',
    'https://0x7f000001/',
    'https://0.0.0.0/',
    'https://10.0.0.1/',
    'https://169.254.169.254/',
    'https://168.63.129.16/',
    'https://[::1]/',
    'https://[::]/',
    'https://[fd00:ec2::254]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[64:ff9b::7f00:1]/',
    'https://localhost/',
    'https://localhost./',
    'https://a.LOCALHOST/',
    'https://metadata.google.internal/',
    'https://printer.local/',
    'https://router.home.arpa/',
    'https://intranet/',
  ])('refuses %s, and asks nobody', async (url) => {
    const fetched = vi.fn<() => Promise<Response>>()
    const reach = publicFetch({ allowedPrivateOrigins: new Set(), fetch: fetched })
    await expect(reach(new URL(url), never)).rejects.toMatchObject(REFUSED)
    expect(fetched).not.toHaveBeenCalled()
  })

  it.each([
    'https://8.8.8.8/',
    'https://[2606:4700::1111]/',
    'https://localhost.example.com/',
    'https://r2.dev/',
  ])('asks %s once, as it is, without a cache and following no redirect', async (url) => {
    const fetched = vi.fn(() => Promise.resolve(new Response('hello')))
    const reach = publicFetch({ allowedPrivateOrigins: new Set(), fetch: fetched })
    expect(await text(await reach(new URL(url), never))).toBe('hello')
    expect(fetched).toHaveBeenCalledExactlyOnceWith(
      new URL(url),
      expect.objectContaining({ redirect: 'manual', cache: 'no-store' }),
    )
  })

  it('sends nothing that identifies us', async () => {
    let headers: IncomingHttpHeaders = {}
    const { origin } = await serve((request, response) => {
      headers = request.headers
      response.end()
    })
    await text(await get(origin)(new URL(origin), never))
    expect(headers).toMatchObject({ 'user-agent': 'afterimage', 'accept-encoding': 'identity' })
    expect(Object.keys(headers)).not.toEqual(
      expect.arrayContaining(['authorization', 'cookie', 'referer']),
    )
  })

  it('hands on a redirect as it came', async () => {
    const { origin } = await serve((_, response) =>
      response.writeHead(302, { location: '/elsewhere' }).end(),
    )
    const response = await get(origin)(new URL(origin), never)
    expect([response.status, response.header('location')]).toEqual([302, '/elsewhere'])
  })

  it('drops the connection of a body that is discarded', async () => {
    const server = await serve((_, response) => void response.write('the beginning of much'))
    const response = await get(server.origin)(new URL(server.origin), never)
    response.discard()
    await server.closed()
  })

  it('gives up when its signal says so, the body included', async () => {
    const { origin } = await serve((_, response) => void response.write('the beginning of much'))
    const limit = new AbortController()
    const response = await get(origin)(new URL(origin), limit.signal)
    const body = text(response)
    limit.abort()
    await expect(body).rejects.toMatchObject({ code: 'timeout' })
    await expect(get(origin)(new URL(origin), limit.signal)).rejects.toMatchObject({
      code: 'timeout',
    })
  })

  it('calls a host that nobody listens at unreachable', async () => {
    const { origin } = await serve(() => undefined)
    const closed = new URL(origin)
    closed.port = '9'
    await expect(get(closed.origin)(closed, never)).rejects.toMatchObject({ code: 'unreachable' })
  })
})
