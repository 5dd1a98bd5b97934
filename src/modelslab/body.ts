import { parseJson } from './nearly-json.ts'
import { textOf } from './words.ts'

export type Json = Record<string, unknown>

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The object that a value is, or that its text spells in JSON. */
export function objectIn(value: unknown): Json | null {
  const object = typeof value === 'string' ? parseJson(value) : value
  return isObject(object) ? object : null
}

/**
 * The message that a body holds, without one layer of what may be wrapped around it: a list, a
 * text, or what gateways put around an answer. Null where it holds no JSON object.
 */
export function parseBody(text: string): Json | null {
  const value = parseJson(text)
  if (isObject(value)) return unwrapped(value)
  return objectIn(Array.isArray(value) && value.length === 1 ? value[0] : value)
}

const WRAPPERS = ['data', 'result', 'response', 'payload', 'body']

/** What names images itself is the message, whatever else it holds. */
function unwrapped(body: Json): Json {
  if (!isEmpty(body['output'])) return body
  const inner = WRAPPERS.map((name) => objectIn(body[name])).find((one) => one && isMessage(one))
  return inner ? { ...body, ...inner } : body
}

const isEmpty = (output: unknown) =>
  Array.isArray(output) ? output.length === 0 : textOf(output) === null && !isObject(output)

const isMessage = (body: Json) => statusOf(body) !== null || body['output'] !== undefined

const STATUSES = {
  success: 'succeeded',
  processing: 'processing',
  queued: 'processing',
  error: 'failed',
  failed: 'failed',
} as const

/** What its `status` says; null where that is none that we know. */
export function statusOf(body: Json) {
  const word = textOf(body['status'])?.toLowerCase() ?? ''
  return Object.hasOwn(STATUSES, word) ? STATUSES[word as keyof typeof STATUSES] : null
}
