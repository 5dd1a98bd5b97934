const SECRETS = new Set([
  'x-amz-signature',
  'x-amz-credential',
  'x-amz-security-token',
  'signature',
  'sig',
  'token',
])

/**
 * The URL without userinfo, and with `***` for each value in its query that proves a right to read.
 * Every other byte stays. Works on text, so that what is no URL is redacted as far as it looks like
 * one. Never throws.
 */
export function redactUrl(url: string): string {
  const [, beforeQuery = '', query = '', fragment = ''] =
    /^([^?#]*)(\?[^#]*)?(#.*)?$/s.exec(url) ?? []
  return withoutUserinfo(beforeQuery) + query.replace(/[^?&]+/g, redactPair) + fragment
}

/**
 * Before the authority any number of slashes of either kind is read as two, none as well (WHATWG
 * URL, section 4.4).
 */
function withoutUserinfo(beforeQuery: string) {
  const [prefix] = /^[^/\\@]*:[/\\]+|^[/\\]+|^[^/\\@:]*:/.exec(beforeQuery) ?? ['']
  const rest = beforeQuery.slice(prefix.length)
  const [authority] = rest.split(/[/\\]/, 1) as [string]
  return prefix + rest.slice(authority.lastIndexOf('@') + 1)
}

function redactPair(pair: string) {
  const equals = pair.indexOf('=')
  if (equals < 0 || !SECRETS.has(nameOf(pair))) return pair
  return `${pair.slice(0, equals)}=***`
}

/**
 * As a server reads it: percent-decoded, and without the tabs and line ends that URL parsing drops.
 */
function nameOf(pair: string) {
  const [name = ''] = new URLSearchParams(pair.replace(/[\t\r\n]/g, '')).keys()
  return name.toLowerCase()
}
