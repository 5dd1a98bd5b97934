import ipaddr from 'ipaddr.js'

type Address = ipaddr.IPv4 | ipaddr.IPv6
type Network = [Address, number]

/** Where the runtime does not tell the peer's address, all clients are one. */
const NOBODY_KNOWS = 'unknown'

/**
 * Tells clients apart. A client is the peer, or where that is a trusted proxy the rightmost entry
 * of `X-Forwarded-For` that is none: whatever stands left of it may be made up by the client. An
 * entry that is no address ends the search at the proxy that passed it on. An IPv6 client is its
 * /64, which is what one customer is given at least.
 */
export function clientAddresses(trustedProxies: readonly string[]) {
  const networks = trustedProxies.map(networkOf)
  const isTrusted = (address: Address) => networks.some((network) => contains(network, address))

  return (peer: string | null, forwardedFor: string | undefined) => {
    let nearest = peer === null ? null : addressOf(peer)
    if (!nearest) return NOBODY_KNOWS
    for (const entry of forwardedFor?.split(',').toReversed() ?? []) {
      if (!isTrusted(nearest)) break
      const before = addressOf(withoutPort(entry.trim()))
      if (!before) break
      nearest = before
    }
    return clientOf(nearest)
  }
}

/**
 * IPv4 inside of IPv6 is IPv4, as a socket that listens on both reports it. Null: no address, or an
 * odd spelling of one.
 */
function addressOf(text: string): Address | null {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text)
  return ipaddr.IPv6.isValid(text) ? ipaddr.process(text) : null
}

/** Some proxies add the port: `192.0.2.1:4711`, `[2001:db8::1]:4711`. */
const withoutPort = (entry: string) =>
  /^\[([^\]]+)\](?::\d+)?$/u.exec(entry)?.[1] ?? /^([\d.]+):\d+$/u.exec(entry)?.[1] ?? entry

const clientOf = (address: Address) =>
  address instanceof ipaddr.IPv4
    ? address.toString()
    : `${new ipaddr.IPv6([...address.parts.slice(0, 4), 0, 0, 0, 0]).toString()}/64`

const contains = ([network, bits]: Network, address: Address) =>
  network.kind() === address.kind() && address.match(network, bits)

function networkOf(text: string): Network {
  const [address, bits] = text.includes('/')
    ? ipaddr.parseCIDR(text)
    : ([ipaddr.process(text), ipaddr.process(text).kind() === 'ipv4' ? 32 : 128] as Network)
  const isMapped = address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress() && bits >= 96
  return isMapped ? [address.toIPv4Address(), bits - 96] : [address, bits]
}
