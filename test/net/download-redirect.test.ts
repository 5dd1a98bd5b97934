import type { RequestListener } from 'node:http'
import { describe, expect, it } from 'vitest'
import { download } from '../../src/net/download.ts'
import { fetched, loopbackGet, picture, policy } from './downloading.ts'
import { serve } from './loopback.ts'

describe('download, by redirect', () => {
  it('follows three redirects, relative ones too', async () => {
    const { origin } = await serve(hops(['/1?a', '2', '../3']))
    expect((await fetched(origin)).bytes).toEqual(new Uint8Array(picture))
  })

  it.each([
    ['a fourth hop', ['/1', '/2', '/3', '/4']],
    ['a circle', ['/1', '/0']],
    ['itself', ['/0']],
    ['itself under another fragment', ['/0#again']],
    ['no Location', [undefined]],
    ['an empty Location', ['']],
    ['a local file', ['file:///etc/passwd']],
    ['plain http elsewhere', ['http://cdn.test/']],
    ['cloud metadata', ['https://169.254.169.254/']],
    ['a user name', ['//user:hunter2@cdn.test/']],
    ['what is no URL', ['http://[hunter2']],
  ])('refuses a redirect to %s for good', async (_, locations) => {
    const { origin } = await serve(hops(locations))
    const error = await fetched(`${origin}/0`).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'refused_redirect', final: true })
    expect((error as Error).message).not.toContain('hunter2')
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
    await expect(download(loopbackGet([origin, other.origin]), origin, limited)).rejects.toMatchObject({
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

/** Redirects from each request to the next location; then the picture. */
function hops(locations: (string | undefined)[]): RequestListener {
  let hop = 0
  return (_, response) => {
    if (hop >= locations.length) return void response.end(picture)
    const location = locations[hop++]
    response.writeHead(302, location === undefined ? {} : { location }).end('moved')
  }
}
