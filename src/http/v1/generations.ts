import { type Context, Hono } from 'hono'
import { createMiddleware } from 'hono/factory'
import { z } from 'zod'
import { AppError } from '../../errors.ts'
import { ARCHIVE_STATUSES, GENERATION_STATUSES } from '../../model/generation.ts'
import { NSFW_VERDICTS } from '../../model/verdict.ts'
import type { GenerationFilter, WholeGeneration } from '../../ledger/generations.ts'
import type { Deps } from '../../deps.ts'
import { retry } from '../../work/retry.ts'
import { submit } from '../../work/submit.ts'
import { firstIdAt, uuidTime } from '../../model/uuid.ts'
import { type AuthEnv, holds, requires } from '../plumbing/auth.ts'
import { readQuery, rfc3339Time, takesNoQuery } from '../plumbing/fields.ts'
import { generationJson, timelineJson } from '../../json/generation.ts'
import { imageRoutes } from './images.ts'
import { readInpaintRequest } from './inpaint-request.ts'
import { readJson } from '../plumbing/json-body.ts'
import { rateLimit } from '../plumbing/rate-limit.ts'

const MOST_SUBMISSION_BYTES = 256 * 1024

export function generationRoutes(deps: Deps) {
  const { publicUrl, submissionsPerMinute } = deps.config
  const show = (whole: WholeGeneration) => generationJson(whole, publicUrl)

  return new Hono<AuthEnv>()
    .post(
      '/',
      requires('submit'),
      atMost(submissionsPerMinute, deps.now),
      takesNoQuery,
      async (c) => {
        const idempotencyKey = readIdempotencyKey(c.req.header('idempotency-key'))
        const { request, clientTrackId } = readInpaintRequest(
          await readJson(c.req.raw, MOST_SUBMISSION_BYTES),
        )
        const { id, replayed } = await submit(deps, {
          request,
          clientTrackId,
          submittedBy: c.var.client.name,
          idempotencyKey,
        })
        if (replayed) c.header('idempotency-replayed', 'true')
        c.header('location', `${publicUrl}/v1/generations/${id}`)
        return c.json(show(await existing(deps, id)), 202)
      },
    )
    .get('/', requires('read'), async (c) => {
      const { filter, limit } = readList(c)
      const found = await deps.ledger.generations.list(filter, limit + 1)
      const page = found.slice(0, limit)
      const next = found.length > limit ? (page.at(-1)?.generation.id ?? null) : null
      if (next !== null) c.header('link', `<${nextPage(c, publicUrl, next)}>; rel="next"`)
      return c.json({ data: page.map(show), has_more: next !== null, next_cursor: next })
    })
    .get('/:id', takesNoQuery, async (c) => c.json(show(await readable(deps, c))))
    .get('/:id/timeline', takesNoQuery, async (c) => {
      const whole = await readable(deps, c)
      return c.json(timelineJson(whole, await deps.ledger.timeline.read(whole.generation.id)))
    })
    .post('/:id/retry', requires('submit'), takesNoQuery, async (c) => {
      const { generation } = await existing(deps, c.req.param('id'))
      await retry(deps, generation.id)
      return c.json(show(await existing(deps, generation.id)), 202)
    })
    .route('/:id/images', imageRoutes(deps))
}

/**
 * For each token, before anything is read: whether it would be taken or not, and whether it is a
 * replay or not.
 */
function atMost(perMinute: number, now: () => number) {
  const take = rateLimit({ burst: perMinute, perSecond: perMinute / 60 }, now)
  return createMiddleware<AuthEnv>(async (c, next) => {
    const retryAfterSeconds = take(c.var.client.name)
    if (retryAfterSeconds > 0)
      throw new AppError('rate_limited', `This token may submit ${perMinute} times a minute.`, {
        retryAfterSeconds,
      })
    await next()
  })
}

async function existing(deps: Deps, id: string): Promise<WholeGeneration> {
  const whole = uuidTime(id) === null ? null : await deps.ledger.generations.read(id)
  if (!whole) throw new AppError('not_found', 'There is no generation of this id.')
  return whole
}

/** The generation, for who may read all of them or submitted this one. */
export async function readable(deps: Deps, c: Context<AuthEnv>): Promise<WholeGeneration> {
  const client = c.var.client
  const id = c.req.param('id') ?? ''
  const row = uuidTime(id) === null ? null : await deps.ledger.generations.readRow(id)
  const isTheirs = row?.submittedBy === client.name && holds(client, 'submit')
  if (!holds(client, 'read') && !isTheirs)
    throw new AppError(
      'forbidden',
      'This token lacks the scope read, and did not submit this generation.',
    )
  return existing(deps, id)
}

function readIdempotencyKey(given: string | undefined) {
  if (given === undefined || /^[\x20-\x7e]{1,255}$/u.test(given)) return given ?? null
  throw new AppError('invalid_request', 'The Idempotency-Key cannot be used.', {
    fields: [
      { pointer: 'Idempotency-Key', message: 'expected 1 to 255 printable ASCII characters' },
    ],
  })
}

const listQuery = z.strictObject({
  status: z
    .enum(GENERATION_STATUSES, `expected one of ${GENERATION_STATUSES.join(', ')}`)
    .optional(),
  archive_status: z
    .enum(ARCHIVE_STATUSES, `expected one of ${ARCHIVE_STATUSES.join(', ')}`)
    .optional(),
  nsfw: z.enum(NSFW_VERDICTS, `expected one of ${NSFW_VERDICTS.join(', ')}`).optional(),
  model_id: z.string().optional(),
  client_track_id: z.string().optional(),
  requested_after: rfc3339Time.optional(),
  requested_before: rfc3339Time.optional(),
  limit: z
    .string()
    .regex(/^(?:[1-9]\d?|100)$/u, 'expected a whole number from 1 to 100')
    .transform(Number)
    .default(20),
  cursor: z
    .string()
    .refine((cursor) => uuidTime(cursor) !== null, 'expected the next_cursor of an earlier page')
    .optional(),
})

function readList(c: Context): { filter: GenerationFilter; limit: number } {
  const query = readQuery(c, listQuery)
  const bounds = [
    query.cursor,
    query.requested_before === undefined ? undefined : firstIdAt(query.requested_before),
  ]
  return {
    limit: query.limit,
    filter: {
      status: query.status,
      archiveStatus: query.archive_status,
      nsfw: query.nsfw,
      modelId: query.model_id,
      clientTrackId: query.client_track_id,
      fromId: query.requested_after === undefined ? undefined : firstIdAt(query.requested_after),
      beforeId: bounds
        .filter((bound) => bound !== undefined)
        .toSorted()
        .at(0),
    },
  }
}

function nextPage(c: Context, publicUrl: string, cursor: string) {
  const query = new URLSearchParams(c.req.query())
  query.set('cursor', cursor)
  return `${publicUrl}/v1/generations?${query.toString()}`
}
