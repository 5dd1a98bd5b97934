import type { NsfwVerdict } from '../model/verdict.ts'
import { isObject } from './body.ts'
import { parseJson } from './nearly-json.ts'

/**
 * What a field says of NSFW content: one word or number, or lists and objects of them, as texts
 * too. One that says yes is enough, and only where all say no it is clear: a flag that is missed is
 * the dear side.
 */
export function readNsfw(value: unknown): { value: unknown; verdict: NsfwVerdict } {
  const said = [...answers(value)]
  const isClear = said.length > 0 && said.every((one) => one === 'no')
  return { value, verdict: said.includes('yes') ? 'flagged' : isClear ? 'clear' : 'unknown' }
}

type Answer = 'yes' | 'no' | 'neither'

function* answers(value: unknown): Generator<Answer> {
  if (Array.isArray(value) || isObject(value))
    for (const inner of Object.values(value)) yield* answers(inner)
  else if (typeof value === 'string') yield* answersIn(value)
  else yield answerOf(value)
}

function* answersIn(text: string): Generator<Answer> {
  const spelled = /^\s*[[{"']/u.test(text) ? parseJson(text) : undefined
  if (spelled !== undefined && spelled !== text) yield* answers(spelled)
  else for (const word of text.split(/[,;\n]/u)) yield wordOf(word.trim().toLowerCase())
}

const YES = ['true', 'yes', 'y', 't', 'on', 'nsfw', 'unsafe', 'flagged', 'detected']
const NO = ['false', 'no', 'n', 'f', 'off', 'sfw', 'safe']

function wordOf(word: string): Answer {
  if (YES.includes(word)) return 'yes'
  return NO.includes(word) ? 'no' : answerOf(word === '' ? null : Number(word))
}

/** Of one request the provider makes at most so many, and a number may count them. */
const MOST_PICTURES = 4

function answerOf(value: unknown): Answer {
  if (value === true || (typeof value === 'number' && value >= 1 && value <= MOST_PICTURES))
    return 'yes'
  return value === false || value === 0 ? 'no' : 'neither'
}
