import { callbackBody, sayings, type CallbackBody } from './callback-bodies.ts'
import type { Job } from './jobs.ts'
import type { Delivery } from './journal.ts'
import type { World } from './world.ts'

// What ModelsLab asks of a receiver: a 2xx within 30 s.
const ANSWER_SECONDS = 30
const RETRY_SECONDS = 1

const CONTENT_TYPE = { json: 'application/json', text: 'text/plain' } as const

type Answer = Pick<Delivery, 'answer' | 'problem'>

/**
 * Tells the webhook of an ended job as its knobs say; `replied` resolves when the submission's own
 * reply is out.
 */
export async function callBack(world: World, job: Job, replied: Promise<void>) {
  const { knobs, request } = job
  const { callback: manner } = knobs
  if (request.webhook === null || manner === 'lost') return
  if (manner === 'auto' && knobs.reply === 'success') return
  if (manner !== 'early') await replied
  const webhook = new URL(request.webhook)
  for (const [index, saying] of sayings(knobs).entries()) {
    await world.background.sleep(index === 0 ? knobs.callback_delay : knobs.callback_gap)
    const body = callbackBody(world, job, saying)
    await deliver(world, job, webhook, body)
    if (manner === 'doubled') await deliver(world, job, webhook, body)
  }
}

async function deliver(world: World, job: Job, webhook: URL, body: CallbackBody) {
  const { id, knobs, submission } = job
  for (let attempt = 1; attempt <= knobs.callback_tries; attempt++) {
    if (attempt > 1) await world.background.sleep(RETRY_SECONDS)
    const { answer, problem } = await post(world, webhook, body, CONTENT_TYPE[knobs.callback_type])
    submission.callbacks.push({ at: world.now(), status: body.status, answer, problem })
    world.journal.changed()
    world.log(`callback ${id} ${body.status} to ${webhook.host}: ${problem ?? String(answer)}`)
    if (answer !== null && answer >= 200 && answer < 300) return
  }
}

async function post(
  world: World,
  webhook: URL,
  body: CallbackBody,
  contentType: string,
): Promise<Answer> {
  if (!isLoopback(webhook))
    return { answer: null, problem: 'not sent: the simulator calls loopback addresses only' }
  const deadline = world.background.deadline(ANSWER_SECONDS, `no answer within ${ANSWER_SECONDS} s`)
  try {
    const response = await fetch(webhook, {
      method: 'POST',
      // A redirect could lead away from loopback.
      redirect: 'manual',
      headers: { 'content-type': contentType, connection: 'close' },
      body: JSON.stringify(body),
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
