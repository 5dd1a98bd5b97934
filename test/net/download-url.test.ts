import { inspect } from 'node:util'
import { describe, expect, it, vi } from 'vitest'
import { ImageFailure } from '../../src/errors.ts'
import { download } from '../../src/net/download.ts'
import type { Get } from '../../src/deps.ts'
import { answering, picture, policy } from '../support/net/downloading.ts'
import { HOSTILE_URLS, type Hostile } from '../support/net/hostile-urls.ts'

describe('download, by URL', () => {
  it.each<Hostile>([
    ['no URL', 'not a url', 'refused_url'],
    ['nothing', '', 'refused_url'],
    ['a number', '12345', 'refused_url'],
    ['a relative URL', '/pictures/1.png', 'refused_url'],
    ['a URL without a scheme', '//cdn.test/1.png', 'refused_url'],
    ...HOSTILE_URLS,
  ])('refuses %s for good, and asks nobody', async (_, url, code) => {
    const get = vi.fn<Get>()
    const failure = download(get, url, policy(['http://127.0.0.1:9101']))
    await expect(failure).rejects.toMatchObject({ code, final: true })
    expect(get).not.toHaveBeenCalled()
  })

  it.each([
    ['https://afterimage.test:9443', 'https://afterimage.test:9443/1.png'],
    ['http://127.0.0.1:8787', 'http://127.0.0.1:8787/callbacks/1'],
    ['http://127.0.0.1:8787', 'http://0x7f.1:8787/'],
  ])(
    'refuses our own address %s although it is an allowed origin, written %s',
    async (ownOrigin, url) => {
      const own = { ...policy([ownOrigin]), ownOrigin }
      await expect(download(vi.fn<Get>(), url, own)).rejects.toMatchObject({
        code: 'refused_url',
        final: true,
      })
    },
  )

  it.each([
    ['an ordinary URL', 'https://cdn.test/1.png'],
    ['port 443 said aloud', 'https://cdn.test:443/1.png'],
    ['a trailing dot', 'https://cdn.test./1.png'],
    ['capitals', 'HTTPS://CDN.TEST/1.png'],
    ['a public address', 'https://8.8.8.8/'],
    ['a public address as one number', 'https://134744072/'],
    ['the address before carrier-grade NAT', 'https://100.63.255.255/'],
    ['the address after carrier-grade NAT', 'https://100.128.0.0/'],
    ['a public IPv6 address', 'https://[2606:4700::1111]/'],
    ['a name with an umlaut', 'https://bücher.test/1.png'],
    ['a host below our own', 'https://images.afterimage.test/1.png'],
    ['a label of 63 characters', `https://${'a'.repeat(63)}.test/`],
    ['a host of 252 characters', `https://${'a.'.repeat(124)}test/`],
    [
      'a URL of 4096 characters',
      `https://cdn.test/${'a'.repeat(4096 - 'https://cdn.test/'.length)}`,
    ],
  ])('asks for %s', async (_, url) => {
    const get = answering({ status: 200, chunks: [picture] })
    await download(get, url, policy())
    expect(get).toHaveBeenCalledOnce()
  })

  it('asks without the fragment', async () => {
    const get = answering({ status: 200, chunks: [picture] })
    await download(get, 'https://cdn.test/1.png?a=b#fragment', policy())
    expect(get.mock.calls[0]?.[0].href).toBe('https://cdn.test/1.png?a=b')
  })

  it.each([
    ['the host itself', 'https://r2.dev/1'],
    ['a host below it', 'https://pub-1.r2.dev/1'],
    ['two labels below it', 'https://a.b.r2.dev/1'],
    ['capitals and a trailing dot', 'https://PUB-1.R2.DEV./1'],
    ['full-width letters', 'https://ｒ２.ｄｅｖ/1'],
    ['a suffix with a leading dot', 'https://cdn.test/1'],
    ['the letters of a name in punycode', 'https://bücher.test/1'],
    ['the punycode itself', 'https://XN--bcher-kva.test/1'],
  ])('lets the image hosts admit %s: %s', async (_, url) => {
    const get = answering({ status: 200, chunks: [picture] })
    await download(get, url, {
      ...policy(),
      imageHosts: ['R2.dev.', '.cdn.test', 'xn--bcher-kva.test'],
    })
    expect(get).toHaveBeenCalledOnce()
  })

  it.each([
    ['a name that only ends alike', 'https://evilr2.dev/1'],
    ['a hyphen for the dot', 'https://evil-r2.dev/1'],
    ['the host as a label below another', 'https://r2.dev.evil.test/1'],
    ['the host in the path', 'https://evil.test/r2.dev'],
    ['the host in the query', 'https://evil.test/?r2.dev'],
    ['the host in the fragment', 'https://evil.test/#.r2.dev'],
    ['the host before a backslash', 'https://evil.test\\.r2.dev/1'],
    ['the host as user name', 'https://r2.dev@evil.test/1'],
    ['its top-level domain', 'https://dev/1'],
    ['a name that it ends', 'https://2.dev/1'],
    ['a twin with a Cyrillic letter', 'https://r2.dеv/1'],
    ['the punycode of that twin', 'https://r2.xn--dv-nlc/1'],
    ['a twin with a dotless letter', 'https://r2.dėv/1'],
    ['a public address', 'https://8.8.8.8/1'],
    ['an allowed private origin', 'http://127.0.0.1:9101/1'],
  ])('refuses %s where only image hosts are admitted: %s', async (_, url) => {
    const limited = { ...policy(['http://127.0.0.1:9101']), imageHosts: ['r2.dev'] }
    await expect(download(vi.fn<Get>(), url, limited)).rejects.toMatchObject({
      code: 'refused_url',
      final: true,
    })
  })

  it.each([
    ['http://127.0.0.1:9101/1.png', 'The scheme is not https, and http://127.0.0.1:9101'],
    ['http://cdn.test/1.png?sig=x', 'The scheme is not https, and http://cdn.test'],
    ['https://cdn.test:8443/1.png', 'Port 8443 is not 443, and https://cdn.test:8443'],
    ['https://10.1.2.3/1.png', '10.1.2.3 is not a public address, and https://10.1.2.3'],
  ])('says of %s which setting would allow it', async (url, why) => {
    const message = `${why} is not among ALLOWED_PRIVATE_ORIGINS.`
    await expect(download(vi.fn<Get>(), url, policy())).rejects.toMatchObject({ message })
  })

  it.each([
    'https://user:hunter2@cdn.test/?sig=hunter2',
    'https://cdn.test:1/?sig=hunter2',
    'https://[hunter2]/?sig=hunter2',
  ])('repeats nothing secret of %s in its error', async (url) => {
    const error = await download(vi.fn<Get>(), url, policy()).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(ImageFailure)
    expect(inspect(error, { depth: null, showHidden: true })).not.toContain('hunter2')
  })
})
