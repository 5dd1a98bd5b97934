import type { IncomingHttpHeaders, RequestListener } from 'node:http'
import { describe, expect, it } from 'vitest'
import { download } from '../../src/net/download.ts'
import { answering, fetched, loopbackGet, picture, policy } from '../support/net/downloading.ts'
import { HOSTILE_URLS } from '../support/net/hostile-urls.ts'
import { serve } from '../support/net/loopback.ts'

describe('download, by redirect', () => {
  it('follows three redirects, relative ones too', async () => {
    const { origin } = await serve(hops(['/1?a', '2', '../3']))
    expect((await fetched(origin)).bytes).toEqual(new Uint8Array(picture))
  })

  it.each([
    ['a fourth hop', ['/1', '/2', '/3', '/4']],
    ['a circle', ['/1', '/0']],
    ['a circle of three', ['/1', '/2', '/0']],
    ['itself', ['/0']],
    ['itself under another fragment', ['/0#again']],
    ['itself in another spelling', ['HTTP:/0']],
    ['no Location', [undefined]],
    ['an empty Location', ['']],
    ['a user name', ['//user:hunter2@cdn.test/']],
    ['what is no URL', ['http://[hunter2']],
    ['another host by two slashes', ['//127.0.0.2/']],
    ['another host by two backslashes', ['\\\\127.0.0.2\\']],
    ['another host by a slash and a tab', ['/\t/127.0.0.2/']],
    ['a private address after a public-looking hop', ['/1', 'https://169.254.169.254/']],
  ])('refuses a redirect to %s for good', async (_, locations) => {
    const { origin } = await serve(hops(locations))
    const error = await fetched(`${origin}/0`).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'refused_redirect', final: true })
    expect((error as Error).message).not.toContain('hunter2')
  })

  it.each(HOSTILE_URLS)(
    'refuses a redirect to %s for good, and asks for nothing more',
    async (_, url) => {
      const get = redirecting(url)
      const failure = download(get, 'https://cdn.test/0', policy(['http://127.0.0.1:9101']))
      await expect(failure).rejects.toMatchObject({ code: 'refused_redirect', final: true })
      expect(get).toHaveBeenCalledOnce()
    },
  )

  it.each([301, 302, 303, 307, 308])('refuses a %i from https to http', async (status) => {
    const get = redirecting('http://cdn.test/1', status)
    await expect(download(get, 'https://cdn.test/0', policy())).rejects.toMatchObject({
      code: 'refused_redirect',
    })
    expect(get).toHaveBeenCalledOnce()
  })

  it.each(['Refresh', 'Alt-Svc', 'Content-Location', 'Link', 'Upgrade', 'X-Accel-Redirect', 'URI'])(
    'goes nowhere for a %s header',
    async (name) => {
      const victim = await serve(hops([]), '127.0.0.2')
      const value =
        name === 'Alt-Svc' ? `h2="127.0.0.2:${victim.port}"; ma=86400` : `${victim.origin}/`
      const server = await serve((_, response) => response.setHeader(name, value).end(picture))
      const get = loopbackGet([server.origin])
      for (let i = 0; i < 2; i++) await download(get, server.origin, policy([server.origin]))
      expect(victim.connections()).toBe(0)
    },
  )

  it('sends no header of ours along a chain of hosts, whatever they set', async () => {
    const headers: IncomingHttpHeaders[] = []
    const record =
      (location: string | undefined): RequestListener =>
      (request, response) => {
        headers.push(request.headers)
        response.setHeader('set-cookie', 'session=1; Path=/').setHeader('www-authenticate', 'Basic')
        response
          .writeHead(location === undefined ? 200 : 302, location === undefined ? {} : { location })
          .end(picture)
      }
    const last = await serve(record(undefined), '127.0.0.3')
    const middle = await serve(record(`${last.origin}/?a=b`), '127.0.0.2')
    const first = await serve(record(`${middle.origin}/`))
    const origins = [first.origin, middle.origin, last.origin]
    for (let i = 0; i < 2; i++)
      await download(loopbackGet(origins), `${first.origin}/?sig=hunter2#fragment`, policy(origins))
    expect(headers.map(({ host, ...rest }) => [host, rest])).toEqual(
      [...origins, ...origins].map((origin) => [
        new URL(origin).host,
        { connection: 'keep-alive', 'user-agent': 'afterimage', 'accept-encoding': 'identity' },
      ]),
    )
  })

  it('refuses a redirect to a private address, which is never reached', async () => {
    const victim = await serve(hops([]), '127.0.0.2')
    const { origin } = await serve(hops([`${victim.origin}/`]))
    await expect(fetched(origin)).rejects.toMatchObject({ code: 'refused_redirect', final: true })
    expect(victim.connections()).toBe(0)
  })

  it('refuses a redirect to a name that resolves to a private address', async () => {
    const { origin } = await serve(hops(['https://rebound.test/']))
    const get = loopbackGet([origin], ['127.0.0.1'])
    await expect(download(get, origin, policy([origin]))).rejects.toMatchObject({
      code: 'refused_redirect',
      final: true,
    })
  })

  it('refuses a redirect to a host that is not among the image hosts', async () => {
    const other = await serve(hops([]), '127.0.0.2')
    const { origin } = await serve(hops([other.origin]))
    const limited = { ...policy([origin, other.origin]), imageHosts: ['127.0.0.1'] }
    await expect(
      download(loopbackGet([origin, other.origin]), origin, limited),
    ).rejects.toMatchObject({
      code: 'refused_redirect',
    })
    expect(other.connections()).toBe(0)
  })

  it('keeps the code of what fails beyond a redirect without being refused', async () => {
    const { origin } = await serve((request, response) => {
      if (request.url === '/gone') response.writeHead(404).end()
      else response.writeHead(302, { location: '/gone' }).end()
    })
    await expect(fetched(origin)).rejects.toMatchObject({ code: 'not_found', final: false })
  })
})

/** A Get for hosts that cannot be asked for on loopback. */
const redirecting = (location: string, status = 302) =>
  answering({ status, headers: { location }, chunks: [] })

/** Redirects from each request to the next location; then the picture. */
function hops(locations: (string | undefined)[]): RequestListener {
  let hop = 0
  return (_, response) => {
    if (hop >= locations.length) return void response.end(picture)
    const location = locations[hop++]
    response.writeHead(302, location === undefined ? {} : { location }).end('moved')
  }
}
