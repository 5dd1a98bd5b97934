/** A number from 0 (inclusive) to 1, the same ones for the same seed. */
export type Dice = () => number

/** Mulberry32. */
export function diceOf(seed: number): Dice {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export function oneOf<T>(dice: Dice, list: readonly T[]): T {
  const one = list[Math.floor(dice() * list.length)]
  if (one === undefined) throw new Error('a choice from nothing')
  return one
}
