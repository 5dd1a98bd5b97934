import { wholeDigits } from './exact-json.ts'

/** A whole number: as text where JavaScript's numbers would round it. */
export type Seed = number | string

/** The seed that this is; null where it is no whole number, or one of over 128 bits. */
export function seedIn(given: string | number | bigint): Seed | null {
  if (typeof given === 'number') return Number.isSafeInteger(given) ? given : null
  const digits = wholeDigits(String(given).trim())
  const number = Number(digits)
  return digits !== null && Number.isSafeInteger(number) ? number : digits
}

/** As the ledger keeps it: a number of SQLite's would be rounded by whoever reads it. */
export const seedColumns = (seed: Seed | null) => ({
  seed: typeof seed === 'number' ? seed : null,
  seedDigits: typeof seed === 'string' ? seed : null,
})

export const seedFrom = ({ seed, seedDigits }: ReturnType<typeof seedColumns>): Seed | null =>
  seed ?? seedDigits
