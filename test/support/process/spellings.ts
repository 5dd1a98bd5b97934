const each = (secret: string, write: (hex: string, code: number) => string) =>
  [...Buffer.from(secret)].map((code) => write(code.toString(16).padStart(2, '0'), code)).join('')

/** The digits that are a secret's alone, wherever it begins among groups of three bytes. */
function inBase64(secret: string, before: number) {
  const digits = Buffer.from('x'.repeat(before) + secret).toString('base64')
  return digits.slice(
    before === 0 ? 0 : before + 1,
    Math.floor(((before + Buffer.byteLength(secret)) * 8) / 6),
  )
}

const WAYS: Record<string, (secret: string) => string> = {
  plain: (secret) => secret,
  'in capitals': (secret) => secret.toUpperCase(),
  'in JSON': (secret) => JSON.stringify(secret).slice(1, -1),
  'in JSON with escaped slashes': (secret) => secret.replaceAll('/', '\\/'),
  'in JSON as code units': (secret) => each(secret, (hex) => `\\u00${hex}`),
  'in JSON as code units, in capitals': (secret) =>
    each(secret, (hex) => `\\u00${hex.toUpperCase()}`),
  'in JSON inside of JSON as code units': (secret) => each(secret, (hex) => `\\\\u00${hex}`),
  'in a URL': encodeURIComponent,
  'in a URL, percent signs in small letters': (secret) =>
    encodeURIComponent(secret).replaceAll(/%../gu, (escaped) => escaped.toLowerCase()),
  'percent-encoded whole': (secret) => each(secret, (hex) => `%${hex}`),
  'percent-encoded whole, in capitals': (secret) => each(secret, (hex) => `%${hex.toUpperCase()}`),
  'percent-encoded twice': (secret) => encodeURIComponent(encodeURIComponent(secret)),
  'percent-encoded whole and twice': (secret) => each(secret, (hex) => `%25${hex}`),
  'in HTML': (secret) => each(secret, (_hex, code) => `&#${code};`),
  'in HTML in hex': (secret) => each(secret, (hex) => `&#x${hex};`),
  'in hex': (secret) => Buffer.from(secret).toString('hex'),
  'in hex in capitals': (secret) => Buffer.from(secret).toString('hex').toUpperCase(),
  'in base64': (secret) => inBase64(secret, 0),
  'in base64 behind one byte': (secret) => inBase64(secret, 1),
  'in base64 behind two bytes': (secret) => inBase64(secret, 2),
}

/** How a secret may be written, by the name of each way. */
export const spelled = (secret: string): [way: string, text: string][] =>
  Object.entries(WAYS).map(([way, write]) => [way, write(secret)])

/** Which of `secrets` stand in which of `places`, and how they are written there. */
export function searched(
  places: Record<string, Uint8Array | string>,
  secrets: Record<string, string>,
) {
  const texts = Object.entries(places).map(
    ([place, bytes]) => [place, Buffer.from(bytes).toString('latin1')] as const,
  )
  return Object.entries(secrets).flatMap(([name, secret]) =>
    spelled(secret).flatMap(([way, text]) =>
      texts
        .filter(([, bytes]) => bytes.includes(text))
        .map(([place]) => `${name} ${way} in ${place}`),
    ),
  )
}
