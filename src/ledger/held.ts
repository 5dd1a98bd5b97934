import { LONGEST_HOLD_MS } from '../model/backoff.ts'
import type { LedgerDriver } from './database.ts'
import { gate, generations } from './schema.ts'
import { bind, flag, json, number, orNull, raw, sql, statement, text } from './statement.ts'

/** What may be out at all: MAX_IN_FLIGHT, null where there is none. */
export interface InFlightRule {
  maxInFlight: number | null
  now: number
}

/** A request that left without a readable answer counts as out for so long. */
const UNCONFIRMED_IS_OUT_MS = 15 * 60_000

/** A rule as the statements here want it. */
export const outAt = ({ maxInFlight, now }: InFlightRule) => ({
  maxInFlight,
  now,
  unconfirmedSince: now - UNCONFIRMED_IS_OUT_MS,
  latestOpening: now + LONGEST_HOLD_MS,
})

export const HELD = raw(`status = 'requested' and submission_started_at is null`)
export const UNANSWERED = raw(`status = 'requested' and submission_started_at is not null`)
/** A held request that received a callback reached the provider after all: it is never sent. */
export const WAITING = sql`${HELD} and not exists (
  select 1 from callbacks where callbacks.generation_id = generations.id)`

const out = sql`(
  (select count(*) from generations where ${UNANSWERED}) +
  (select count(*) from generations where status = 'processing') +
  (select count(*) from generations
    where status = 'unconfirmed' and submission_started_at > ${number('unconfirmedSince')}
      and submission_started_at <= ${number('now')}))`

const roomUnderMaximum = sql`(
  ${orNull(number('maxInFlight'))} is null or ${out} < ${orNull(number('maxInFlight'))})`

/** Until a time that only a clock which ran ahead can have written, nothing is closed. */
const isClosed = sql`closed_until > ${number('now')} and closed_until <= ${number('latestOpening')}`

/** A new request leaves at once only where none waits before it and no refusal closed the gate. */
export const mayLeaveAtOnce = sql`
  not exists (select 1 from generations where ${WAITING})
  and not exists (select 1 from gate where ${isClosed} or refusals > 0)
  and ${roomUnderMaximum}`

/** The order in which they stand in line; the planner prefers another index than its own. */
const PLACE = raw('case when place is null then id else place end')
const IN_LINE = raw('generations indexed by generations_held')

/**
 * The first held request, once the gate lets one through: after a refusal one at a time, up to
 * what was out when the provider refused, and one more as a probe.
 */
const claim = statement(sql`
  update generations set submission_started_at = ${number('now')}, version = version + 1
  where id = (
    select id from ${IN_LINE} where ${WAITING} order by ${PLACE}, refusals, id limit 1)
    and ${roomUnderMaximum}
    and not exists (
      select 1 from gate where (${isClosed})
        or (refusals > 0 and exists (select 1 from generations where ${UNANSWERED}))
        or (in_flight_limit <= ${out} and probed))
  returning id`).yields<{ id: string }>()

const passGate = statement(sql`
  update gate set
    probed = probed or coalesce(in_flight_limit < ${out}, 0),
    in_flight_limit = max(in_flight_limit, ${out})
  where changes() > 0`)

const noteSubmitted = statement(sql`
  insert into events (generation_id, at, event, detail)
  select id, ${number('now')}, 'submitted', '{}' from generations
  where ${UNANSWERED} and submission_started_at = ${number('now')} and changes() > 0
    and not exists (
      select 1 from events e where e.generation_id = generations.id
        and e.event = 'submitted' and e.at = ${number('now')})`)

/**
 * It keeps its place, but from the third on each refusal of its own puts it behind those who are in
 * line by now: one that is always refused must not hold them up, nor later ones go before it for
 * ever.
 */
const hold = statement(sql`
  update generations set submission_started_at = null, version = version + 1,
    refusals = refusals + ${flag('isOwn')},
    place = iif(${flag('isOwn')} and refusals >= 2,
      (select ${PLACE} from ${IN_LINE} where ${HELD} order by ${PLACE} desc limit 1), place)
  where id = ${text('id')} and ${UNANSWERED}`)

const noteHeld = statement(sql`
  insert into events (generation_id, at, event, detail)
  select ${text('id')}, ${number('now')}, 'held', ${json('detail')} where changes() > 0`)

const closeGate = statement(sql`
  insert into gate (id, closed_until, in_flight_limit, probed, refusals, doubted)
  select 1, ${number('until')}, case when ${flag('full')} then ${out} end, 0, 1,
    (select refusals >= 3 from generations where id = ${text('id')})
  where changes() > 0
  on conflict (id) do update set
    refusals = max(refusals + not (${isClosed}), 1),
    closed_until = iif(${isClosed},
      max(closed_until, excluded.closed_until), excluded.closed_until),
    probed = 0,
    doubted = excluded.doubted,
    in_flight_limit = min(
      coalesce(in_flight_limit, excluded.in_flight_limit),
      coalesce(excluded.in_flight_limit, in_flight_limit))`)

/**
 * The provider accepted a request: it answers again, and once none waits any more, nothing limits us
 * either. Where it was perhaps that one request that was refused, one more may probe.
 */
export const openGate = statement(sql`
  update gate set refusals = 0, probed = probed and not doubted,
    in_flight_limit = case
      when exists (select 1 from generations where ${WAITING}) then in_flight_limit end
  where refusals > 0 or in_flight_limit is not null`)

/** Requests that wait until the provider has room. */
export function held({ db, atomically }: LedgerDriver) {
  const theGate = db.select().from(gate).prepare()
  const someHeld = db
    .select({ id: generations.id })
    .from(generations)
    .where(WAITING)
    .limit(1)
    .prepare()

  return {
    /** Takes the oldest that may leave now; null where none may. It is nobody else's then. */
    claim: async (rule: InFlightRule): Promise<string | null> => {
      if (!(await someHeld.get())) return null
      const values = outAt(rule)
      const [[row]] = await atomically([
        bind(claim, values),
        bind(noteSubmitted, rule),
        bind(passGate, values),
      ])
      return row?.id ?? null
    },

    /**
     * The provider accepted nothing: the request waits for its turn again. `full`: because too much
     * is out already. `isOwn`: it was this one that was refused, and not that nobody was reached.
     */
    writeRefusal: async (
      id: string,
      refusal: { now: number; retryMs: number; full: boolean; isOwn: boolean; reason: string },
    ) => {
      const { now, retryMs, full, isOwn, reason } = refusal
      const until = now + Math.min(retryMs, LONGEST_HOLD_MS)
      await atomically([
        bind(hold, { id, isOwn }),
        bind(noteHeld, { id, now, detail: { reason, until: new Date(until).toISOString() } }),
        bind(closeGate, { id, until, full, ...outAt({ maxInFlight: null, now }) }),
      ])
    },

    /** How many times in a row the provider took nothing. */
    readRefusals: async () => (await theGate.get())?.refusals ?? 0,
  }
}
