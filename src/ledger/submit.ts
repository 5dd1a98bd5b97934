import { and, eq, sql } from 'drizzle-orm'
import type { InpaintRequest } from '../model/generation.ts'
import type { LedgerDriver } from './ledger.ts'
import { gate, generations } from './schema.ts'
import { bind, statement, value } from './statement.ts'

export interface NewGeneration {
  id: string
  request: InpaintRequest
  clientTrackId: string | null
  submittedBy: string
  idempotencyKey: string | null
  requestSha256: string
  requestedAt: number
}

/** What may be out at all: MAX_IN_FLIGHT, null where there is none. */
export interface InFlightRule {
  maxInFlight: number | null
  now: number
}

/**
 * A request that left without a readable answer counts as out for so long: the longest eta seen is
 * 960 s.
 */
const UNCONFIRMED_IS_OUT_MS = 16 * 60_000

const HELD = sql.raw(`status = 'requested' and submission_started_at is null`)
/**
 * A held request that received a callback reached the provider after all, by whatever road: it is
 * never sent.
 */
const WAITING = sql`${HELD} and not exists (select 1 from callbacks where callbacks.generation_id = generations.id)`
const UNANSWERED = sql.raw(`status = 'requested' and submission_started_at is not null`)

const out = sql`(
  (select count(*) from generations where ${UNANSWERED}) +
  (select count(*) from generations where status = 'processing') +
  (select count(*) from generations where status = 'unconfirmed' and submission_started_at > ${value('unconfirmedSince')})
)`

const roomUnderMaximum = sql`(${value('maxInFlight')} is null or ${out} < ${value('maxInFlight')})`

/** A new request leaves at once only where none waits before it and no refusal closed the gate. */
const mayLeaveAtOnce = sql`
  not exists (select 1 from generations where ${WAITING})
  and not exists (select 1 from gate where closed_until > ${value('now')} or refusals > 0)
  and ${roomUnderMaximum}`

const insertGeneration = statement<
  Record<string, unknown>,
  { submission_started_at: number | null }
>(sql`
  insert into generations (id, status, model_id, prompt, negative_prompt, parameters, client_track_id, submitted_by,
    idempotency_key, request_sha256, requested_at, submission_started_at)
  values (${value('id')}, 'requested', ${value('modelId')}, ${value('prompt')}, ${value('negativePrompt')},
    ${value('parameters')}, ${value('clientTrackId')}, ${value('submittedBy')}, ${value('idempotencyKey')},
    ${value('requestSha256')}, ${value('now')}, case when ${mayLeaveAtOnce} then ${value('now')} end)
  on conflict (submitted_by, idempotency_key) where idempotency_key is not null do nothing
  returning submission_started_at`)

const noteDeparture = statement<{ id: string; now: number }>(sql`
  insert into events (generation_id, at, event, detail)
  select id, ${value('now')}, case when submission_started_at is null then 'held' else 'submitted' end, '{}'
  from generations where id = ${value('id')} and changes() > 0`)

/**
 * The oldest held request, once the gate lets one through: after a refusal one at a time, up to
 * what was out when the provider refused, and one more as a probe.
 */
const claimHeld = statement<Record<string, unknown>, { id: string }>(sql`
  update generations set submission_started_at = ${value('now')}, version = version + 1
  where id = (select id from generations where ${WAITING} order by id limit 1)
  and ${roomUnderMaximum}
  and not exists (
    select 1 from gate where closed_until > ${value('now')}
      or (refusals > 0 and exists (select 1 from generations where ${UNANSWERED}))
      or (in_flight_limit <= ${out} and probed))
  returning id`)

const passGate = statement<Record<string, unknown>>(sql`
  update gate set
    probed = probed or coalesce(in_flight_limit < ${out}, 0),
    in_flight_limit = max(in_flight_limit, ${out})
  where changes() > 0`)

