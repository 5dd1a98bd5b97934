import { sql } from 'drizzle-orm'
import { hostOf } from '../model/host.ts'
import type { GenerationRecord } from '../json/record.ts'
import type { LedgerDriver } from './ledger.ts'
import { bind, statement, value } from './statement.ts'

/**
 * An Idempotency-Key is one generation's: of two records that claim it, the second is not taken.
 */
const restored = statement<Record<string, unknown>, { id: string }>(sql`
  insert into generations (id, status, archive_status, endpoint, model_id, prompt, negative_prompt, parameters,
    client_track_id, provider_id, submitted_by, idempotency_key, request_sha256, requested_at, submission_started_at,
    finished_at, archived_at, generation_time_s, eta_s, seed, meta, tip, webhook_status, failure_code, failure_message,
    nsfw_verdict, nsfw_disputed, fetch_owed, fetch_due_at)
  values (${value('id')}, ${value('status')}, ${value('archive_status')}, ${value('endpoint')}, ${value('model_id')},
    ${value('prompt')}, ${value('negative_prompt')}, ${value('parameters')}, ${value('client_track_id')},
    ${value('provider_id')}, ${value('submitted_by')}, ${value('idempotency_key')}, ${value('request_sha256')},
    ${value('requested_at')}, ${value('submission_started_at')}, ${value('finished_at')}, ${value('archived_at')},
    ${value('generation_time_s')}, ${value('eta_s')}, ${value('seed')}, ${value('meta')}, ${value('tip')},
    ${value('webhook_status')}, ${value('failureCode')}, ${value('failureMessage')}, ${value('nsfwVerdict')},
    ${value('nsfwDisputed')}, ${value('fetchOwed')}, ${value('fetchDueAt')})
  on conflict do nothing returning id`)

const isRestored = sql`exists (select 1 from generations where id = ${value('id')})`

const restoredImages = statement<Record<string, unknown>>(sql`
  insert into images (generation_id, source, position, status, source_url, host, expires_at, due_at, attempts, sha256,
    bytes, content_type, width, height, object_key, suspect, archived_at, margin_ms, failure_code, failure_message)
  select ${value('id')}, value ->> 'source', value ->> 'position', value ->> 'status', value ->> 'source_url',
    value ->> 'host', value ->> 'expires_at', value ->> 'due_at', value ->> 'attempts', value ->> 'sha256',
    value ->> 'bytes', value ->> 'content_type', value ->> 'width', value ->> 'height', value ->> 'object_key',
    value ->> 'suspect', value ->> 'archived_at', value ->> 'margin_ms', value ->> '$.failure.code',
    value ->> '$.failure.message'
  from json_each(${value('images')}) where ${isRestored} on conflict do nothing`)

const restoredOffers = statement<Record<string, unknown>>(sql`
  insert into offers (generation_id, source, position, url, "by", offered_at, expires_at, attempts, exhausted,
    contradicts, unnamed)
  select ${value('id')}, value ->> 'source', value ->> 'position', value ->> 'url', value ->> 'by',
    value ->> 'offered_at', value ->> 'expires_at', value ->> 'attempts', value ->> 'exhausted',
    value ->> 'contradicts', value ->> 'unnamed'
  from json_each(${value('offers')}) where ${isRestored} on conflict do nothing`)

const restoredReports = statement<Record<string, unknown>>(sql`
  insert into nsfw_reports (generation_id, value, verdict, "by", callback_id, at)
  select ${value('id')}, nullif(value -> 'value', 'null'), value ->> 'verdict', value ->> 'by',
    value ->> 'callback_id', value ->> 'at'
  from json_each(${value('reports')}) where ${isRestored}`)

const restoredCallbacks = statement<Record<string, unknown>>(sql`
  insert into callbacks (id, generation_id, received_at, decision, body_sha256, count, last_received_at)
  select value ->> 'id', ${value('id')}, value ->> 'received_at', value ->> 'decision', value ->> 'body_sha256',
    value ->> 'count', value ->> 'last_received_at'
  from json_each(${value('callbacks')}) where ${isRestored} on conflict do nothing`)

const restoredEvents = statement<Record<string, unknown>>(sql`
  insert into events (generation_id, at, event, detail)
  select ${value('id')}, value ->> 'at', value ->> 'event', value -> 'detail'
  from json_each(${value('events')}) where ${isRestored}`)

/** A ledger made again. */
export const rebuilding = ({ atomically }: LedgerDriver) => ({
  /**
   * Everything that the record of a generation tells. False where the ledger has that generation,
   * or its key, already.
   */
  restored: async (record: GenerationRecord, now: number) => {
    const { id } = record
    const [[row]] = await atomically([
      bind(restored, columnsOf(record, now)),
      bind(restoredImages, { id, images: JSON.stringify(imagesOf(record, now)) }),
      bind(restoredOffers, { id, offers: JSON.stringify(record.offers) }),
      bind(restoredReports, { id, reports: JSON.stringify(record.verdict_reports) }),
      bind(restoredCallbacks, { id, callbacks: JSON.stringify(record.callbacks) }),
      bind(restoredEvents, { id, events: JSON.stringify(record.events) }),
    ])
    return row !== undefined
  },
})

/** What was owed is owed again, at once. */
function columnsOf(record: GenerationRecord, now: number) {
  const { model_id, prompt, negative_prompt, ...parameters } = record.parameters ?? {}
  return {
    ...record,
    parameters: record.parameters && JSON.stringify(parameters),
    meta: record.meta && JSON.stringify(record.meta),
    failureCode: record.failure?.code ?? null,
    failureMessage: record.failure?.message ?? null,
    nsfwVerdict: record.nsfw.verdict,
    nsfwDisputed: record.nsfw.disputed ? 1 : 0,
    fetchOwed: record.fetch_owed ? 1 : 0,
    fetchDueAt: record.fetch_owed && record.provider_id !== null ? now : null,
  }
}

const imagesOf = ({ images, offers }: GenerationRecord, now: number) =>
  images.map(({ margin_s, ...image }) => ({
    ...image,
    host: hostOf(image.source_url),
    expires_at:
      offers.find(({ url }) => url === image.source_url)?.expires_at ?? image.archived_at ?? now,
    due_at: image.status === 'pending' ? now : null,
    margin_ms: margin_s === null ? null : Math.round(margin_s * 1000),
  }))
