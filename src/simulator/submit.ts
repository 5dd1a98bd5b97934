import { describe, json, statusOf, type Answer } from './answer.ts'
import { callBack } from './callbacks.ts'
import type { Job } from './jobs.ts'
import type { Submission } from './journal.ts'
import { readKnobs } from './knob-words.ts'
import type { Knobs } from './knobs.ts'
import { Refusal } from './refusal.ts'
import { readRequest, type InpaintRequest } from './request.ts'
import { acceptance, refusal } from './submission-answers.ts'
import type { World } from './world.ts'

interface Asked {
  body: unknown
  key: string
  /** Resolves when the reply is out, or can no longer be. */
  replied: Promise<void>
}

/** Takes a submission, keeps its promise or breaks it as its knobs say, and answers. */
export async function submit(world: World, asked: Asked): Promise<Answer> {
  const submission = world.journal.received(entry(world, asked.body))
  const reply = await answer(world, submission, asked)
  submission.reply = reply.kind === 'cut' ? 'cut' : { code: reply.code, status: statusOf(reply) }
  world.journal.changed()
  world.log(
    `inpaint ${submission.providerId ?? 'refused'} ${JSON.stringify(submission.trackId)}: ${describe(reply)}`,
  )
  return reply
}

/** Throws Refusal. */
export function checkKey(world: World, key: string) {
  if (key === '') throw new Refusal({ key: ['The key field is required.'] })
  if (world.key !== undefined && key !== world.key) throw new Refusal('Invalid API key')
}

async function answer(world: World, submission: Submission, asked: Asked): Promise<Answer> {
  try {
    checkKey(world, asked.key)
    const request = readRequest(asked.body)
    const knobs = readKnobs(request.prompt, world.knobs)
    const reply =
      refusal(world, knobs) ?? (await accepted(world, submission, request, knobs, asked.replied))
    await world.background.sleep(knobs.reply_delay)
    return reply
  } catch (error) {
    if (error instanceof Refusal) return json(error.body)
    throw error
  }
}

async function accepted(
  world: World,
  submission: Submission,
  request: InpaintRequest,
  knobs: Knobs,
  replied: Promise<void>,
): Promise<Answer> {
  const job = world.jobs.accept(world, submission, request, knobs)
  if (knobs.result === 'never') return acceptance(world, job)
  const ended = end(world, job)
  const told = ended.then(() => callBack(world, job, replied))
  world.background.run(told)
  if (knobs.callback === 'early') await told
  if (knobs.reply === 'success') await ended
  return acceptance(world, job)
}

async function end(world: World, job: Job) {
  await world.background.sleep(job.knobs.delay)
  world.jobs.ended(world, job)
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
