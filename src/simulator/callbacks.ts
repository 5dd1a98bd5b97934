import type { Job } from './jobs.ts'
import type { Delivery } from './journal.ts'
import { callback } from './replies.ts'
import type { World } from './world.ts'

// What ModelsLab asks of a receiver: a 2xx within 30 s.
const ANSWER_SECONDS = 30
const RETRY_SECONDS = 1

type Answer = Pick<Delivery, 'answer' | 'problem'>

/** Tells the webhook of an ended job as its knobs say; `replied` resolves when the submission's own reply is out. */
export async function callBack(world: World, job: Job, replied: Promise<void>) {
  const { callback: manner } = job.knobs
  if (job.request.webhook === null || manner === 'lost') return
  if (manner === 'auto' && job.knobs.reply === 'success') return
  if (manner !== 'early') await replied
  await deliver(world, job, new URL(job.request.webhook))
  if (manner === 'doubled') await deliver(world, job, new URL(job.request.webhook))
}

async function deliver(world: World, job: Job, webhook: URL) {
  const body = callback(job)
  const status = body.status === 'failed' ? 'failed' : 'success'
  for (let attempt = 1; attempt <= job.knobs.callback_tries; attempt++) {
    if (attempt > 1) await world.background.sleep(RETRY_SECONDS)
    const { answer, problem } = await post(world, webhook, JSON.stringify(body))
    job.submission.callbacks.push({ at: world.now(), status, answer, problem })
    world.journal.changed()
    world.log(`callback ${job.id} ${status} to ${webhook.host}: ${problem ?? String(answer)}`)
    if (answer !== null && answer >= 200 && answer < 300) return
  }
}

async function post(world: World, webhook: URL, body: string): Promise<Answer> {
  if (!isLoopback(webhook)) return { answer: null, problem: 'not sent: the simulator calls loopback addresses only' }
  const deadline = world.background.deadline(ANSWER_SECONDS, `no answer within ${ANSWER_SECONDS} s`)
  try {
    const headers = { 'content-type': 'application/json', connection: 'close' }
    // A redirect could lead away from loopback.
    const response = await fetch(webhook, {
      method: 'POST',
      redirect: 'manual',
      headers,
      body,
      signal: deadline.signal,
    })
    await response.body?.cancel()
    return { answer: response.status, problem: null }
  } catch (error) {
    return { answer: null, problem: reason(error) }
  } finally {
    deadline.free()
  }
}

// The URL parser has already turned every spelling of an IPv4 address into four decimal numbers.
function isLoopback({ hostname }: URL) {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}

// fetch hides what went wrong in the cause of a "fetch failed".
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause === undefined ? error.message : reason(error.cause)
}
