import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { remembered } from './remember.ts'

/** One purpose a door, so that a capability for one passes at no other. */
export type MacPurpose = 'callback' | 'record'

export interface Macs {
  /** Lower-case hex HMAC-SHA256, by the first secret. */
  sign: (field: string) => string
  /** By any of the secrets, in constant time. */
  verifies: (field: string, mac: string) => boolean
  /** What each secret signs: all that `verifies` would accept. */
  accepted: (field: string) => string[]
}

/**
 * HMAC-SHA256 over `afterimage/{purpose}/v1\n{field}` with keys derived from each secret by
 * HKDF-SHA256 (RFC 5869), the purpose as its info. The first secret signs; the others are still
 * accepted, for rotation.
 */
export function macs(purpose: MacPurpose, secrets: readonly string[]): Macs {
  const keys = secrets.map((secret) => Buffer.from(hkdfSync('sha256', secret, '', purpose, 32)))
  const digest = (key: Buffer, field: string) =>
    createHmac('sha256', key).update(`afterimage/${purpose}/v1\n${field}`).digest()
  if (keys.length === 0) throw new Error(`no secret to sign ${purpose} with`)
  const digestsNow = (field: string) => keys.map((key) => digest(key, field))
  // A record is long, and not asked about again.
  const digests = purpose === 'record' ? digestsNow : remembered(digestsNow)
  const accepted = (field: string) => digests(field).map((mac) => mac.toString('hex'))
  return {
    sign: (field) => accepted(field)[0] ?? '',
    verifies: (field, mac) => {
      if (!/^[0-9a-f]{64}$/u.test(mac)) return false
      const given = Buffer.from(mac, 'hex')
      return digests(field)
        .map((one) => timingSafeEqual(one, given))
        .includes(true)
    },
    accepted,
  }
}
