import { and, eq, sql, type SQL } from 'drizzle-orm'
import type { ImageSource, NsfwVerdict, OfferedImage, Road } from '../model/generation.ts'
import { hostOf } from '../model/host.ts'
import { deriveArchive, forgetSecrets } from './ends.ts'
import type { LedgerDriver } from './ledger.ts'
import { type CallbackDecision, callbacks, type EventName, generations } from './schema.ts'
import { type Bound, bind, statement, value } from './statement.ts'
import { openGate } from './submit.ts'

export type GenerationRow = typeof generations.$inferSelect

export interface KnownImage {
  source: ImageSource
  position: number
  status: 'pending' | 'archived' | 'lost'
  /** Every known place is exhausted, and fresh links have been asked for. */
  parked: boolean
}

export interface KnownOffer extends OfferedImage {
  contradicts: boolean
}

/** A generation as a decision needs to see it. */
export interface Known {
  generation: Settled & Pick<GenerationRow, 'id' | 'version' | 'archiveStatus'>
  images: KnownImage[]
  offers: KnownOffer[]
  /** The delivery that first brought the very body that is at hand; null where none did. */
  firstDelivery: string | null
}

/** The columns that a decision may change; a decision states all of them. */
export type Settled = Pick<
  GenerationRow,
  | 'status'
  | 'providerId'
  | 'finishedAt'
  | 'generationTimeS'
  | 'etaS'
  | 'seed'
  | 'meta'
  | 'tip'
  | 'webhookStatus'
  | 'failureCode'
  | 'failureMessage'
  | 'nsfwVerdict'
  | 'nsfwDisputed'
  | 'fetchDueAt'
  | 'fetches'
  | 'fetchOwed'
>

export interface NewOffer extends OfferedImage {
  expiresAt: number
  contradicts: boolean
}

export interface NsfwReport {
  value: unknown
  verdict: NsfwVerdict
}

/** A callback as it is kept. */
export interface CallbackEvidence {
  id: string
  receivedAt: number
  body: Uint8Array
  bodySha256: string
}

/** Everything that one message changes, made from one version of the generation. */
export interface Decision {
  road: Road
  at: number
  next: Settled
  offers: NewOffer[]
  report: NsfwReport | null
  /** The outputs that an answered fetch left out; null where there was none. */
  unnamed: KnownOffer[] | null
  /** Parked images for which no fresh link came. */
  lost: Pick<KnownImage, 'source' | 'position'>[]
  events: { event: EventName; detail: Record<string, unknown> }[]
  callback: (CallbackEvidence & { decision: CallbackDecision }) | null
}

/** Bodies kept whole for one generation; of further ones only hash and time. */
const MOST_BODIES = 20

const deciding = (archive: SQL) =>
  statement<Record<string, unknown>, { id: string }>(sql`
  update generations set version = version + 1, fetch_leased_until = null,
    status = ${value('status')}, provider_id = ${value('providerId')}, finished_at = ${value('finishedAt')},
    generation_time_s = ${value('generationTimeS')}, eta_s = ${value('etaS')}, seed = ${value('seed')},
    meta = ${value('meta')}, tip = ${value('tip')}, webhook_status = ${value('webhookStatus')},
    failure_code = ${value('failureCode')}, failure_message = ${value('failureMessage')},
    nsfw_verdict = ${value('nsfwVerdict')}, nsfw_disputed = ${value('nsfwDisputed')},
    fetch_due_at = ${value('fetchDueAt')}, fetches = ${value('fetches')}, fetch_owed = ${value('fetchOwed')},
    ${archive}
  where id = ${value('id')} and version = ${value('version')} returning id`)

const decided = deciding(sql`record_due_at = case
  when ${value('isNews')} and ${value('status')} in ('succeeded', 'failed') and archive_status <> 'pending' then ${value('at')}
  else record_due_at end`)

/**
 * The first images of a generation are all still to be copied: its archive status needs no
 * deriving.
 */
const decidedToCopy = deciding(sql`archive_status = 'pending', record_due_at = null`)

const adopted = statement<{ id: string; requestedAt: number }>(sql`
  insert into generations (id, status, requested_at) values (${value('id')}, 'unconfirmed', ${value('requestedAt')})
  on conflict (id) do nothing`)

