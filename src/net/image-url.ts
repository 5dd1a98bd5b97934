import ipaddr from 'ipaddr.js'
import { ImageFailure } from '../errors.ts'
import { isPublicUnicast } from './address.ts'

// Signed links with a security token stay under 2 KiB; the rest is room.
const MAX_URL_CHARACTERS = 4096
// RFC 1035, section 2.3.4: what is longer has no address, and what is asked of a resolver should at
// least be a name.
const MAX_HOST_CHARACTERS = 253
const MAX_LABEL_CHARACTERS = 63

export interface UrlPolicy {
  /**
   * Exact origins, such as `http://127.0.0.1:9101`, that may be reached over http, at any port and
   * any address.
   */
  allowedPrivateOrigins: ReadonlySet<string>
  /**
   * Host suffixes in ASCII, matched by whole labels; none means any host. They hold for the private
   * origins too.
   */
  imageHosts: readonly string[]
  /**
   * The origin under which others reach us. No download may ask for it, whatever else allows it.
   */
  ownOrigin: string
}

/**
 * The URL, without its fragment, if a download may ask for it; `base` is what a relative one is
 * resolved against. Throws ImageFailure `refused_url` or `refused_address`, both final, and never
 * repeats what it was given but the origin.
 */
export function judgeUrl(raw: string, policy: UrlPolicy, base?: URL): URL {
  if (raw.length > MAX_URL_CHARACTERS)
    throw refusedUrl(`A URL of more than ${MAX_URL_CHARACTERS} characters.`)
  if (!URL.canParse(raw, base?.href)) throw refusedUrl('Not a URL.')
  const url = new URL(raw, base)
  if (url.href.length > MAX_URL_CHARACTERS)
    throw refusedUrl(`A URL of more than ${MAX_URL_CHARACTERS} characters.`)
  judgeForm(url)
  if (isOurs(url, new URL(policy.ownOrigin))) throw refusedUrl('This is our own address.')
  if (!isListed(url.hostname, policy.imageHosts))
    throw refusedUrl(`${url.hostname} is not among the image hosts.`)
  if (!policy.allowedPrivateOrigins.has(url.origin)) judgePublic(url)
  url.hash = ''
  return url
}

function judgeForm(url: URL) {
  // A blob: URL reports the origin inside it, so the scheme is judged before any origin is
  // believed.
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw refusedUrl('The scheme is not https.')
  if (url.username !== '' || url.password !== '')
    throw refusedUrl('The URL carries a user name or a password.')
  if (!isHostName(url.hostname.replace(/\.$/, '')))
    throw refusedUrl('The host is no name that can have an address.')
}

function isHostName(host: string) {
  const hasLabels = host
    .split('.')
    .every(({ length }) => length > 0 && length <= MAX_LABEL_CHARACTERS)
  return hasLabels && host.length <= MAX_HOST_CHARACTERS
}

function isOurs({ hostname, port }: URL, own: URL) {
  return plain(hostname) === plain(own.hostname) && port === own.port
}

function judgePublic(url: URL) {
  const unlisted = `${url.origin} is not among ALLOWED_PRIVATE_ORIGINS`
  if (url.protocol !== 'https:') throw refusedUrl(`The scheme is not https, and ${unlisted}.`)
  if (url.port !== '') throw refusedUrl(`Port ${url.port} is not 443, and ${unlisted}.`)
  const literal = literalAddress(url.hostname)
  if (literal !== null && !isPublicUnicast(literal)) {
    const message = `${literal} is not a public address, and ${unlisted}.`
    throw new ImageFailure('refused_address', message, { final: true })
  }
}

/**
 * URL parsing has made every spelling of an IPv4 address (hex, octal, one number) into the plain
 * one.
 */
function literalAddress(hostname: string) {
  if (hostname.startsWith('[')) return hostname.slice(1, -1)
  return ipaddr.IPv4.isValidFourPartDecimal(hostname) ? hostname : null
}

function isListed(hostname: string, suffixes: readonly string[]) {
  if (suffixes.length === 0) return true
  const host = plain(hostname)
  return suffixes.map(plain).some((suffix) => host === suffix || host.endsWith(`.${suffix}`))
}

function plain(host: string) {
  return host.toLowerCase().replace(/^\./, '').replace(/\.$/, '')
}

function refusedUrl(message: string) {
  return new ImageFailure('refused_url', message, { final: true })
}
