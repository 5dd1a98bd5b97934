import { and, eq } from 'drizzle-orm'
import type { CallbackEvidence, Decision, Known, Settled } from '../model/known.ts'
import type { LedgerDriver } from './database.ts'
import { owed } from './ends.ts'
import { openGate } from './held.ts'
import { known, settledColumns } from './known.ts'
import { imageConsequences, leaveUnnamed, opensArchive } from './offered.ts'
import { callbacks } from './schema.ts'
import {
  assignments,
  type Bound,
  bind,
  bytes,
  flag,
  type Fragment,
  json,
  number,
  orNull,
  raw,
  sql,
  statement,
  text,
} from './statement.ts'

/** Bodies kept whole for one generation; of further ones only hash and time. */
const MOST_BODIES = 20

/** What is not named is not written: SQLite would write the entry of its index anew. */
const deciding = (archive: { sets: Fragment; status: Fragment }) => {
  const after = { status: sql`${text('status')}`, isNews: sql`${flag('isNews')}` }
  return statement(sql`
    update generations set version = version + 1, fetch_leased_until = null,
      ${archive.sets} ${assignments(settledColumns)},
      ${owed({ ...after, archiveStatus: archive.status })}
    where id = ${text('id')} and version = ${number('version')} returning id`).yields<{
    id: string
  }>()
}

const decide = deciding({ sets: raw(''), status: raw('archive_status') })
const decideToCopy = deciding({
  sets: raw(`archive_status = 'pending',`),
  status: raw(`'pending'`),
})

const adopt = statement(sql`
  insert into generations (id, status, requested_at)
  values (${text('id')}, 'unconfirmed', ${number('requestedAt')})
  on conflict (id) do nothing`)

// Each of the following writes at least one row when the statement before it did, so `changes() > 0`
// carries the first statement's verdict to the last.

const keep = statement(sql`
  insert into callbacks (id, generation_id, received_at, decision, body, body_sha256,
    last_received_at)
  select ${text('id')}, ${text('generationId')}, ${number('at')}, ${text('decision')},
    case when (
      select count(*) from callbacks where generation_id = ${text('generationId')}
    ) < ${MOST_BODIES} then ${bytes('body')} end,
    ${text('bodySha256')}, ${number('at')}
  where changes() > 0`)

const report = statement(sql`
  insert into nsfw_reports (generation_id, value, verdict, "by", callback_id, at)
  select ${text('generationId')}, ${json('value')}, ${text('verdict')}, ${text('road')},
    ${orNull(text('callbackId'))}, ${number('at')}
  where changes() > 0`)

const note = statement(sql`
  insert into events (generation_id, at, event, detail)
  select ${text('generationId')}, ${number('at')}, value ->> 'event', value -> 'detail'
  from json_each(${json('events')}) where changes() > 0`)

const repeat = statement(sql`
  update callbacks set count = count + 1,
    last_received_at = max(last_received_at, ${number('receivedAt')})
  where generation_id = ${text('generationId')} and body_sha256 = ${text('bodySha256')}`)

/** What messages of the provider change. */
export function settle(driver: LedgerDriver) {
  const { db, atomically } = driver
  const byBody = db
    .select({ id: callbacks.id, lastReceivedAt: callbacks.lastReceivedAt })
    .from(callbacks)
    .where(
      and(
        eq(callbacks.generationId, text('generationId')),
        eq(callbacks.bodySha256, text('bodySha256')),
      ),
    )
    .prepare()

  return {
    readKnown: known(driver),

    /** A callback came for a generation that this ledger does not know: it was restored. */
    writeRecovered: async (id: string, requestedAt: number) => {
      await atomically([bind(adopt, { id, requestedAt })])
    },

    /** Counts a callback whose body was received before. */
    writeRepeat: async (
      generationId: string,
      { bodySha256, receivedAt }: Pick<CallbackEvidence, 'bodySha256' | 'receivedAt'>,
    ) => {
      await atomically([bind(repeat, { generationId, bodySha256, receivedAt })])
    },

    /** Whether a delivery is kept, or was counted, although whoever wrote that never heard so. */
    readIsKept: async (delivery: {
      id: string
      generationId: string
      bodySha256: string
      receivedAt: number
    }) => {
      const first = await byBody.get(delivery)
      return (
        first !== undefined &&
        (first.id === delivery.id || first.lastReceivedAt === delivery.receivedAt)
      )
    },

    /**
     * Writes a decision whole, unless the generation changed since it was made: then false, and
     * nothing is written.
     */
    writeDecision: async (known: Known, decision: Decision) => {
      const [[won]] = await atomically([
        decided(known, decision),
        ...evidence(known, decision),
        ...imageConsequences(known, decision),
        ...(decision.road === 'reply' ? [bind(openGate, {})] : []),
      ])
      return won !== undefined
    },
  }
}

const decided = (known: Known, decision: Decision) => {
  const { id, version } = known.generation
  const { next, at } = decision
  const isNews = tellsNews(known.generation, decision)
  const statement = opensArchive(known, decision) ? decideToCopy : decide
  return bind(statement, { ...next, at, isNews, id, version })
}

/** Whether a record would show the difference: when the provider is asked next is no part of it. */
function tellsNews(
  generation: Settled,
  { next, callback, report, offers, lost, unnamed }: Decision,
) {
  const { fetchDueAt, fetches, fetchOwed, ...facts } = next
  const changed = Object.entries(facts).some(
    ([name, fact]) => JSON.stringify(fact) !== JSON.stringify(generation[name as keyof Settled]),
  )
  return (
    changed ||
    callback !== null ||
    report !== null ||
    unnamed !== null ||
    offers.length + lost.length > 0
  )
}

function evidence(known: Known, { at, road, callback, report: said, ...rest }: Decision) {
  const generationId = known.generation.id
  const list: Bound[] = []
  if (callback) list.push(bind(keep, { ...callback, generationId, at }))
  if (said) {
    const about = { generationId, at, road, callbackId: callback?.id ?? null }
    list.push(bind(report, { ...said, ...about }))
  }
  if (rest.events.length > 0) list.push(bind(note, { generationId, at, events: rest.events }))
  if (rest.unnamed) list.push(...leaveUnnamed(known, rest.unnamed))
  return list
}
