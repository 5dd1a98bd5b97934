import ipaddr from 'ipaddr.js'

// IANA has allocated global unicast from 2000::/3 alone (RFC 4291, section 2.4). Without this
// ipaddr.js calls ::7f00:1, the deprecated IPv4-compatible 127.0.0.1, plain unicast.
const GLOBAL_UNICAST: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('2000::'), 3]

// Azure's wire server: a public number that answers only inside a virtual machine, with its
// secrets.
const AZURE_WIRE_SERVER = '168.63.129.16'

/**
 * Whether `address` is one that only the public internet answers at. It must be written plainly:
 * four decimal numbers without leading zeros, or IPv6 without a zone and without IPv4 inside it
 * (mapped, compatible, NAT64, 6to4, Teredo, ISATAP: RFC 4291, 6052, 3056, 4380, 5214). Anything
 * else, and any name, is not public. NAT64 under a prefix of the network's own, and 6rd, cannot be
 * told from ordinary addresses.
 */
export function isPublicUnicast(address: string): boolean {
  if (ipaddr.IPv4.isValidFourPartDecimal(address)) return isPublicIPv4(address)
  return ipaddr.IPv6.isValid(address) && isPublicIPv6(ipaddr.IPv6.parse(address))
}

function isPublicIPv4(address: string) {
  return ipaddr.IPv4.parse(address).range() === 'unicast' && address !== AZURE_WIRE_SERVER
}

function isPublicIPv6(address: ipaddr.IPv6) {
  return (
    address.zoneId === undefined &&
    address.match(GLOBAL_UNICAST) &&
    address.range() === 'unicast' &&
    !isIsatap(address)
  )
}

/**
 * RFC 5214, section 6.1: the interface is 0000:5efe and an IPv4 address, with any universal and
 * group bits.
 */
function isIsatap({ parts }: ipaddr.IPv6) {
  const [, , , , flags = 0, label] = parts
  return (flags & ~0x0300) === 0 && label === 0x5efe
}
