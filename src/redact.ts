/** A secret as it can stand in text: plain, in JSON with or without escaped slashes, percent-encoded. */
function spellings(secret: string) {
  const inJson = JSON.stringify(secret).slice(1, -1)
  return [secret, inJson, inJson.replaceAll('/', '\\/'), encodeURIComponent(secret)]
}

/** The longest first: one may begin with another. */
const spellingsOf = (secrets: readonly string[]) =>
  [...new Set(secrets.filter(Boolean).flatMap(spellings))].toSorted((a, b) => b.length - a.length)

/** Replaces every spelling of each secret by `***`. */
export const redact = (text: string, secrets: readonly string[]) =>
  spellingsOf(secrets).reduce((rest, secret) => rest.replaceAll(secret, '***'), text)

/** The same on bytes, whatever their encoding: each byte is taken as one character. `cut`: they went on. */
export function redactBytes(bytes: Uint8Array, secrets: readonly string[], { cut }: { cut: boolean }) {
  const asBytes = secrets.map((secret) => Buffer.from(secret, 'utf8').toString('latin1'))
  const text = redact(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1'), asBytes)
  return Buffer.from(cut ? withoutCutSecret(text, asBytes) : text, 'latin1')
}

/** Fewer characters of a secret tell nothing. */
const TELLING_CHARACTERS = 8

/** What was cut may end in the beginning of a secret, with too little missing to be hard to guess. */
function withoutCutSecret(text: string, secrets: readonly string[]) {
  for (const secret of spellingsOf(secrets))
    for (let length = secret.length - 1; length >= TELLING_CHARACTERS; length--)
      if (text.endsWith(secret.slice(0, length))) return `${text.slice(0, -length)}***`
  return text
}

/** The same on the texts in a JSON value; numbers and its shape stay. */
export function redactJson<T>(value: T, secrets: readonly string[]): T {
  return walk(value) as T

  function walk(json: unknown): unknown {
    if (typeof json === 'string') return redact(json, secrets)
    if (Array.isArray(json)) return json.map(walk)
    if (typeof json !== 'object' || json === null) return json
    return Object.fromEntries(Object.entries(json).map(([name, inner]) => [redact(name, secrets), walk(inner)]))
  }
}
