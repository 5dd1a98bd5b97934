import { describe, expect, it, onTestFinished } from 'vitest'
import { addressesOfSystem } from '../../src/net/judged-connect.node.ts'
import { publicGet } from '../../src/net/public-fetch.node.ts'
import { certificateFor } from '../support/net/certificate.ts'
import { get, hello, never, REFUSED, text } from '../support/net/getting.ts'
import { serve, serveTls, serveTls2 } from '../support/net/loopback.ts'
import { publicWorld } from '../support/net/public-world.ts'

describe('publicGet, by name', () => {
  it.each([
    ['loopback', ['127.0.0.1']],
    ['one private address among public ones', ['93.184.216.34', '127.0.0.1', '2606:4700::1111']],
    ['IPv4-mapped loopback', ['::ffff:127.0.0.1']],
    ['a private address behind a public one', ['93.184.216.34', '10.0.0.1']],
    ['a private address before a public one', ['169.254.169.254', '93.184.216.34']],
    ['IPv6 loopback among public addresses', ['2606:4700::1111', '::1']],
    ['every address', ['0.0.0.0']],
    ['cloud metadata', ['169.254.169.254']],
    ['cloud metadata over IPv6', ['fd00:ec2::254']],
    ["Azure's wire server", ['168.63.129.16']],
    ['carrier-grade NAT', ['100.100.100.200']],
    ['loopback behind NAT64', ['64:ff9b::7f00:1']],
    ['loopback behind 6to4', ['2002:7f00:1::1']],
    ['an address with a zone', ['fe80::1%lo']],
    ['loopback in hexadecimal', ['0x7f.0.0.1']],
    ['loopback in octal', ['0177.0.0.1']],
    ['something that is no address', ['localhost']],
    ['an empty answer among good ones', ['93.184.216.34', '']],
    ['another name', ['pictures.example.com']],
    ['a socket in the file system', ['/var/run/docker.sock']],
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
    await expect(
      systemGet(new URL(`http://localhost:${victim.port}/`), never),
    ).rejects.toMatchObject(REFUSED)
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

  it.each([
    ['no such name', failing('ENOTFOUND')],
    ['a resolver that is away', failing('EAI_AGAIN')],
    ['a resolver that refuses', failing('EAI_FAIL')],
    ['an answer without addresses', () => Promise.resolve([])],
  ])('calls %s unreachable, to be tried again', async (_, resolve) => {
    const failure = get({ resolve })(new URL('http://pictures.test/'), never)
    await expect(failure).rejects.toMatchObject({ code: 'unreachable', final: false })
  })

  it('judges a name again at its second connection, when it has been rebound to loopback', async () => {
    const server = await serve((_, response) =>
      response.setHeader('connection', 'close').end('hello'),
    )
    const dialled = publicWorld({ '93.184.216.34': server.port, '127.0.0.1': server.port })
    const answers = [['93.184.216.34'], ['127.0.0.1']]
    const reach = get({ resolve: () => Promise.resolve(answers.shift() ?? []) })
    const url = new URL('http://pictures.test/')

    expect(await text(await reach(url, never))).toBe('hello')
    await expect(reach(url, never)).rejects.toMatchObject(REFUSED)

    expect(answers).toEqual([])
    expect(dialled).toEqual(['93.184.216.34'])
    expect(server.connections()).toBe(1)
  })

  it('asks the resolver nothing while a connection is kept', async () => {
    const server = await serve(hello)
    publicWorld({ '93.184.216.34': server.port })
    const answers = [['93.184.216.34'], ['127.0.0.1']]
    const reach = get({
      resolve: () => Promise.resolve(answers.shift() ?? []),
      connectionsPerOrigin: 1,
    })
    for (let i = 0; i < 2; i++)
      expect(await text(await reach(new URL('http://pictures.test/'), never))).toBe('hello')
    expect([answers.length, server.connections()]).toEqual([1, 1])
  })

  it('does not lend the connection of an allowed origin to another name of the same address', async () => {
    const server = await serve(hello)
    const [allowed, other] = [
      `http://pictures.test:${server.port}/`,
      `http://other.test:${server.port}/`,
    ]
    const reach = get({ allow: [new URL(allowed).origin], addresses: ['127.0.0.1'] })
    expect(await text(await reach(new URL(allowed), never))).toBe('hello')
    await expect(reach(new URL(other), never)).rejects.toMatchObject(REFUSED)
    expect(server.connections()).toBe(1)
  })

  it.each(['http', 'https'])(
    'gives up on a resolver that never answers, over %s',
    async (scheme) => {
      const reach = get({ resolve: () => new Promise(() => undefined), connectTimeoutMs: 50 })
      const failure = reach(new URL(`${scheme}://pictures.test/`), never)
      await expect(failure).rejects.toMatchObject({ code: 'timeout', final: false })
    },
  )

  it('leaves as soon as it is told to, also while a name is being resolved', async () => {
    const reach = get({ resolve: () => new Promise(() => undefined) })
    const signal = AbortSignal.timeout(50)
    await expect(reach(new URL('http://pictures.test/'), signal)).rejects.toMatchObject({
      code: 'timeout',
    })
    await expect(
      reach(new URL('http://pictures.test/'), AbortSignal.abort()),
    ).rejects.toMatchObject({
      code: 'timeout',
    })
  })
})

describe('publicGet, at the addresses of this machine', () => {
  it.each([
    ['its public address', '93.184.216.34', '93.184.216.34'],
    ['its public address, IPv6', '2606:4700::1111', '[2606:4700:0:0:0:0:0:1111]'],
  ])('refuses %s, by name and literally', async (_, own, literal) => {
    const server = await serve(hello)
    const dialled = publicWorld({ [own]: server.port })
    const reach = get({ addresses: [own], ownAddresses: () => ['127.0.0.1', own] })
    await expect(reach(new URL('http://pictures.test/'), never)).rejects.toMatchObject(REFUSED)
    await expect(reach(new URL(`http://${literal}/`), never)).rejects.toMatchObject(REFUSED)
    expect(dialled).toEqual([])
  })

  it('asks for them anew: an address that was given to it later is refused from then on', async () => {
    const server = await serve((_, response) =>
      response.setHeader('connection', 'close').end('hello'),
    )
    publicWorld({ '93.184.216.34': server.port })
    const own = ['127.0.0.1']
    const reach = get({ ownAddresses: () => own })
    expect(await text(await reach(new URL('http://93.184.216.34/'), never))).toBe('hello')
    own.push('93.184.216.34')
    await expect(reach(new URL('http://93.184.216.34/'), never)).rejects.toMatchObject(REFUSED)
  })

  it('knows them from the system', () => {
    expect(addressesOfSystem()).toContain('127.0.0.1')
  })
})

describe('publicGet over TLS', () => {
  it('speaks HTTP/1.1 to a host that offers HTTP/2, where one connection serves several names', async () => {
    const versions: string[] = []
    const { cert, key } = certificateFor('pictures.test')
    const server = await serveTls2({ cert, key }, (httpVersion) => {
      versions.push(httpVersion)
      return 'hello'
    })
    const url = new URL(`https://pictures.test:${server.port}/`)
    const reach = get({ allow: [url.origin], addresses: ['127.0.0.1'], ca: cert })
    expect(await text(await reach(url, never))).toBe('hello')
    expect(versions).toEqual(['1.1'])
  })

  it('holds the certificate against the name, although it connects to an address', async () => {
    const { cert, key } = certificateFor('pictures.test')
    const server = await serveTls({ cert, key }, hello)
    const [right, wrong] = ['pictures', 'other'].map(
      (name) => new URL(`https://${name}.test:${server.port}/`),
    ) as [URL, URL]
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

function failing(code: string) {
  return () => Promise.reject(Object.assign(new Error('no answer'), { code }))
}
