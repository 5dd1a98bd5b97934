import { isPicture } from './inspect.ts'

/** Quotes, a type, names and braces of JSON: as far as what stands before the digits may reach. */
const WRAPPING_CHARACTERS = 4096
/** Enough to know a picture by, in however short lines. */
const HEAD_CHARACTERS = 256
/** JSON may escape each slash, one digit of 64: 25 MiB have 400,000. */
const MOST_ESCAPES = 500_000

/** Of both alphabets of RFC 4648. */
const DIGIT = /[A-Za-z0-9+/\-_]/u
const NO_DIGIT = /[^A-Za-z0-9+/\-_\s]/gu
/** As JSON and URLs write what they do not like: `\/`, `\n`, `\u002B`, `%2B`. */
const ESCAPE = /(?:\\u00|%)([0-9a-f]{2})|\\([nrt/])/iuy

/**
 * The picture in what a link showed. Links that end in `.base64` hold base64 text: plain, or in
 * whatever a writer puts around it, such as `data:`, quotes or JSON. It is read from the first place
 * where its digits make a picture; where there is none, the bytes are returned as they came.
 */
export function pictureBytes(url: string, bytes: Uint8Array): Uint8Array {
  if (!/\.base64$/iu.test(new URL(url).pathname) || isPicture(bytes)) return bytes
  const text = textOf(bytes)
  const start = startOf(text.slice(0, WRAPPING_CHARACTERS + HEAD_CHARACTERS))
  return start < 0 ? bytes : decoded(text.slice(start))
}

/** Of UTF-16 one byte in two is zero; all else that matters here is ASCII. */
function textOf(bytes: Uint8Array) {
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const zero = all.subarray(0, 4).indexOf(0)
  if (zero < 0) return all.toString('latin1')
  const even = all.subarray(0, all.length & ~1)
  return (zero % 2 === 1 ? even : Buffer.from(even).swap16()).toString('utf16le')
}

function startOf(head: string) {
  let isInside = false
  for (let at = 0; at < Math.min(head.length, WRAPPING_CHARACTERS); at++) {
    const isDigit = DIGIT.test(head.charAt(at))
    const mayBegin = !isInside && (isDigit || '\\%'.includes(head.charAt(at)))
    if (mayBegin && isPicture(decoded(head.slice(at, at + HEAD_CHARACTERS)))) return at
    isInside = isDigit
  }
  return -1
}

/** What the digits say, up to the first character that cannot stand between them. */
function decoded(text: string) {
  const parts: string[] = []
  let from = 0
  while (parts.length < 2 * MOST_ESCAPES) {
    NO_DIGIT.lastIndex = from
    const end = NO_DIGIT.exec(text)?.index ?? text.length
    parts.push(text.slice(from, end))
    ESCAPE.lastIndex = end
    const [escape, code, letter] = ESCAPE.exec(text) ?? []
    const character = code ? String.fromCharCode(Number.parseInt(code, 16)) : letter
    if (escape === undefined || character === '=') break
    // A line end says nothing.
    parts.push(character === '/' || code ? (character ?? '') : '')
    from = end + escape.length
  }
  return new Uint8Array(Buffer.from(parts.join(''), 'base64'))
}
