import { describe, expect, it } from 'vitest'
import { isPublicUnicast } from '../../src/net/address.ts'

const REFUSED: Record<string, string[]> = {
  'this network': ['0.0.0.0', '0.255.255.255'],
  'private networks': [
    '10.0.0.0',
    '10.255.255.255',
    '172.16.0.0',
    '172.31.255.255',
    '192.168.0.0',
    '192.168.255.255',
  ],
  'carrier-grade NAT, where Alibaba keeps its metadata': [
    '100.64.0.0',
    '100.64.0.1',
    '100.100.100.200',
    '100.127.255.255',
  ],
  'IPv4 loopback': ['127.0.0.0', '127.0.0.1', '127.0.0.2', '127.255.255.255'],
  'link-local, where the clouds keep their metadata': [
    '169.254.0.0',
    '169.254.169.254',
    '169.254.255.255',
  ],
  "Azure's wire server": ['168.63.129.16'],
  'metadata and credentials of more clouds': [
    '169.254.170.2',
    '169.254.170.23',
    '169.254.0.23',
    '169.254.42.42',
    '100.100.100.100',
    'fd00:ec2::23',
    'fd00:42::42',
    'fe80::a9fe:a9fe',
  ],
  'protocol assignments, where Oracle keeps its metadata': [
    '192.0.0.0',
    '192.0.0.8',
    '192.0.0.170',
    '192.0.0.192',
    '192.0.0.255',
  ],
  documentation: [
    '192.0.2.0',
    '192.0.2.255',
    '198.51.100.0',
    '198.51.100.255',
    '203.0.113.0',
    '203.0.113.255',
  ],
  '6to4 relays': ['192.88.99.0', '192.88.99.255'],
  'AS112 and AMT': ['192.31.196.1', '192.52.193.1', '192.175.48.1'],
  benchmarking: ['198.18.0.0', '198.19.255.255'],
  multicast: ['224.0.0.0', '239.255.255.255'],
  'reserved and broadcast': ['240.0.0.0', '255.255.255.254', '255.255.255.255'],
  'unspecified and loopback': ['::', '::1', '0:0:0:0:0:0:0:1', '::0001'],
  'IPv4-mapped, of private and of public': [
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '::ffff:a9fe:a9fe',
    '::ffff:a83f:8110',
    '0:0:0:0:0:ffff:10.0.0.1',
    '::ffff:0.0.0.0',
    '::ffff:8.8.8.8',
    '::FFFF:808:808',
  ],
  'IPv4-compatible': ['::127.0.0.1', '::7f00:1', '::a9fe:a9fe', '::8.8.8.8', '::808:808'],
  SIIT: ['::ffff:0:127.0.0.1', '::ffff:0:7f00:1', '::ffff:0:a9fe:a9fe', '::ffff:0:808:808'],
  NAT64: [
    '64:ff9b::127.0.0.1',
    '64:ff9b::7f00:1',
    '64:ff9b::a9fe:a9fe',
    '64:ff9b::10.0.0.1',
    '64:ff9b::808:808',
  ],
  'local-use NAT64': ['64:ff9b:1::', '64:ff9b:1::7f00:1', '64:ff9b:1:ffff:ffff:ffff:ffff:ffff'],
  '6to4': [
    '2002::',
    '2002:7f00:1::',
    '2002:a9fe:a9fe::1',
    '2002:a00:1::',
    '2002:808:808::1',
    '2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
  ],
  Teredo: [
    '2001::',
    '2001:0:4136:e378:8000:63bf:3fff:fdd2',
    '2001:0:ffff:ffff:ffff:ffff:ffff:ffff',
  ],
  ISATAP: [
    '2606:4700::5efe:7f00:1',
    '2606:4700::200:5efe:7f00:1',
    '2606:4700::5efe:127.0.0.1',
    '2606::300:5efe:1:1',
  ],
  'unique local, with the metadata of AWS and Google': [
    'fc00::',
    'fd00:ec2::254',
    'fd20:ce::254',
    'fdff::ffff',
  ],
  'IPv6 link-local': ['fe80::', 'fe80::1', 'fe80::1%eth0', 'febf:ffff::'],
  'site-local': ['fec0::', 'feff:ffff::1'],
  'IPv6 multicast': ['ff00::', 'ff02::1', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  discard: ['100::', '100::ffff:ffff:ffff:ffff', '100:0:0:1::'],
  'IETF assignments and ORCHID': [
    '2001:1::1',
    '2001:2::',
    '2001:3::1',
    '2001:4:112::1',
    '2001:10::',
    '2001:20::',
    '2001:1ff::',
  ],
  'IPv6 documentation': ['2001:db8::', '2001:db8:ffff:ffff::1', '3fff::', '3fff:fff:ffff::1'],
  'IPv6 AS112': ['2620:4f:8000::1'],
  'segment routing': ['5f00::1'],
  'never allocated': ['1fff:ffff::1', '4000::', '8000::1', 'e000::1', '200::1'],
  'a zone': ['2606:4700::1111%eth0', '2606:4700::1111%1', '2606:4700::1111%25lo', '::1%lo'],
  'odd spellings': [
    '127.1',
    '2130706433',
    '0x7f000001',
    '0177.0.0.1',
    '010.8.8.8',
    '8.8',
    '134744072',
    '8.8.8.8.',
    ' 8.8.8.8',
    '８.８.８.８',
    '0x8.0x8.0x8.0x8',
    '08.8.8.8',
    '8.8.8.08',
    '+8.8.8.8',
    '8.8.8.-8',
    '4294967304',
    '2606:4700:0:0:0:0:0:0:1111',
    '2606:4700::1111::1',
  ],
  'what is no address': [
    '',
    'localhost',
    'example.com',
    '[2606:4700::1111]',
    '1.2.3.4.5',
    '256.1.1.1',
    '8.8.8.8/32',
    ':::',
  ],
}

// The first and last address outside a range, where they are public.
const ALLOWED: Record<string, string[]> = {
  'around this network and 10/8': ['1.0.0.0', '9.255.255.255', '11.0.0.0'],
  'around carrier-grade NAT': ['100.63.255.255', '100.128.0.0'],
  'around loopback': ['126.255.255.255', '128.0.0.0'],
  "around Azure's wire server": ['168.63.129.15', '168.63.129.17'],
  'around link-local': ['169.253.255.255', '169.255.0.0'],
  'around 172.16/12': ['172.15.255.255', '172.32.0.0'],
  'around protocol assignments and documentation': [
    '191.255.255.255',
    '192.0.1.0',
    '192.0.1.255',
    '192.0.3.0',
  ],
  'around 6to4 relays': ['192.88.98.255', '192.88.100.0'],
  'around 192.168/16': ['192.167.255.255', '192.169.0.0'],
  'around benchmarking': ['198.17.255.255', '198.20.0.0'],
  'around more documentation': ['198.51.99.255', '198.51.101.0', '203.0.112.255', '203.0.114.0'],
  'before multicast': ['223.255.255.255'],
  'public resolvers': ['1.1.1.1', '9.9.9.9', '223.5.5.5', '2001:4860:4860::8888', '2620:fe::fe'],
  'ordinary hosts': [
    '8.8.8.8',
    '93.184.216.34',
    '104.16.0.1',
    '2606:4700::1111',
    '2a00:1450:4001:81b::200e',
  ],
  'the ends of global unicast': ['2000::1', '3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  'around IETF assignments': ['2000:ffff:ffff::1', '2001:200::'],
  'around IPv6 documentation': ['2001:db7:ffff::1', '2001:db9::', '3fff:1000::'],
  'around 6to4': ['2001:ffff:ffff::1', '2003::'],
  'around IPv6 AS112': ['2620:4f:7fff::1', '2620:4f:8001::'],
  'near ISATAP': ['2606:4700::400:5efe:7f00:1', '2606:4700::5eff:7f00:1', '2606:4700::5efe:1'],
}

describe('isPublicUnicast', () => {
  it('is asked about at least 200 addresses, none of them twice', () => {
    const vectors = [...rows(REFUSED), ...rows(ALLOWED)].map(([, address]) => address)
    expect(vectors.length).toBeGreaterThanOrEqual(200)
    expect(new Set(vectors).size).toBe(vectors.length)
  })

  it.each(rows(REFUSED))('refuses %s: %s', (_, address) => {
    expect(isPublicUnicast(address)).toBe(false)
  })

  it.each(rows(ALLOWED))('allows %s: %s', (_, address) => {
    expect(isPublicUnicast(address)).toBe(true)
  })
})

function rows(table: Record<string, string[]>) {
  return Object.entries(table).flatMap(([name, addresses]) =>
    addresses.map((address) => [name, address] as const),
  )
}