const noteSubmitted = statement<{ now: number }>(sql`
  insert into events (generation_id, at, event, detail)
  select id, ${value('now')}, 'submitted', '{}' from generations
  where ${UNANSWERED} and submission_started_at = ${value('now')} and changes() > 0
    and not exists (select 1 from events e where e.generation_id = generations.id and e.event = 'submitted' and e.at = ${value('now')})`)

const hold = statement<{ id: string }, { id: string }>(sql`
  update generations set submission_started_at = null, version = version + 1
  where id = ${value('id')} and ${UNANSWERED} returning id`)

const noteHeld = statement<{ id: string; now: number; detail: string }>(sql`
  insert into events (generation_id, at, event, detail)
  select ${value('id')}, ${value('now')}, 'held', ${value('detail')} where changes() > 0`)

const closeGate = statement<Record<string, unknown>>(sql`
  insert into gate (id, closed_until, in_flight_limit, probed, refusals)
  select 1, ${value('until')}, case when ${value('full')} then ${out} end, 0, 1
  where changes() > 0
  on conflict (id) do update set
    refusals = max(refusals + (closed_until <= ${value('now')}), 1),
    closed_until = max(closed_until, excluded.closed_until),
    probed = 0,
    in_flight_limit = min(coalesce(in_flight_limit, excluded.in_flight_limit), coalesce(excluded.in_flight_limit, in_flight_limit))`)

/**
 * The provider accepted a request: it answers again, and once none waits any more, nothing limits
 * us either.
 */
export const openGate = statement<object>(sql`
  update gate set refusals = 0,
    in_flight_limit = case when exists (select 1 from generations where ${WAITING}) then in_flight_limit end
  where refusals > 0 or in_flight_limit is not null`)

const abandonSubmissions = statement<{ before: number; now: number }, { id: string }>(sql`
  update generations set status = 'unconfirmed', version = version + 1
  where ${UNANSWERED} and submission_started_at <= ${value('before')} returning id`)

const noteAbandoned = statement<{ ids: string; now: number }>(sql`
  insert into events (generation_id, at, event, detail)
  select value, ${value('now')}, 'replied', '{"status":"unreadable","reason":"the service stopped before the reply"}'
  from json_each(${value('ids')})`)

/**
 * What is still open when its time is up, some at a time, and how it fails by what it was waiting
 * for.
 */
const isOverdue = sql`id < ${value('before')} and ((${HELD}) or status = 'unconfirmed' or status = 'processing')`
const overdue = sql`select id from generations where ${isOverdue} order by id limit 500`
const expiryCode = sql.raw(
  `case status when 'requested' then 'rate_limited' when 'unconfirmed' then 'submission_unconfirmed' else 'no_result' end`,
)
const expiryMessage = sql.raw(`case status
  when 'requested' then 'The provider had no room for the request before the deadline.'
  when 'unconfirmed' then 'The request was sent, and nothing was heard of it before the deadline.'
  else 'The provider had no result before the deadline.' end`)

const noteExpired = statement<{ before: string; now: number }>(sql`
  insert into events (generation_id, at, event, detail)
  select id, ${value('now')}, 'failed', json_object('code', ${expiryCode}, 'message', ${expiryMessage})
  from generations where id in (${overdue})`)

const expire = statement<{ before: string; now: number }, { id: string }>(sql`
  update generations set version = version + 1, status = 'failed', finished_at = ${value('now')},
    failure_code = ${expiryCode}, failure_message = ${expiryMessage},
    fetch_due_at = null, fetch_leased_until = null, fetch_owed = 0, record_due_at = ${value('now')}
  where id in (${overdue}) returning id`)

const beat = statement<{ now: number }>(sql`
  insert into heartbeat (id, at) values (1, ${value('now')}) on conflict (id) do update set at = excluded.at`)

