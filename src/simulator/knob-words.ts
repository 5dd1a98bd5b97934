import type { Amount } from './knob-kinds.ts'
import { KNOBS, knobNames, type KnobName, type Knobs } from './knobs.ts'
import { Refusal } from './refusal.ts'

type Value = Knobs[KnobName]

// A group without `=` is left alone: image models read [words] as weights.
const GROUP = /\[([^[\]]*=[^[\]]*)\]/g

export const defaultKnobs: Knobs = toKnobs(knobNames.map((name) => [name, KNOBS[name].fallback]))

/**
 * The knobs that a prompt asks for, such as `a harbour at dawn [callback=lost delay=2]`, over those
 * of `defaults`. Throws Refusal, naming what is allowed, for what no knob knows.
 */
export function readKnobs(prompt: string | null, defaults: Knobs): Knobs {
  const words = [...(prompt ?? '').matchAll(GROUP)].flatMap(
    ([, group]) => group?.split(/[\s,]+/).filter(Boolean) ?? [],
  )
  const knobs = { ...defaults, ...toKnobs(words.map(readWord)) }
  if (knobs.result === 'never' && (knobs.reply === 'success' || knobs.callback === 'early'))
    throw new Refusal('result=never has no end for reply=success or callback=early to wait for.')
  return knobs
}

/** The value of one knob, from text. Throws Refusal, naming what is allowed. */
export function readKnob(name: KnobName, text: string): Value {
  const knob = KNOBS[name]
  if (knob.kind === 'amount') return readAmount(name, knob, text)
  const words = knob.kind === 'sequence' ? text.split('+') : [text]
  const allowed: string[] = knob.values.map(([value]) => value)
  if (!words.every((word) => allowed.includes(word)))
    throw new Refusal(
      `${name}=${text} is not known to the simulator. Allowed: ${allowed.join(', ')}.`,
    )
  return (knob.kind === 'sequence' ? words : text) as Value
}

function readAmount(name: KnobName, { min, max, unit }: Amount, text: string) {
  const value = text === '' ? NaN : Number(text)
  if (value >= min && value <= max) return value
  throw new Refusal(`${name}=${text} is not a number from ${min} to ${max} (${unit}).`)
}

function readWord(word: string): [KnobName, Value] {
  const [name, ...value] = word.split('=')
  const known = knobNames.find((each) => each === name)
  if (known && value.length > 0) return [known, readKnob(known, value.join('='))]
  throw new Refusal(
    `The simulator has no knob ${JSON.stringify(word)}. Allowed: ${knobNames.join(', ')}.`,
  )
}

// Each value was read by the knob of that name, which is more than the type checker can follow.
function toKnobs(entries: [KnobName, Value][]): Knobs {
  return Object.fromEntries(entries) as Knobs
}
