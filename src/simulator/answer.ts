import type { Knobs } from './knobs.ts'
import { error, tooMany } from './replies.ts'
import type { World } from './world.ts'

/**
 * What a client is answered: JSON, a page of HTML, a text that passes for JSON, or a connection cut
 * in mid-JSON.
 */
export type Answer =
  | { kind: 'json'; code: Code; body: object }
  | { kind: 'page'; code: 200 | 500 | 502 | 503 }
  | { kind: 'text'; code: 200; text: string }
  | { kind: 'cut'; code: 200; body: object }

type Code = 200 | 400 | 401 | 402 | 403 | 429 | 500

// The number of the documented sample, for a 429 that was asked for.
const DOCUMENTED_MAX_QUEUED = 5

export function json(body: object, code: Code = 200): Answer {
  return { kind: 'json', code, body }
}

/** A body that says no, under the code that was asked for. */
export function refused({ error_code }: Knobs, body: object): Answer {
  return json(body, Number(error_code) as Code)
}

/** The error that was asked for. */
export function askedError(knobs: Knobs): Answer {
  return refused(knobs, error(knobs))
}

export function limited({ maxQueued }: World, { retry_after }: Knobs, code: Code): Answer {
  return json(
    tooMany(Number.isFinite(maxQueued) ? maxQueued : DOCUMENTED_MAX_QUEUED, retry_after),
    code,
  )
}

/** The first half of a text, as a connection that is cut leaves it. */
export function firstHalf(text: string) {
  return text.slice(0, text.length / 2)
}

/** The status in the body; null where there is none. */
export function statusOf(answer: Answer) {
  return answer.kind === 'json' && 'status' in answer.body ? String(answer.body.status) : null
}

export function describe(answer: Answer) {
  if (answer.kind === 'cut') return 'the connection was cut'
  return `${answer.code} ${statusOf(answer) ?? (answer.kind === 'page' ? 'a page of HTML' : 'no status')}`
}