/** Requests on their way to the provider. */
export function submitting({ db, atomically }: LedgerDriver) {
  const byKey = db
    .select({ id: generations.id, requestSha256: generations.requestSha256 })
    .from(generations)
    .where(
      and(
        eq(generations.submittedBy, value('submittedBy')),
        eq(generations.idempotencyKey, value('idempotencyKey')),
      ),
    )
    .prepare()
  const theGate = db.select().from(gate).prepare()
  const someHeld = db
    .select({ id: generations.id })
    .from(generations)
    .where(WAITING)
    .limit(1)
    .prepare()
  const someOverdue = db
    .select({ id: generations.id })
    .from(generations)
    .where(isOverdue)
    .limit(1)
    .prepare()
  const outValues = ({ maxInFlight, now }: InFlightRule) => ({
    maxInFlight,
    now,
    unconfirmedSince: now - UNCONFIRMED_IS_OUT_MS,
  })

  return {
    /**
     * Writes a request before anybody hears of it. `sent`: it may leave now, and nobody else will
     * send it. `held`: it waits its turn. `taken`: the Idempotency-Key belongs to an earlier
     * request, and nothing was written.
     */
    requested: async (
      generation: NewGeneration,
      rule: InFlightRule,
    ): Promise<'sent' | 'held' | 'taken'> => {
      const { model_id, prompt, negative_prompt, ...parameters } = generation.request
      const [[row]] = await atomically([
        bind(insertGeneration, {
          ...generation,
          ...outValues(rule),
          modelId: model_id,
          prompt,
          negativePrompt: negative_prompt,
          parameters: JSON.stringify(parameters),
        }),
        bind(noteDeparture, { id: generation.id, now: rule.now }),
      ])
      if (!row) return 'taken'
      return row.submission_started_at === null ? 'held' : 'sent'
    },

    /** Who used an Idempotency-Key first. */
    idempotent: async (submittedBy: string, idempotencyKey: string) =>
      byKey.get({ submittedBy, idempotencyKey }),

    /**
     * Takes the oldest held request that may leave now; null where none may. It is nobody else's
     * then.
     */
    heldClaimed: async (rule: InFlightRule): Promise<string | null> => {
      if (!(await someHeld.get())) return null
      const values = outValues(rule)
      const [[row]] = await atomically([
        bind(claimHeld, values),
        bind(noteSubmitted, rule),
        bind(passGate, values),
      ])
      return row?.id ?? null
    },

    /**
     * The provider accepted nothing: the request waits for its turn again. `full`: because too much
     * is out already.
     */
    refusedForNow: async (
      id: string,
      refusal: { now: number; retryMs: number; full: boolean; reason: string },
    ) => {
      const { now, retryMs, full, reason } = refusal
      const until = now + retryMs
      await atomically([
        bind(hold, { id }),
        bind(noteHeld, {
          id,
          now,
          detail: JSON.stringify({ reason, until: new Date(until).toISOString() }),
        }),
        bind(closeGate, { until, full: full ? 1 : 0, ...outValues({ maxInFlight: null, now }) }),
      ])
    },

    /** How many times in a row the provider took nothing. */
    refusals: async () => (await theGate.get())?.refusals ?? 0,

    /** Requests that were sent before `before` and whose reply nobody is waiting for any more. */
    submissionsAbandoned: async (before: number, now: number) => {
      const [rows] = await atomically([bind(abandonSubmissions, { before, now })])
      if (rows.length > 0)
        await atomically([
          bind(noteAbandoned, { ids: JSON.stringify(rows.map(({ id }) => id)), now }),
        ])
      return rows.map(({ id }) => id)
    },

    /**
     * Ends what was requested before the id `before` and is still open. Some at a time: repeat
     * until none is left.
     */
    expired: async (before: string, now: number) => {
      if (!(await someOverdue.get({ before }))) return []
      const [, rows] = await atomically([
        bind(noteExpired, { before, now }),
        bind(expire, { before, now }),
      ])
      return rows.map(({ id }) => id)
    },

    /** Resolves only if the ledger can be written. */
    beat: async (now: number) => {
      await atomically([bind(beat, { now })])
    },
  }
}
