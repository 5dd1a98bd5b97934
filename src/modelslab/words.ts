import { LONGEST_HOLD_MS } from '../model/backoff.ts'
import { type Seed, seedIn } from '../model/seed.ts'

/** Of numbers, too. Null where a value says nothing. */
export function textOf(value: unknown): string | null {
  if (typeof value === 'number' && Number.isFinite(value)) return String(value)
  return typeof value === 'string' && value.trim() !== '' ? value.trim() : null
}

/** It becomes a segment of a path. */
export function idOf(value: unknown): string | null {
  const id = textOf(value)
  return id !== null && /^[\w:-]{1,128}$/u.test(id) ? id : null
}

/** Seconds to wait, which are also written with their unit. */
export function waitOf(value: unknown): number | null {
  const amount =
    typeof value === 'string' ? value.replace(/(?<=\d)\s*s(?:ec(?:ond)?s?)?\s*$/iu, '') : value
  return believed(numberOf(amount))
}

/** What `Retry-After` asks for: seconds, or a time by the clock that `Date` shows. */
export function waitIn(headers: Headers): number | null {
  const given = headers.get('retry-after') ?? ''
  if (!given.endsWith('GMT')) return waitOf(given)
  const ms = Date.parse(given) - Date.parse(headers.get('date') ?? '')
  return Number.isNaN(ms) ? null : believed(Math.max(ms, 0) / 1000)
}

const believed = (seconds: number | null) =>
  seconds === null ? null : Math.min(seconds, LONGEST_HOLD_MS / 1000)

export function numberOf(value: unknown): number | null {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
  return typeof number === 'number' && Number.isFinite(number) && number >= 0 ? number : null
}

/** Null where it is no whole number. */
export function seedOf(value: unknown): Seed | null {
  const text = textOf(value)
  return text === null ? null : seedIn(text)
}
