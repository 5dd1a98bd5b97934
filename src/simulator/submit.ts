import { callBack } from './callbacks.ts'
import type { Job } from './jobs.ts'
import type { Submission } from './journal.ts'
import { readKnobs } from './knob-words.ts'
import type { Knobs } from './knobs.ts'
import { Refusal } from './refusal.ts'
import { failed, processing, result, tooMany } from './replies.ts'
import { readRequest, type InpaintRequest } from './request.ts'
import type { World } from './world.ts'

/** What a submission is answered: JSON, a page of HTML, or only the first half of some JSON. */
export type Reply =
  | { kind: 'json'; code: 200 | 400 | 429; body: { status: string } }
  | { kind: 'page'; code: 500 | 503 }
  | { kind: 'cut'; body: object }

interface Asked {
  body: unknown
  key: string
  /** Resolves when the reply is out, or can no longer be. */
  replied: Promise<void>
}

// The number of the documented sample, for a 429 that was asked for.
const DOCUMENTED_MAX_QUEUED = 5

/** Takes a submission, keeps its promise or breaks it as its knobs say, and answers. */
export async function submit(world: World, asked: Asked): Promise<Reply> {
  const submission = world.journal.received(entry(world, asked.body))
  const reply = await answer(world, submission, asked)
  submission.reply = reply.kind === 'cut' ? 'cut' : { code: reply.code, status: said(reply) }
  world.journal.changed()
  world.log(`inpaint ${submission.providerId ?? 'refused'} ${JSON.stringify(submission.trackId)}: ${describe(reply)}`)
  return reply
}

/** Throws Refusal. */
export function checkKey(world: World, key: string) {
  if (key === '') throw new Refusal({ key: ['The key field is required.'] })
  if (world.key !== undefined && key !== world.key) throw new Refusal('Invalid API key')
}

async function answer(world: World, submission: Submission, asked: Asked): Promise<Reply> {
  try {
    checkKey(world, asked.key)
    const request = readRequest(asked.body)
    const knobs = readKnobs(request.prompt, world.knobs)
    const reply = refused(world, knobs) ?? (await accepted(world, submission, request, knobs, asked.replied))
    await world.background.sleep(knobs.reply_delay)
    return reply
  } catch (error) {
    if (error instanceof Refusal) return { kind: 'json', code: 200, body: error.body }
    throw error
  }
}

function refused(world: World, knobs: Knobs): Reply | undefined {
  if (knobs.reply === 'error')
    return { kind: 'json', code: 200, body: new Refusal('Something went wrong, as the prompt asked for.').body }
  if (knobs.reply === 'failed') return { kind: 'json', code: 200, body: failed('') }
  if (knobs.reply === '503') return { kind: 'page', code: 503 }
  if (knobs.reply !== '429' && world.jobs.unfinished < world.maxQueued) return undefined
  const maxQueued = Number.isFinite(world.maxQueued) ? world.maxQueued : DOCUMENTED_MAX_QUEUED
  return { kind: 'json', code: 429, body: tooMany(maxQueued, knobs.retry_after) }
}

async function accepted(
  world: World,
  submission: Submission,
  request: InpaintRequest,
  knobs: Knobs,
  replied: Promise<void>,
): Promise<Reply> {
  const job = world.jobs.accept(world, submission, request, knobs)
  if (knobs.result === 'never') return replyTo(world, job)
  const ended = end(world, job)
  const told = ended.then(() => callBack(world, job, replied))
  world.background.run(told)
  if (knobs.callback === 'early') await told
  if (knobs.reply === 'success') await ended
  return replyTo(world, job)
}

async function end(world: World, job: Job) {
  await world.background.sleep(job.knobs.delay)
  world.jobs.ended(world, job)
}

function replyTo(world: World, job: Job): Reply {
  const { reply } = job.knobs
  if (reply === '500') return { kind: 'page', code: 500 }
  if (reply === 'success') return { kind: 'json', code: 200, body: result(job) }
  const body = processing(world, job, reply === 'queued' ? 'queued' : 'processing')
  return reply === 'cut' ? { kind: 'cut', body } : { kind: 'json', code: reply === '400' ? 400 : 200, body }
}

function entry(world: World, body: unknown): Submission {
  const { track_id, webhook } = (body ?? {}) as Record<string, unknown>
  return {
    receivedAt: world.now(),
    trackId: typeof track_id === 'string' || typeof track_id === 'number' ? String(track_id) : null,
    webhook: typeof webhook === 'string' ? webhook : null,
    state: 'refused',
    endedAt: null,
    providerId: null,
    reply: null,
    links: [],
    callbacks: [],
    fetches: [],
  }
}

function said(reply: Reply) {
  return reply.kind === 'json' ? reply.body.status : null
}

function describe(reply: Reply) {
  return reply.kind === 'cut' ? 'the connection was cut' : `${reply.code} ${said(reply) ?? 'a page of HTML'}`
}