// Each of the following writes at least one row when the statement before it did, so `changes() >
// 0` carries the first statement's verdict to the last.

const kept = statement<Record<string, unknown>>(sql`
  insert into callbacks (id, generation_id, received_at, decision, body, body_sha256, last_received_at)
  select ${value('id')}, ${value('generationId')}, ${value('at')}, ${value('decision')},
    case when (select count(*) from callbacks where generation_id = ${value('generationId')}) < ${MOST_BODIES}
      then ${value('body')} end,
    ${value('bodySha256')}, ${value('at')}
  where changes() > 0`)

const reported = statement<Record<string, unknown>>(sql`
  insert into nsfw_reports (generation_id, value, verdict, "by", callback_id, at)
  select ${value('generationId')}, ${value('value')}, ${value('verdict')}, ${value('road')}, ${value('callbackId')}, ${value('at')}
  where changes() > 0`)

const noted = statement<Record<string, unknown>>(sql`
  insert into events (generation_id, at, event, detail)
  select ${value('generationId')}, ${value('at')}, value ->> 'event', value -> 'detail' from json_each(${value('events')})
  where changes() > 0`)

const COPY = [
  'source_url',
  'sha256',
  'bytes',
  'content_type',
  'width',
  'height',
  'object_key',
  'suspect',
] as const
const isTaken = sql.raw("images.status = 'pending' and excluded.status = 'archived'")
const takenCopy = sql.join(
  [...COPY, 'status', 'archived_at'].map(
    (name) =>
      sql`${sql.raw(name)} = iif(${isTaken}, ${sql.raw(`excluded.${name}`)}, ${sql.raw(`images.${name}`)})`,
  ),
  sql`, `,
)

/**
 * An image that is pending takes a further place at once; one that is final only remembers it.
 * Where the URL was downloaded for another image of the generation, its copy serves a new or
 * pending one too.
 */
const offeredImages = statement<Record<string, unknown>>(sql`
  insert into images (generation_id, source, position, source_url, host, expires_at, due_at, status, archived_at,
    sha256, bytes, content_type, width, height, object_key, suspect)
  select ${value('generationId')}, value ->> 'source', value ->> 'position', value ->> 'url', value ->> 'host',
    value ->> 'expiresAt', iif(twin.sha256 is null, ${value('at')}, null), iif(twin.sha256 is null, 'pending', 'archived'),
    iif(twin.sha256 is null, null, ${value('at')}), twin.sha256, twin.bytes, twin.content_type, twin.width, twin.height,
    twin.object_key, twin.suspect
  from json_each(${value('images')}) left join images twin
    on twin.generation_id = ${value('generationId')} and twin.status = 'archived' and twin.source_url = value ->> 'url'
  where changes() > 0
  on conflict (generation_id, source, position) do update set ${takenCopy},
    leased_until = iif(${isTaken}, null, leased_until),
    failure_code = iif(${isTaken}, null, failure_code), failure_message = iif(${isTaken}, null, failure_message),
    expires_at = case when status = 'pending' then min(expires_at, excluded.expires_at) else expires_at end,
    due_at = case when ${isTaken} then null when status = 'pending' then min(coalesce(due_at, excluded.due_at), coalesce(excluded.due_at, due_at)) else due_at end,
    waiting = waiting and excluded.due_at is null`)

const noteTaken = statement<{ generationId: string; at: number }>(sql`
  insert into events (generation_id, at, event, detail)
  select generation_id, archived_at, 'archived', json_object('source', source, 'position', position, 'sha256', sha256, 'bytes', bytes)
  from images where generation_id = ${value('generationId')} and status = 'archived' and archived_at = ${value('at')}
    and not exists (select 1 from events e where e.generation_id = images.generation_id and e.event = 'archived'
      and e.at = archived_at and e.detail ->> 'source' = source and e.detail ->> 'position' = position)`)

const offeredPlaces = statement<Record<string, unknown>>(sql`
  insert into offers (generation_id, source, position, url, "by", offered_at, expires_at, contradicts)
  select ${value('generationId')}, value ->> 'source', value ->> 'position', value ->> 'url', ${value('road')}, ${value('at')},
    value ->> 'expiresAt', value ->> 'contradicts'
  from json_each(${value('offers')}) where changes() > 0
  on conflict (generation_id, source, position, url) do update set contradicts = min(contradicts, excluded.contradicts)`)

