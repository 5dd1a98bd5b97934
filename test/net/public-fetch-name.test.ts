import { describe, expect, it, onTestFinished } from 'vitest'
import { publicGet } from '../../src/net/public-fetch.node.ts'
import { certificateFor } from './certificate.ts'
import { get, hello, never, REFUSED, text } from './getting.ts'
import { serve, serveTls } from './loopback.ts'

describe('publicGet, by name', () => {
  it.each([
    ['loopback', ['127.0.0.1']],
    ['one private address among public ones', ['93.184.216.34', '127.0.0.1', '2606:4700::1111']],
    ['IPv4-mapped loopback', ['::ffff:127.0.0.1']],
    ['something that is no address', ['localhost']],
  ])('refuses a name that resolves to %s', async (_, addresses) => {
    const victim = await serve(hello)
    const failure = get({ addresses })(new URL(`http://pictures.test:${victim.port}/`), never)
    await expect(failure).rejects.toMatchObject(REFUSED)
    expect(victim.connections()).toBe(0)
  })

  it("refuses localhost by the system's own resolver", async () => {
    const victim = await serve(hello)
    const systemGet = publicGet({ allowedPrivateOrigins: new Set() })
    onTestFinished(() => systemGet.close())
    await expect(systemGet(new URL(`http://localhost:${victim.port}/`), never)).rejects.toMatchObject(REFUSED)
    expect(victim.connections()).toBe(0)
  })

  it('looks a name up once, connects to that answer, and keeps the name in Host', async () => {
    let lookups = 0
    const server = await serve((request, response) => response.end(request.headers.host))
    const url = new URL(`http://pictures.test:${server.port}/`)
    const resolve = () => Promise.resolve(lookups++ === 0 ? ['127.0.0.1'] : ['127.0.0.2'])
    expect(await text(await get({ allow: [url.origin], resolve })(url, never))).toBe(url.host)
    expect(lookups).toBe(1)
  })

  it('tries the next address where the first does not answer', async () => {
    const server = await serve(hello)
    const url = new URL(`http://pictures.test:${server.port}/`)
    const reach = get({ allow: [url.origin], addresses: ['::1', '127.0.0.3', '127.0.0.1'] })
    expect(await text(await reach(url, never))).toBe('hello')
  })

  it('calls a name without an address unreachable', async () => {
    const unknown = () => Promise.reject(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }))
    const url = new URL('http://pictures.test/')
    await expect(get({ resolve: unknown })(url, never)).rejects.toMatchObject({ code: 'unreachable', final: false })
    await expect(get({ addresses: [] })(url, never)).rejects.toMatchObject({ code: 'unreachable', final: false })
  })

  it.each(['http', 'https'])('gives up on a resolver that never answers, over %s', async (scheme) => {
    const reach = get({ resolve: () => new Promise(() => undefined), connectTimeoutMs: 50 })
    const failure = reach(new URL(`${scheme}://pictures.test/`), never)
    await expect(failure).rejects.toMatchObject({ code: 'timeout', final: false })
  })

  it('leaves as soon as it is told to, also while a name is being resolved', async () => {
    const reach = get({ resolve: () => new Promise(() => undefined) })
    const signal = AbortSignal.timeout(50)
    await expect(reach(new URL('http://pictures.test/'), signal)).rejects.toMatchObject({ code: 'timeout' })
    await expect(reach(new URL('http://pictures.test/'), AbortSignal.abort())).rejects.toMatchObject({
      code: 'timeout',
    })
  })
})

describe('publicGet over TLS', () => {
  it('holds the certificate against the name, although it connects to an address', async () => {
    const { cert, key } = certificateFor('pictures.test')
    const server = await serveTls({ cert, key }, hello)
    const [right, wrong] = ['pictures', 'other'].map((name) => new URL(`https://${name}.test:${server.port}/`)) as [
      URL,
      URL,
    ]
    const reach = get({ allow: [right.origin, wrong.origin], addresses: ['127.0.0.1'], ca: cert })
    expect(await text(await reach(right, never))).toBe('hello')
    await expect(reach(wrong, never)).rejects.toMatchObject({ code: 'unreachable' })
  })

  it('trusts no certificate that it was not told of', async () => {
    const server = await serveTls(certificateFor('127.0.0.1'), hello)
    const failure = get({ allow: [server.origin] })(new URL(server.origin), never)
    await expect(failure).rejects.toMatchObject({ code: 'unreachable' })
  })
})
