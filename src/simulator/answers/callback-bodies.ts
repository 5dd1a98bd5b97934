import type { Job } from '../jobs/job.ts'
import type { Knobs } from '../knobs/knobs.ts'
import { shorten, success, tryLater } from './replies.ts'
import type { World } from '../jobs/world.ts'

/** One thing that a callback can say. */
export type Saying = Knobs['callback_says'][number]

export interface CallbackBody {
  status: 'success' | 'failed' | 'processing'
}

/** What the webhook is to hear, one after the other. */
export function sayings({ callback, callback_says }: Knobs): readonly Saying[] {
  return callback === 'failed' ? ['failed'] : callback_says
}

/** The body of a callback that says it now. */
export function callbackBody(world: World, job: Job, saying: Saying): CallbackBody {
  const { request, knobs } = job
  return shorten({ ...said(world, job, saying), track_id: request.track_id }, knobs.callback_body)
}

function said(world: World, job: Job, saying: Saying) {
  const { id, knobs } = job
  if (saying === 'processing') return { ...tryLater('message'), id }
  if (saying === 'failed' || knobs.result === 'failed')
    return { status: 'failed' as const, id, message: 'Processing failed: CUDA out of memory' }
  return success(world, job, saying === 'other' ? 'other' : 'same')
}
