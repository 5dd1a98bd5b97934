import { and, eq } from 'drizzle-orm'
import type { InpaintRequest } from '../model/request.ts'
import type { LedgerDriver } from './database.ts'
import { type InFlightRule, mayLeaveAtOnce, outAt } from './held.ts'
import { generations } from './schema.ts'
import { bind, json, number, orNull, sql, statement, text } from './statement.ts'

export interface NewGeneration {
  id: string
  request: InpaintRequest
  clientTrackId: string | null
  submittedBy: string
  idempotencyKey: string | null
  requestSha256: string
  requestedAt: number
}

const insert = statement(sql`
  insert into generations (id, status, model_id, prompt, negative_prompt, parameters,
    client_track_id, submitted_by, idempotency_key, request_sha256, requested_at,
    submission_started_at)
  values (${text('id')}, 'requested', ${text('modelId')}, ${orNull(text('prompt'))},
    ${orNull(text('negativePrompt'))}, ${json('parameters')}, ${orNull(text('clientTrackId'))},
    ${text('submittedBy')}, ${orNull(text('idempotencyKey'))}, ${text('requestSha256')},
    ${number('now')}, case when ${mayLeaveAtOnce} then ${number('now')} end)
  on conflict (submitted_by, idempotency_key) where idempotency_key is not null do nothing
  returning submission_started_at`).yields<{ submission_started_at: number | null }>()

const noteDeparture = statement(sql`
  insert into events (generation_id, at, event, detail)
  select id, ${number('now')},
    case when submission_started_at is null then 'held' else 'submitted' end, '{}'
  from generations where id = ${text('id')} and changes() > 0`)

/** Requests, before anybody hears of them. */
export function submit({ db, atomically }: LedgerDriver) {
  const byKey = db
    .select({ id: generations.id, requestSha256: generations.requestSha256 })
    .from(generations)
    .where(
      and(
        eq(generations.submittedBy, text('submittedBy')),
        eq(generations.idempotencyKey, text('idempotencyKey')),
      ),
    )
    .prepare()

  return {
    /**
     * Writes a request before anybody hears of it. `sent`: it may leave now, and nobody else will
     * send it. `held`: it waits its turn. `taken`: the Idempotency-Key belongs to an earlier
     * request, and nothing was written.
     */
    write: async (
      generation: NewGeneration,
      rule: InFlightRule,
    ): Promise<'sent' | 'held' | 'taken'> => {
      const { model_id, prompt, negative_prompt, ...parameters } = generation.request
      const asked = { modelId: model_id, prompt, negativePrompt: negative_prompt, parameters }
      const [[row]] = await atomically([
        bind(insert, { ...generation, ...outAt(rule), ...asked }),
        bind(noteDeparture, { id: generation.id, now: rule.now }),
      ])
      if (!row) return 'taken'
      return row.submission_started_at === null ? 'held' : 'sent'
    },

    /** Who used an Idempotency-Key first. */
    findByKey: async (submittedBy: string, idempotencyKey: string) =>
      byKey.get({ submittedBy, idempotencyKey }),
  }
}
