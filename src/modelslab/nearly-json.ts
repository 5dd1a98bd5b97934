import { parseExactly } from '../model/exact-json.ts'

/** JSON.parse takes any depth; whatever walks the value afterwards would run out of stack. */
export const MOST_LEVELS = 100

const isShallow = (value: unknown, levels: number): boolean =>
  typeof value !== 'object' ||
  value === null ||
  (levels > 0 && Object.values(value).every((inner) => isShallow(inner, levels - 1)))

/**
 * What a text of the provider's says in JSON, or in what was meant to be JSON; undefined where it
 * says nothing so, or is nested as only an attack would nest it. Numbers that would be rounded are
 * texts.
 */
export function parseJson(text: string): unknown {
  const value = parsed(text.replace(/^\uFEFF/u, ''), String) ?? parsed(meant(text), String)
  return isShallow(value, MOST_LEVELS) ? value : undefined
}

function parsed(text: string, digits: (digits: string) => string): unknown {
  try {
    return parseExactly(text, digits)
  } catch {
    return undefined
  }
}

/** A text without end goes to the end, so that nothing is looked at twice. */
const quotedBy = (quote: string) =>
  `${quote}[^${quote}\\\\]*(?:\\\\[^][^${quote}\\\\]*)*(?:${quote}|\\\\?$)`

/** A text in quotes of either kind; a word, number or anything else without; a comma too many. */
const TOKENS = new RegExp(
  `(${quotedBy('"')}|${quotedBy("'")})|([^\\s"'{}[\\]:,]+)(?=\\s*(:?))|,(?=\\s*[\\]}])`,
  'gu',
)

/**
 * Nearly JSON, spelled as JSON: Python's words and quotes, numbers as other languages write them,
 * NaN, bare names, commas too many, line breaks in texts, and words around the whole.
 */
function meant(text: string) {
  return inside(text).replace(
    TOKENS,
    (_token, quoted: string | undefined, word: string | undefined, colon: string | undefined) => {
      if (quoted !== undefined) return textAsMeant(quoted.slice(1, -1))
      if (word === undefined) return ''
      return colon ? JSON.stringify(word) : wordAsMeant(word)
    },
  )
}

/** Without what stands before and behind it; a page has JSON of its own, which is no answer. */
function inside(text: string) {
  if (/^\s*\{/u.test(text)) return text.slice(0, text.lastIndexOf('}') + 1)
  if (/^\s*[<["']/u.test(text)) return text
  const isForm = /^[\w.-]+=%7B/iu.test(text)
  const whole = isForm ? ([...new URLSearchParams(text).values()][0] ?? '') : text
  return whole.slice(whole.indexOf('{'), whole.lastIndexOf('}') + 1)
}

/** Escapes that JSON has, those that it has not, and what it wants escaped. */
const IN_TEXT = /\\(?:u[\da-fA-F]{4}|["\\/bfnrt])|\\([^])|["\p{Cc}]/gu

const textAsMeant = (text: string) =>
  `"${text.replace(IN_TEXT, (piece, odd?: string) =>
    odd === undefined && piece.length > 1 ? piece : JSON.stringify(odd ?? piece).slice(1, -1),
  )}"`

function wordAsMeant(word: string) {
  if (/^(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]?\d+)?|true|false|null)$/iu.test(word))
    return word.toLowerCase()
  const number = Number(word)
  return Number.isFinite(number) ? String(number) : 'null'
}
