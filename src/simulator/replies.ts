import type { Job } from './jobs.ts'
import type { Knobs } from './knobs.ts'
import { output, proxyLinks, urls, type Named } from './offers.ts'
import type { World } from './world.ts'

// The provider's wire shapes, misspellings and all.

const TIP =
  'This is a simulator: words such as [callback=lost delay=2] in a prompt ask for a misbehaviour.'
const WHY = 'Something went wrong, as the prompt asked for.'

const ERRORS = {
  message: { status: 'error', message: WHY },
  messege: { status: 'error', messege: WHY },
  fields: { status: 'error', message: { prompt: [WHY] } },
  tip: { status: 'error', tip: WHY },
  tips: { status: 'error', tips: WHY },
  bare: { message: WHY },
} as const

// In the documented callback's order.
const FIELDS = {
  short: ['status', 'id', 'output', 'generationTime', 'track_id', 'meta', 'message'],
  bare: ['status', 'output', 'message'],
} as const

const SAFETY_CHECKER = { auto: 'blur', pixelated: 'pixelate', black: 'black' } as const

export function processing(world: World, job: Job, status: string) {
  const future = urls(world, job, 'output')
  // Where the number differs, it is that of a neighbour.
  const fetchId = job.knobs.id === 'mismatch' ? Number(job.id) + 1 : job.id
  return {
    status,
    tip: TIP,
    eta: job.knobs.delay,
    messege: 'Try to fetch request after seconds estimated',
    webhook_status: '',
    fetch_result: `${world.origins.api}/api/v6/images/fetch/${fetchId}`,
    id: job.id,
    output: output([], job.knobs),
    meta: { ...meta(job), output: future },
    future_links: future,
  }
}

export function success(world: World, job: Job, named: Named) {
  return {
    status: 'success' as const,
    generationTime: generationTime(job),
    id: job.id,
    output: output(urls(world, job, 'output', named), job.knobs),
    ...proxyLinks(world, job, named),
    ...verdict(job.knobs),
    webhook_status: '',
    meta: meta(job),
    tip: TIP,
  }
}

export function failed(id: Job['id']) {
  return { status: 'failed' as const, id, message: 'Failed, Try Again', output: '' }
}

export function error({ error_words }: Knobs) {
  return ERRORS[error_words]
}

/** What a fetch says of a job that is still under way. */
export function tryLater(messageIn: 'message' | 'messege') {
  return { status: 'processing' as const, [messageIn]: 'try again later.', output: '', tip: TIP }
}

export function tooMany(maxQueued: number, retryAfterSeconds: number) {
  const message = `Rate limit exceeded. Maximum ${maxQueued} queued requests allowed.`
  return { status: 'error', message, retry_after: retryAfterSeconds }
}

/** What the job has come to, as the submission's reply and a fetch tell it. */
export function result(world: World, job: Job, named: Named = 'same') {
  return job.knobs.result === 'failed' ? failed(job.id) : success(world, job, named)
}

/** What is left of a body that says less. */
export function shorten<B extends { status: string }>(
  body: B,
  length: 'full' | keyof typeof FIELDS,
) {
  if (length === 'full') return body
  const left = FIELDS[length].filter((name) => name in body)
  return Object.fromEntries(left.map((name) => [name, body[name as keyof B]])) as {
    status: B['status']
  }
}

function meta({ id, request, knobs, seed }: Job) {
  const { width, height, samples, ...rest } = request
  const safety_checker_type = SAFETY_CHECKER[knobs.picture]
  return {
    ...rest,
    seed,
    W: width,
    H: height,
    n_samples: samples,
    safety_checker_type,
    id: String(id),
  }
}

function verdict({ nsfw, nsfw_shape }: Knobs) {
  if (nsfw === 'silent') return {}
  if (nsfw === 'null') return { nsfw_content_detected: null }
  const flagged = nsfw === 'flagged'
  return { nsfw_content_detected: nsfw_shape === 'text' ? String(flagged) : flagged }
}

// Seconds that a card would take: about two for a 512 x 512 picture of 21 steps.
function generationTime({ request: { width, height, samples, steps } }: Job) {
  const megapixels = (width * height * samples) / 1e6
  return Number((0.4 + steps * megapixels * 0.3).toFixed(2))
}
