import { v7 } from 'uuid'

let last = { msecs: 0, seq: 0 }

const pool = new Uint8Array(4096)
let used = pool.length

/** Random bytes, fetched for many ids at a time. */
function random(count: number) {
  if (used + count > pool.length) {
    crypto.getRandomValues(pool)
    used = 0
  }
  return pool.slice(used, (used += count))
}

/** A UUIDv7; those of one millisecond are in the order in which this process made them. */
export function newId(msecs: number): string {
  const seq =
    msecs === last.msecs ? last.seq + 1 : (new Uint32Array(random(4).buffer)[0] ?? 0) >>> 1
  last = { msecs, seq }
  return v7({ ...last, random: random(16) })
}

/**
 * Milliseconds since the epoch that a UUIDv7 begins with (RFC 9562, section 5.7); null for anything
 * else.
 */
export function uuidTime(id: string): number | null {
  const match = /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/u.exec(
    id,
  )
  return match ? Number.parseInt(`${match[1] ?? ''}${match[2] ?? ''}`, 16) : null
}

/**
 * The least id of a generation that was requested at `ms` or later: ids are in the order of
 * requests.
 */
export function firstIdAt(ms: number): string {
  const hex = Math.min(Math.max(Math.ceil(ms), 0), 2 ** 48 - 1)
    .toString(16)
    .padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`
}
