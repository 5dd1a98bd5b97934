import { inspect } from 'node:util'
import { describe, expect, it, vi } from 'vitest'
import { ImageFailure } from '../../src/errors.ts'
import { download } from '../../src/net/download.ts'
import type { Get } from '../../src/ports.ts'
import { answering, picture, policy } from './downloading.ts'

describe('download, by URL', () => {
  it.each([
    ['no URL', 'not a url', 'refused_url'],
    ['a relative URL', '/pictures/1.png', 'refused_url'],
    ['an endless URL', `https://cdn.test/${'a'.repeat(4096)}`, 'refused_url'],
    ['a URL that becomes endless when it is encoded', `https://cdn.test/${'é'.repeat(2000)}`, 'refused_url'],
    ['plain http', 'http://cdn.test/1.png', 'refused_url'],
    ['a local file', 'file:///etc/passwd', 'refused_url'],
    ['a data URL', 'data:image/png;base64,iVBORw0KGgo=', 'refused_url'],
    ['a blob with an allowed origin inside', 'blob:http://127.0.0.1:9101/1', 'refused_url'],
    ['a user name', 'https://user@cdn.test/1.png', 'refused_url'],
    ['a user name at an allowed origin', 'http://127.0.0.1@127.0.0.1:9101/1.png', 'refused_url'],
    ['a password', 'https://:secret@cdn.test/1.png', 'refused_url'],
    ['the port of Redis', 'https://cdn.test:6379/', 'refused_url'],
    ['port 80 over https', 'https://cdn.test:80/', 'refused_url'],
    ['loopback', 'https://127.0.0.1/', 'refused_address'],
    ['loopback as one number', 'https://2130706433/', 'refused_address'],
    ['loopback in hexadecimal', 'https://0x7f.1/', 'refused_address'],
    ['IPv6 loopback', 'https://[::1]/', 'refused_address'],
    ['IPv4-mapped loopback', 'https://[::ffff:127.0.0.1]/', 'refused_address'],
    ['cloud metadata', 'https://169.254.169.254/latest/meta-data/', 'refused_address'],
  ])('refuses %s for good, and asks nobody', async (_, url, code) => {
    const get = vi.fn<Get>()
    const failure = download(get, url, policy(['http://127.0.0.1:9101']))
    await expect(failure).rejects.toMatchObject({ code, final: true })
    expect(get).not.toHaveBeenCalled()
  })

  it.each(['https://cdn.test/1.png', 'https://cdn.test:443/1.png', 'https://8.8.8.8/', 'https://[2606:4700::1111]/'])(
    'asks for %s',
    async (url) => {
      const get = answering({ status: 200, chunks: [picture] })
      await download(get, url, policy())
      expect(get).toHaveBeenCalledOnce()
    },
  )

  it('asks without the fragment', async () => {
    const get = answering({ status: 200, chunks: [picture] })
    await download(get, 'https://cdn.test/1.png?a=b#fragment', policy())
    expect(get.mock.calls[0]?.[0].href).toBe('https://cdn.test/1.png?a=b')
  })

  it.each(['https://r2.dev/1', 'https://pub-1.r2.dev/1', 'https://PUB-1.R2.DEV./1', 'https://cdn.test/1'])(
    'lets the image hosts admit %s',
    async (url) => {
      const get = answering({ status: 200, chunks: [picture] })
      await download(get, url, { ...policy(), imageHosts: ['R2.dev.', '.cdn.test'] })
      expect(get).toHaveBeenCalledOnce()
    },
  )

  it.each([
    'https://evilr2.dev/1',
    'https://r2.dev.evil.test/1',
    'https://evil.test/r2.dev',
    'http://127.0.0.1:9101/1',
  ])('refuses %s, which is not among the image hosts', async (url) => {
    const limited = { ...policy(['http://127.0.0.1:9101']), imageHosts: ['r2.dev'] }
    await expect(download(vi.fn<Get>(), url, limited)).rejects.toMatchObject({ code: 'refused_url', final: true })
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