const unnamed = statement<Record<string, unknown>>(sql`
  update offers set unnamed = url in (select value from json_each(${value('urls')}))
  where generation_id = ${value('generationId')} and source = 'output' and not contradicts and changes() > 0`)

const parkedLost = statement<Record<string, unknown>>(sql`
  update images set status = 'lost', leased_until = null
  where generation_id = ${value('generationId')} and status = 'pending' and due_at is null and changes() > 0
    and (source, position) in (select value ->> 'source', value ->> 'position' from json_each(${value('lost')}))`)

const repeated = statement<Record<string, unknown>>(sql`
  update callbacks set count = count + 1, last_received_at = max(last_received_at, ${value('receivedAt')})
  where generation_id = ${value('generationId')} and body_sha256 = ${value('bodySha256')}`)

const settledColumns = {
  status: generations.status,
  providerId: generations.providerId,
  finishedAt: generations.finishedAt,
  generationTimeS: generations.generationTimeS,
  etaS: generations.etaS,
  seed: generations.seed,
  meta: generations.meta,
  tip: generations.tip,
  webhookStatus: generations.webhookStatus,
  failureCode: generations.failureCode,
  failureMessage: generations.failureMessage,
  nsfwVerdict: generations.nsfwVerdict,
  nsfwDisputed: generations.nsfwDisputed,
  fetchDueAt: generations.fetchDueAt,
  fetches: generations.fetches,
  fetchOwed: generations.fetchOwed,
} satisfies Record<keyof Settled, unknown>

/** Truth is 0 or 1 where json_object writes it. */
type InJson<T, Truth extends keyof T> = Omit<T, Truth> & Record<Truth, 0 | 1>

// With their generation in one query: one snapshot, and on D1 each query is a request of its own.

const theirImages = sql`(
  select json_group_array(json_object('source', source, 'position', position, 'status', status,
    'parked', status = 'pending' and due_at is null))
  from images where generation_id = generations.id)`.mapWith((json: string) =>
  (JSON.parse(json) as InJson<KnownImage, 'parked'>[]).map((image) => ({
    ...image,
    parked: image.parked === 1,
  })),
)

/** Offers without images exist: those that only contradict. */
const theirOffers = sql`(
  select json_group_array(json_object('source', source, 'position', position, 'url', url, 'contradicts', contradicts))
  from offers where generation_id = generations.id)`.mapWith((json: string) =>
  (JSON.parse(json) as InJson<KnownOffer, 'contradicts'>[]).map((offer) => ({
    ...offer,
    contradicts: offer.contradicts === 1,
  })),
)

