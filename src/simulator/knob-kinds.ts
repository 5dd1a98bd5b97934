/** A word that a knob takes, and what it means. */
type Word<V extends string> = readonly [value: V, meaning: string]

/** A knob that takes one of a few words. */
export interface Choice<V extends string> {
  kind: 'choice'
  about: string
  fallback: V
  values: readonly Word<V>[]
}

/** A knob that takes some of a few words, in any order, joined by `+`. */
export interface Sequence<V extends string> {
  kind: 'sequence'
  about: string
  fallback: readonly V[]
  values: readonly Word<V>[]
}

/** A knob that takes a number from `min` to `max`. */
export interface Amount {
  kind: 'amount'
  about: string
  unit: 'seconds' | 'times'
  fallback: number
  min: number
  max: number
}

export type Knob = Choice<string> | Sequence<string> | Amount

/** What a knob of that kind is set to. */
export type ValueOf<K extends Knob> =
  K extends Choice<infer V> ? V : K extends Sequence<infer V> ? readonly V[] : number

/** The first word is the default. */
export function choice<const V extends string>(
  about: string,
  first: Word<V>,
  ...others: Word<V>[]
): Choice<V> {
  return { kind: 'choice', about, fallback: first[0], values: [first, ...others] }
}

/** The first word alone is the default. */
export function sequence<const V extends string>(
  about: string,
  first: Word<V>,
  ...others: Word<V>[]
): Sequence<V> {
  return { kind: 'sequence', about, fallback: [first[0]], values: [first, ...others] }
}

export function seconds(about: string, fallback: number, max = 3600): Amount {
  return { kind: 'amount', about, unit: 'seconds', fallback, min: 0, max }
}

export function times(about: string, fallback: number, max: number): Amount {
  return { kind: 'amount', about, unit: 'times', fallback, min: 1, max }
}
