import type { Deps } from '../deps.ts'

/** Where the HMAC stands: in the last line, over all that is before it and the closing brace. */
const LAST_LINE = /,\n {2}"hmac": "([0-9a-f]{64})"\n\}\n$/u

/** The text of a record. Whoever changes one byte of it needs our secret to make it look right. */
export function recordText(record: object, sign: Deps['signRecord']) {
  const text = JSON.stringify(record, null, 2)
  if (!sign) return `${text}\n`
  return `${text.slice(0, -'\n}'.length)},\n  "hmac": "${sign(text)}"\n}\n`
}

/**
 * `ours`: by its HMAC. `altered`: it has another than its text, or none where we write one.
 * `unsigned`: from before we signed, or from where there is no secret, as far as it tells: whoever
 * alters a record can make it tell that.
 */
export type Authorship = 'ours' | 'altered' | 'unsigned'

export function authorshipOf(
  text: string,
  { schema_version, hmac }: { schema_version: number; hmac?: unknown },
  verifies: Deps['verifiesRecord'],
): Authorship {
  const [line, mac] = LAST_LINE.exec(text) ?? []
  if (line !== undefined && mac !== undefined)
    return verifies(`${text.slice(0, -line.length)}\n}`, mac) ? 'ours' : 'altered'
  return schema_version === 1 && hmac === undefined ? 'unsigned' : 'altered'
}
