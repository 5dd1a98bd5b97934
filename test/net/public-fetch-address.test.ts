import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import type { ImageFailure } from '../../src/errors.ts'
import { isPublicUnicast } from '../../src/net/address.ts'
import { judgePeer } from '../../src/net/judged-connect.node.ts'
import { get, hello, never, REFUSED, text } from '../support/net/getting.ts'
import { serve } from '../support/net/loopback.ts'

describe('publicGet, by address', () => {
  it('reaches a private origin that is allowed', async () => {
    const { origin } = await serve(hello)
    const response = await get({ allow: [origin] })(new URL(origin), never)
    expect([response.status, await text(response)]).toEqual([200, 'hello'])
  })

  it('never connects to a loopback alias beside the allowed origin', async () => {
    const allowed = await serve(hello)
    const victim = await serve(hello, '127.0.0.2')
    const failure = get({ allow: [allowed.origin] })(new URL(victim.origin), never)
    await expect(failure).rejects.toMatchObject({ code: 'refused_address', final: true })
    expect(victim.connections()).toBe(0)
  })

  it('never connects to another port of the allowed host', async () => {
    const [allowed, victim] = [await serve(hello), await serve(hello)]
    await expect(
      get({ allow: [allowed.origin] })(new URL(victim.origin), never),
    ).rejects.toMatchObject(REFUSED)
    expect(victim.connections()).toBe(0)
  })

  it('never connects to IPv6 loopback', async () => {
    const victim = await serve(hello, '::1')
    await expect(get()(new URL(victim.origin), never)).rejects.toMatchObject(REFUSED)
    expect(victim.connections()).toBe(0)
  })

  it.each([
    '127.1',
    '127.0.1',
    '2130706433',
    '017700000001',
    '0x7f000001',
    '0x7f.0.0.1',
    '0177.0.0.1',
    '127.0.0.1.',
    '①②⑦.0.0.1',
    '１２７.０.０.１',
    '127。0。0。1',
    '%31%32%37.0.0.1',
    '0',
    '0.0.0.0',
    '[::]',
    '[::ffff:127.0.0.1]',
    '[::7f00:1]',
    '[::ffff:0:7f00:1]',
    '[64:ff9b::7f00:1]',
  ])('sees through %s, another spelling of loopback', async (host) => {
    const victim = await serve(hello)
    await expect(get()(new URL(`http://${host}:${victim.port}/`), never)).rejects.toMatchObject(
      REFUSED,
    )
    expect(victim.connections()).toBe(0)
  })

  it.each([
    'http://169.254.169.254/latest/meta-data/',
    'http://100.100.100.200/latest/meta-data/',
    'http://192.0.0.192/opc/v2/',
    'https://168.63.129.16/',
    'http://[fd00:ec2::254]/',
    'http://[fd20:ce::254]/',
  ])('refuses the metadata service at %s', async (url) => {
    await expect(get()(new URL(url), never)).rejects.toMatchObject(REFUSED)
  })

  it('drops a connection whose other end turns out to be private', async () => {
    const { port } = await serve(hello)
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    expect(judged(socket)).toMatchObject(REFUSED)
    expect(socket.destroyed).toBe(true)
  })

  it('calls a connection that is gone before it was judged unreachable, to be tried again', () => {
    expect(judged(connect({ port: 1, host: '127.0.0.1' }).destroy())).toMatchObject({
      code: 'unreachable',
      final: false,
    })
  })
})

function judged(socket: Socket) {
  let failure: Error | null = null
  judgePeer(socket, isPublicUnicast, (...[error]) => {
    failure = error
  })
  return failure as ImageFailure | null
}
