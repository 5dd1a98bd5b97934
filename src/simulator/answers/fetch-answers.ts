import { askedError, json, limited, type Answer } from './answer.ts'
import type { Job } from '../jobs/job.ts'
import { urls } from '../jobs/offers.ts'
import { failed, result, shorten, tryLater } from './replies.ts'
import type { World } from '../jobs/world.ts'

/** What a fetch of a job is answered. */
export function fetchAnswer(world: World, job: Job): Answer {
  const { knobs, submission } = job
  const { endedAt } = submission
  if (endedAt === null) return json(tryLater(knobs.fetch === 'messege' ? 'messege' : 'message'))
  const asks = submission.fetches.filter(({ at }) => at >= endedAt).length
  return asks < knobs.fetch_asks ? firstAnswer(world, job) : whole(world, job)
}

function firstAnswer(world: World, job: Job): Answer {
  const { knobs } = job
  switch (knobs.fetch) {
    case 'result':
      return whole(world, job)
    case 'processing':
      return json(tryLater('message'))
    case 'messege':
      return json(tryLater('messege'))
    case 'failed':
      return json(failed(''))
    case 'error':
      return askedError(knobs)
    case '429':
      return limited(world, knobs, 429)
    case 'page':
      return { kind: 'page', code: 502 }
  }
}

function whole(world: World, job: Job): Answer {
  const { fetch_body, fetch_outputs } = job.knobs
  const body = result(world, job, fetch_outputs)
  if (fetch_body !== 'future') return json(shorten(body, fetch_body))
  return json({ ...body, future_links: urls(world, job, 'output', fetch_outputs) })
}
