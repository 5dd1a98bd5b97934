import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { clientAddresses } from '../../../src/http/plumbing/client-address.ts'

const PROXIES = ['10.0.0.0/8', '192.0.2.7', '2001:db8:ffff::/48', '::ffff:172.16.0.0/108']
const clientOf = clientAddresses(PROXIES)

describe('A client', () => {
  it.each<[string, string | null, string | undefined, string]>([
    ['is the peer', '203.0.113.9', undefined, '203.0.113.9'],
    [
      'is the peer, whatever a peer that nobody trusts claims',
      '203.0.113.9',
      '198.51.100.1',
      '203.0.113.9',
    ],
    ['is whom a trusted proxy names', '10.1.2.3', '198.51.100.1', '198.51.100.1'],
    ['is whom a single trusted address names', '192.0.2.7', '198.51.100.1', '198.51.100.1'],
    ['is the neighbour of a trusted address itself', '192.0.2.8', '198.51.100.1', '192.0.2.8'],
    [
      'is the last one named, since the others may be made up',
      '10.1.2.3',
      '1.1.1.1, 198.51.100.1',
      '198.51.100.1',
    ],
    [
      'is found behind several trusted proxies',
      '10.1.2.3',
      '1.1.1.1, 198.51.100.1,10.9.9.9,192.0.2.7',
      '198.51.100.1',
    ],
    ['is the first proxy where all are trusted', '10.1.2.3', '10.0.0.2, 10.0.0.3', '10.0.0.2'],
    [
      'is IPv4 also where a socket reports it inside IPv6',
      '::ffff:203.0.113.9',
      undefined,
      '203.0.113.9',
    ],
    [
      'is behind a proxy that is reported inside IPv6',
      '::ffff:10.1.2.3',
      '198.51.100.1',
      '198.51.100.1',
    ],
    [
      'is behind a proxy whose network is written inside IPv6',
      '172.16.9.9',
      '198.51.100.1',
      '198.51.100.1',
    ],
    ['is just outside that network', '172.32.9.9', '198.51.100.1', '172.32.9.9'],
    ['is named with a port', '10.1.2.3', '198.51.100.1:4711', '198.51.100.1'],
    ['is its /64 in IPv6', '2001:db8:1:2:3:4:5:6', undefined, '2001:db8:1:2::/64'],
    [
      'is its /64, however it is spelled',
      '10.1.2.3',
      '[2001:DB8:1:2:0::9]:4711',
      '2001:db8:1:2::/64',
    ],
    ['is the proxy that passed on what is no address', '10.1.2.3', 'unknown', '10.1.2.3'],
    [
      'is the last proxy before what is no address',
      '10.1.2.3',
      '1.1.1.1, _hidden, 10.0.0.3',
      '10.0.0.3',
    ],
    ['is the proxy where an entry is empty', '10.1.2.3', '198.51.100.1,', '10.1.2.3'],
    ['is the proxy where an address is spelled oddly', '10.1.2.3', '0xc6.51.100.1', '10.1.2.3'],
    ['is unknown where the runtime does not tell', null, '198.51.100.1', 'unknown'],
    ['is unknown where the peer is no address', 'a socket', '198.51.100.1', 'unknown'],
  ])('%s: %s, %s', (_what, peer, forwardedFor, expected) => {
    expect(clientOf(peer, forwardedFor)).toBe(expected)
  })

  it('is never the forwarded one while no proxy is trusted', () => {
    expect(clientAddresses([])('127.0.0.1', '198.51.100.1')).toBe('127.0.0.1')
  })

  it('is the same for every address of an IPv6 /64, and another beside it', () => {
    const hosts = fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 4, maxLength: 4 })
    fc.assert(
      fc.property(hosts, (parts) => {
        const host = parts.map((part) => part.toString(16)).join(':')
        expect(clientOf(`2400:cb00:1:2:${host}`, undefined)).toBe('2400:cb00:1:2::/64')
        expect(clientOf(`2400:cb00:1:3:${host}`, undefined)).toBe('2400:cb00:1:3::/64')
      }),
    )
  })

  it('is some address, whatever a header says', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (header) => {
        expect(clientOf('10.1.2.3', header)).toMatch(/^[\d.]+$|::\/64$|^[\da-f:]+\/64$/u)
      }),
    )
  })
})
