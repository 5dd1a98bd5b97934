/** A name that stands for nothing but itself is shorter: this may be a secret without one. */
const LONGEST_NAME = 32
/** Fewer characters prove no right to anything. */
const SHORTEST_SECRET = 16
const NAMES_OF_SECRETS =
  /sign?(?:ature)?$|token|secret|hmac|hash|md5|^hm$|^hdn|auth|pass|key|credential|policy/iu

const parts = (url: string) => /^([^?#]*)(\?[^#]*)?(#.*)?$/su.exec(url) ?? []

/**
 * The URL as it may be shown: without userinfo, and with `***` for each value in its query, because
 * any of them may prove a right to read. Every other byte stays. Works on text, so that what is no
 * URL is redacted as far as it looks like one. Never throws.
 */
export function redactUrl(url: string): string {
  const [, beforeQuery = '', query = '', fragment = ''] = parts(url)
  return withoutUserinfo(beforeQuery) + query.replace(/[^&]+/gu, redactPair) + fragment
}

/** A value may hold further question marks; the one of the query stands before the first pair. */
function redactPair(pair: string) {
  const equals = pair.indexOf('=')
  if (equals >= 0) return `${pair.slice(0, equals)}=***`
  return pair.length > LONGEST_NAME ? pair.replace(/^(\??).*$/su, '$1***') : pair
}

/** The same of every link in a text, wherever somebody's words repeat it. */
export const redactUrlsInText = (text: string) =>
  text.replace(/https?:[^\s"'<>]+/giu, (url) => redactUrl(url))

/** Whether something of its query was put out by `redactUrl`, or by what came before it. */
export const isRedacted = (url: string) => /[?&](?:[^=&#]*=)?\*\*\*(?:&|#|$)/u.test(url)

/**
 * What may be remembered of a link to a picture that is lost. One that is signed is of no use any
 * more, and is redacted; any other may work again one day, when somebody asks for a retry.
 */
export function withoutSecrets(url: string): string {
  const [, beforeQuery = '', query = '', fragment = ''] = parts(url)
  const mayBeSigned = [...new URLSearchParams(query)].some(
    ([name, value]) =>
      NAMES_OF_SECRETS.test(name) || Math.max(name.length, value.length) >= SHORTEST_SECRET,
  )
  return mayBeSigned ? redactUrl(url) : withoutUserinfo(beforeQuery) + query + fragment
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
