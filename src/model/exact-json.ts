/** None that is meant has more digits than 128 bits. */
const MOST_DIGITS = 39
const DECIMAL = /^([+-]?)(\d+)(?:\.(\d*))?(?:e([+-]?\d{1,4}))?$/iu

/**
 * The digits of a whole number, however it is spelled: JavaScript's numbers may round it. Null
 * where it is none, or too long to be meant.
 */
export function wholeDigits(text: string): string | null {
  const [, sign, whole, fraction = '', exponent = '0'] = DECIMAL.exec(text) ?? []
  if (whole === undefined) return null
  const digits = (whole + fraction).replace(/^0+(?=\d)/u, '')
  const shift = Number(exponent) - fraction.length
  const isWhole = shift >= 0 || /^0*$/u.test(digits.slice(shift))
  const all = shift < 0 ? digits.slice(0, shift) : digits + '0'.repeat(Math.min(shift, MOST_DIGITS))
  if (!isWhole || all.length > MOST_DIGITS) return null
  return (sign === '-' ? '-' : '') + (all || '0')
}

/** Where a number may stand, one of so many digits or with such an exponent. */
const MAYBE_ROUNDED = /(?:^|[\s:,[])-?(?:[\d.]{16}|[\d.]+e\+?\d\d)/iu

/** An escape that is half of a character, and the others, so that none is taken for one. */
const ESCAPES = /\\ud[89ab][\da-f]{2}\\ud[c-f][\da-f]{2}|(\\ud[89a-f][\da-f]{2})|\\[^]/giu
const MAYBE_HALF = /\\ud[89a-f]/iu

/**
 * Reads JSON without loss: `digits` says what becomes of a whole number that would be rounded, and
 * half a character is U+FFFD here, once, instead of wherever it is next written as UTF-8.
 * @throws SyntaxError
 */
export function parseExactly(text: string, digits: (digits: string) => unknown): unknown {
  const whole = MAYBE_HALF.test(text)
    ? text.replace(ESCAPES, (escape, half?: string) => (half ? '\\ufffd' : escape))
    : text
  // A reviver looks at every value, and few texts have something for it to do.
  if (!MAYBE_ROUNDED.test(whole)) return JSON.parse(whole)
  return JSON.parse(whole, (_key, value: unknown, context?: { source?: string }) => {
    if (typeof value !== 'number' || Math.abs(value) <= Number.MAX_SAFE_INTEGER) return value
    const exact = wholeDigits(context?.source ?? '')
    return exact === null ? value : digits(exact)
  })
}

/**
 * What JSON.stringify writes as a number of these digits: part of TC39's JSON.parse source text
 * access, which Node 22 and workerd have and TypeScript does not know yet.
 */
export const numberOf = (digits: string) =>
  (JSON as JSON & { rawJSON: (text: string) => unknown }).rawJSON(digits)
