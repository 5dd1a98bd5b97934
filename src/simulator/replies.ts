import type { Job } from './jobs.ts'
import type { Link } from './journal.ts'
import type { World } from './world.ts'

// The provider's wire shapes, misspellings and all.

const TIP = 'This is a simulator: words such as [callback=lost delay=2] in a prompt ask for a misbehaviour.'

export function processing(world: World, job: Job, status: 'processing' | 'queued') {
  const output = urls(job, 'output')
  return {
    status,
    tip: TIP,
    eta: job.knobs.delay,
    messege: 'Try to fetch request after seconds estimated',
    webhook_status: '',
    fetch_result: `${world.origins.api}/api/v6/images/fetch/${job.id}`,
    id: job.id,
    output: [],
    meta: { ...meta(job), output },
    future_links: output,
  }
}

export function success(job: Job) {
  return {
    status: 'success',
    generationTime: generationTime(job),
    id: job.id,
    output: urls(job, 'output'),
    proxy_links: proxyLinks(job),
    ...verdict(job),
    webhook_status: '',
    meta: meta(job),
    tip: TIP,
  }
}

export function failed(id: number | '') {
  return { status: 'failed', id, message: 'Failed, Try Again', output: '' }
}

export const tryLater = { status: 'processing', message: 'try again later.', output: '', tip: TIP }

export function tooMany(maxQueued: number, retryAfterSeconds: number) {
  const message = `Rate limit exceeded. Maximum ${maxQueued} queued requests allowed.`
  return { status: 'error', message, retry_after: retryAfterSeconds }
}

/** What the job has come to, as the submission's reply and a fetch tell it. */
export function result(job: Job) {
  return job.knobs.result === 'failed' ? failed(job.id) : success(job)
}

/** The same as the webhook is told it. */
export function callback(job: Job) {
  const { id, request, knobs } = job
  if (knobs.callback === 'failed' || knobs.result === 'failed')
    return { status: 'failed', id, message: 'Processing failed: CUDA out of memory', track_id: request.track_id }
  const full = { ...success(job), track_id: request.track_id }
  if (knobs.callback_body === 'full') return full
  return {
    status: full.status,
    id,
    output: full.output,
    generationTime: full.generationTime,
    track_id: full.track_id,
    meta: full.meta,
  }
}

function meta({ id, request, seed }: Job) {
  const { width, height, samples, ...rest } = request
  return { ...rest, seed, W: width, H: height, n_samples: samples, safety_checker_type: 'blur', id: String(id) }
}

function proxyLinks(job: Job) {
  if (job.knobs.proxies === 'identical') return urls(job, 'output')
  return job.knobs.proxies === 'none' ? '' : urls(job, 'proxy')
}

function verdict({ knobs }: Job) {
  return knobs.nsfw === 'silent' ? {} : { nsfw_content_detected: knobs.nsfw === 'flagged' }
}

// Seconds that a card would take: about two for a 512 x 512 picture of 21 steps.
function generationTime({ request: { width, height, samples, steps } }: Job) {
  const megapixels = (width * height * samples) / 1e6
  return Number((0.4 + steps * megapixels * 0.3).toFixed(2))
}

function urls(job: Job, source: Link['source']) {
  return job.submission.links.filter((link) => link.source === source).map((link) => link.url)
}
