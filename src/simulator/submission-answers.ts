import { askedError, firstHalf, json, limited, refused, type Answer } from './answer.ts'
import type { Job } from './jobs.ts'
import type { Knobs } from './knobs.ts'
import { failed, processing, result } from './replies.ts'
import type { World } from './world.ts'

const STATUS: Partial<Record<Knobs['reply'], string>> = {
  queued: 'queued',
  hollow: 'success',
  unknown: 'resting',
}

/** The answer to a submission that is not accepted; undefined where it is. */
export function refusal(world: World, knobs: Knobs): Answer | undefined {
  switch (knobs.reply) {
    case 'error':
      return askedError(knobs)
    case 'failed':
      return refused(knobs, failed(''))
    case '503':
      return { kind: 'page', code: 503 }
    case 'limited':
      return limited(world, knobs, 200)
    case '429':
      return limited(world, knobs, 429)
    default:
      return world.jobs.unfinished < world.maxQueued ? undefined : limited(world, knobs, 429)
  }
}

/** The answer to a submission that is accepted, readable or not. */
export function acceptance(world: World, job: Job): Answer {
  const { knobs } = job
  if (knobs.reply === 'success') return json(withReplyId(result(world, job), knobs))
  if (knobs.reply === '500') return { kind: 'page', code: 500 }
  if (knobs.reply === 'page') return { kind: 'page', code: 200 }
  return worded(
    withReplyId(processing(world, job, STATUS[knobs.reply] ?? 'processing'), knobs),
    knobs,
  )
}

function worded(body: object, { reply }: Knobs): Answer {
  switch (reply) {
    case '400':
      return json(body, 400)
    case 'cut':
      return { kind: 'cut', code: 200, body }
    case 'half':
      return { kind: 'text', code: 200, text: firstHalf(JSON.stringify(body)) }
    case 'empty':
      return { kind: 'text', code: 200, text: '' }
    case 'array':
      return json([body])
    default:
      return json(body)
  }
}

function withReplyId({ id, ...body }: { id: Job['id'] }, knobs: Knobs) {
  if (knobs.id === 'absent') return body
  if (knobs.id === 'null') return { ...body, id: null }
  return { ...body, id: knobs.id === 'empty' ? '' : id }
}