/** What messages of the provider change. */
export function settling({ db, atomically }: LedgerDriver) {
  const known = db
    .select({
      ...settledColumns,
      id: generations.id,
      version: generations.version,
      archiveStatus: generations.archiveStatus,
      images: theirImages,
      offers: theirOffers,
      firstDelivery: sql<string | null>`(
        select id from callbacks where generation_id = generations.id and body_sha256 = ${value('bodySha256')})`,
    })
    .from(generations)
    .where(eq(generations.id, value('id')))
    .prepare()
  const byBody = db
    .select({ id: callbacks.id, lastReceivedAt: callbacks.lastReceivedAt })
    .from(callbacks)
    .where(
      and(
        eq(callbacks.generationId, value('generationId')),
        eq(callbacks.bodySha256, value('bodySha256')),
      ),
    )
    .prepare()

  return {
    /**
     * The generation as it stands, and whether this body was received for it; null where the ledger
     * has none of this id.
     */
    known: async (id: string, bodySha256: string | null = null): Promise<Known | null> => {
      const row = await known.get({ id, bodySha256 })
      if (!row) return null
      const { images, offers, firstDelivery, ...generation } = row
      return { generation, images, offers, firstDelivery }
    },

    /**
     * A callback came for a generation that this ledger does not know: it was restored from a
     * backup.
     */
    recovered: async (id: string, requestedAt: number) => {
      await atomically([bind(adopted, { id, requestedAt })])
    },

    /** Counts a callback whose body was received before. */
    callbackRepeated: async (
      generationId: string,
      { bodySha256, receivedAt }: CallbackEvidence,
    ) => {
      await atomically([bind(repeated, { generationId, bodySha256, receivedAt })])
    },

    /** Whether a delivery is kept, or was counted, although whoever wrote that never heard so. */
    callbackKept: async (delivery: {
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
    settled: async (known: Known, decision: Decision) => {
      const [[won]] = await atomically([
        decidedBy(known, decision),
        ...consequences(known, decision),
      ])
      return won !== undefined
    },
  }
}

const opensArchive = ({ images }: Known, { offers }: Decision) =>
  images.length === 0 && offers.some(({ contradicts }) => !contradicts)

const decidedBy = (known: Known, decision: Decision) => {
  const { generation } = known
  const { next, at } = decision
  return bind(opensArchive(known, decision) ? decidedToCopy : decided, {
    ...next,
    at,
    isNews: isNews(generation, decision) ? 1 : 0,
    id: generation.id,
    version: generation.version,
    meta: next.meta && JSON.stringify(next.meta),
    nsfwDisputed: next.nsfwDisputed ? 1 : 0,
    fetchOwed: next.fetchOwed ? 1 : 0,
  })
}

/** Whether a record would show the difference: when the provider is asked next is no part of it. */
function isNews(generation: Settled, { next, callback, report, offers, lost, unnamed }: Decision) {
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

function consequences(known: Known, decision: Decision): Bound[] {
  const { generation } = known
  const { at, road, callback, report } = decision
  const generationId = generation.id
  const list: Bound[] = []
  if (callback) {
    const { id, body, bodySha256, decision: what } = callback
    list.push(bind(kept, { generationId, at, id, body, bodySha256, decision: what }))
  }
  if (report)
    list.push(
      bind(reported, {
        generationId,
        at,
        road,
        value: report.value === undefined ? null : JSON.stringify(report.value),
        verdict: report.verdict,
        callbackId: callback?.id ?? null,
      }),
    )
  if (decision.events.length > 0)
    list.push(bind(noted, { generationId, at, events: JSON.stringify(decision.events) }))
  if (decision.unnamed && known.offers.some(isStandingOutput))
    list.push(
      bind(unnamed, { generationId, urls: JSON.stringify(decision.unnamed.map(({ url }) => url)) }),
    )
  return [...list, ...imageConsequences(known, decision)]
}

function imageConsequences(known: Known, decision: Decision) {
  const { id: generationId } = known.generation
  const { at, road } = decision
  const list: Bound[] = []
  const offered = decision.offers.filter(({ contradicts }) => !contradicts)
  if (decision.offers.length > 0)
    list.push(
      bind(offeredPlaces, { generationId, at, road, offers: JSON.stringify(decision.offers) }),
    )
  if (offered.length > 0)
    list.push(
      bind(offeredImages, { generationId, at, images: JSON.stringify(soonestOfEach(offered)) }),
    )
  if (decision.lost.length > 0)
    list.push(bind(parkedLost, { generationId, lost: JSON.stringify(decision.lost) }))
  if (offered.length + decision.lost.length > 0 && !opensArchive(known, decision))
    list.push(
      bind(deriveArchive, { id: generationId, now: at }),
      bind(noteTaken, { generationId, at }),
    )
  if (decision.lost.length > 0) list.push(...forgetSecrets(generationId, known.offers))
  if (road === 'reply') list.push(bind(openGate, {}))
  return list
}

/** Whether a message that nothing contradicted offered it as an output. */
export const isStandingOutput = ({ source, contradicts }: KnownOffer) =>
  source === 'output' && !contradicts

/** One place an image, the one that dies first, as the place to try next. */
function soonestOfEach(offered: NewOffer[]) {
  const soonest = new Map<string, NewOffer & { host: string }>()
  for (const offer of offered.toSorted((a, b) => a.expiresAt - b.expiresAt)) {
    const key = `${offer.source} ${offer.position}`
    if (!soonest.has(key)) soonest.set(key, { ...offer, host: hostOf(offer.url) })
  }
  return [...soonest.values()]
}
