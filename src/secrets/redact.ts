import { remembered } from './remember.ts'

/** Shorter secrets would be found in any text by what base64 makes of them. */
const LEAST_ENCODED_CHARACTERS = 16

/**
 * A secret as it can stand in text: plain, in JSON with or without escaped slashes,
 * percent-encoded, encoded whole.
 */
function spellings(secret: string) {
  const inJson = JSON.stringify(secret).slice(1, -1)
  const encoded = secret.length < LEAST_ENCODED_CHARACTERS ? [] : encodings(secret)
  return [
    secret,
    secret.toUpperCase(),
    inJson,
    inJson.replaceAll('/', '\\/'),
    encodeURIComponent(secret),
    ...encoded,
  ]
}

/**
 * In hex, and in base64 wherever it may begin among groups of three bytes: the digits that are all
 * its own.
 */
function encodings(secret: string) {
  const bytes = Buffer.from(secret, 'latin1')
  const hex = bytes.toString('hex')
  const base64 = [0, 1, 2].map((before) => {
    const digits = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64url')
    return digits.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6))
  })
  return [
    hex,
    hex.toUpperCase(),
    ...base64,
    ...base64.map((url) => url.replaceAll('-', '+').replaceAll('_', '/')),
  ]
}

/** The longest first: one may begin with another. */
const spellingsOf = (secrets: readonly string[]) =>
  [...new Set(secrets.filter(Boolean).flatMap(spellings))].toSorted((a, b) => b.length - a.length)

/**
 * A letter or a digit that was escaped although nothing asks for it: `%61`, `%2561`, `\u0061`,
 * `\x61`, `&#97;`.
 */
const ODD_ESCAPE = /%(?:25)*[2-7][0-9a-f]|\\u00|\\x|&#/iu

/** Each character of the secret in any of those ways. */
function oddSpelling(secret: string) {
  const characters = Array.from(secret, (character) => {
    const code = character.charCodeAt(0)
    const hex = code.toString(16).padStart(2, '0')
    const literal = character.replace(/[\\^$.*+?()[\]{}|/]/u, '\\$&')
    const escaped = `%(?:25)*${hex}|\\\\+u00${hex}|\\\\+x${hex}|&#0*${code};|&#x0*${hex};`
    return code > 255 ? literal : `(?:\\\\*${literal}|${escaped})`
  })
  return new RegExp(characters.join(''), 'giu')
}

/**
 * A secret that no spelling but the odd ones makes shorter, or gives other characters than those of
 * base64.
 */
const PLAIN_SECRET = /^[\w-]{16,}$/u
const isRunCharacter = Array.from({ length: 128 }, (_, code) =>
  /[\w+/-]/u.test(String.fromCharCode(code)),
)

/** Whether so many of those characters stand in a row; looks at few of the others. */
function hasRun(text: string, length: number) {
  for (let end = length - 1; end < text.length;) {
    let start = end
    while (start > end - length && isRunCharacter[text.charCodeAt(start)]) start--
    if (start === end - length) return true
    end = start + length
  }
  return false
}

const redactors = remembered((joined) => {
  const secrets = joined.split('\n')
  const arePlain = secrets.every((secret) => PLAIN_SECRET.test(secret))
  const shortest = Math.min(...secrets.map(({ length }) => length))
  let spelled: string[] | undefined
  let odd: RegExp[] | undefined
  return (text: string) => {
    if (arePlain && !hasRun(text, shortest) && !ODD_ESCAPE.test(text)) return text
    spelled ??= spellingsOf(secrets)
    const redacted = spelled.reduce((rest, secret) => rest.replaceAll(secret, '***'), text)
    if (!ODD_ESCAPE.test(redacted)) return redacted
    odd ??= secrets.filter(Boolean).map(oddSpelling)
    return odd.reduce((rest, secret) => rest.replace(secret, '***'), redacted)
  }
})

/** No secret has a line break in it. */
const redactorOf = (secrets: readonly string[]) => redactors(secrets.join('\n'))

/** Replaces every spelling of each secret by `***`. */
export const redact = (text: string, secrets: readonly string[]) => redactorOf(secrets)(text)

/**
 * The same on bytes, whatever their encoding: each byte is taken as one character. `cut`: they went
 * on.
 */
export function redactBytes(
  bytes: Uint8Array,
  secrets: readonly string[],
  { cut }: { cut: boolean },
) {
  const asBytes = secrets.map((secret) => Buffer.from(secret, 'utf8').toString('latin1'))
  const text = redact(
    Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1'),
    asBytes,
  )
  return Buffer.from(cut ? withoutCutSecret(text, asBytes) : text, 'latin1')
}

/** Fewer characters of a secret tell nothing. */
const TELLING_CHARACTERS = 8

/**
 * What was cut may end in the beginning of a secret, with too little missing to be hard to guess.
 */
function withoutCutSecret(text: string, secrets: readonly string[]) {
  for (const secret of spellingsOf(secrets))
    for (let length = secret.length - 1; length >= TELLING_CHARACTERS; length--)
      if (text.endsWith(secret.slice(0, length))) return `${text.slice(0, -length)}***`
  return text
}

/**
 * The same on the texts in a JSON value; numbers and its shape stay. Most hold nothing of it, and
 * stay the very same.
 */
export function redactJson<T>(value: T, secrets: readonly string[]): T {
  const clean = redactorOf(secrets)
  const text = JSON.stringify(value)
  return clean(text) === text ? value : (walk(value) as T)

  function walk(json: unknown): unknown {
    if (typeof json === 'string') return clean(json)
    if (Array.isArray(json)) return json.map(walk)
    if (typeof json !== 'object' || json === null) return json
    return Object.fromEntries(
      Object.entries(json).map(([name, inner]) => [clean(name), walk(inner)]),
    )
  }
}
