import { hostOf } from '../model/link.ts'
import { seedColumns } from '../model/seed.ts'
import type { GenerationRecord } from '../json/record.ts'
import type { LedgerDriver } from './database.ts'
import { bind, flag, json, number, orNull, sql, statement, text } from './statement.ts'

/**
 * An Idempotency-Key is one generation's: of two records that claim it, the second is not taken.
 */
const restored = statement(sql`
  insert into generations (id, status, archive_status, endpoint, model_id, prompt, negative_prompt, parameters,
    client_track_id, provider_id, submitted_by, idempotency_key, request_sha256, requested_at, submission_started_at,
    finished_at, archived_at, generation_time_s, eta_s, seed, seed_digits, meta, tip,
    webhook_status, failure_code, failure_message, nsfw_verdict, nsfw_disputed,
    fetch_owed, fetch_due_at, record_sha256, record_due_at)
  values (${text('id')}, ${text('status')}, ${text('archive_status')}, ${text('endpoint')}, ${orNull(text('model_id'))},
    ${orNull(text('prompt'))}, ${orNull(text('negative_prompt'))}, ${orNull(json('parameters'))}, ${orNull(text('client_track_id'))},
    ${orNull(text('provider_id'))}, ${orNull(text('submitted_by'))}, ${orNull(text('idempotency_key'))}, ${orNull(text('request_sha256'))},
    ${number('requested_at')}, ${orNull(number('submission_started_at'))}, ${orNull(number('finished_at'))}, ${orNull(number('archived_at'))},
    ${orNull(number('generation_time_s'))}, ${orNull(number('eta_s'))}, ${orNull(number('seed'))},
    ${orNull(text('seedDigits'))}, ${orNull(json('meta'))}, ${orNull(text('tip'))},
    ${orNull(text('webhook_status'))}, ${orNull(text('failureCode'))}, ${orNull(text('failureMessage'))},
    ${text('nsfwVerdict')}, ${flag('nsfwDisputed')},
    ${flag('fetchOwed')}, ${orNull(number('fetchDueAt'))},
    ${text('recordSha256')}, ${orNull(number('recordDueAt'))})
  on conflict do nothing returning id`).yields<{ id: string }>()

const isRestored = sql`exists (select 1 from generations where id = ${text('id')})`

const restoredImages = statement(sql`
  insert into images (generation_id, source, position, status, source_url, host, expires_at, due_at, attempts, sha256,
    bytes, content_type, width, height, object_key, suspect, archived_at, margin_ms, failure_code, failure_message)
  select ${text('id')}, value ->> 'source', value ->> 'position', value ->> 'status', value ->> 'source_url',
    value ->> 'host', value ->> 'expires_at', value ->> 'due_at', value ->> 'attempts', value ->> 'sha256',
    value ->> 'bytes', value ->> 'content_type', value ->> 'width', value ->> 'height', value ->> 'object_key',
    value ->> 'suspect', value ->> 'archived_at', value ->> 'margin_ms', value ->> '$.failure.code',
    value ->> '$.failure.message'
  from json_each(${json('images')}) where ${isRestored} on conflict do nothing`)

const restoredOffers = statement(sql`
  insert into offers (generation_id, source, position, url, "by", offered_at, expires_at, attempts, exhausted,
    contradicts, unnamed)
  select ${text('id')}, value ->> 'source', value ->> 'position', value ->> 'url', value ->> 'by',
    value ->> 'offered_at', value ->> 'expires_at', value ->> 'attempts', value ->> 'exhausted',
    value ->> 'contradicts', value ->> 'unnamed'
  from json_each(${json('offers')}) where ${isRestored} on conflict do nothing`)

const restoredReports = statement(sql`
  insert into nsfw_reports (generation_id, value, verdict, "by", callback_id, at)
  select ${text('id')}, nullif(value -> 'value', 'null'), value ->> 'verdict', value ->> 'by',
    value ->> 'callback_id', value ->> 'at'
  from json_each(${json('reports')}) where ${isRestored}`)

const restoredCallbacks = statement(sql`
  insert into callbacks (id, generation_id, received_at, decision, body_sha256, count, last_received_at)
  select value ->> 'id', ${text('id')}, value ->> 'received_at', value ->> 'decision', value ->> 'body_sha256',
    value ->> 'count', value ->> 'last_received_at'
  from json_each(${json('callbacks')}) where ${isRestored} on conflict do nothing`)

const restoredEvents = statement(sql`
  insert into events (generation_id, at, event, detail)
  select ${text('id')}, value ->> 'at', value ->> 'event', value -> 'detail'
  from json_each(${json('events')}) where ${isRestored}`)

/** A ledger made again. */
export const rebuild = ({ atomically }: LedgerDriver) => ({
  /**
   * Everything that the record of a generation tells, whose text has that hash. False where the
   * ledger has that generation, or its key, already. `isOwed`: another record is owed.
   */
  writeRestored: async (
    record: GenerationRecord,
    { sha256, isOwed }: { sha256: string; isOwed: boolean },
    now: number,
  ) => {
    const { id } = record
    const columns = {
      ...columnsOf(record, now),
      recordSha256: sha256,
      recordDueAt: isOwed ? now : null,
    }
    const [[row]] = await atomically([
      bind(restored, columns),
      bind(restoredImages, { id, images: imagesOf(record, now) }),
      bind(restoredOffers, { id, offers: record.offers }),
      bind(restoredReports, { id, reports: record.verdict_reports }),
      bind(restoredCallbacks, { id, callbacks: record.callbacks }),
      bind(restoredEvents, { id, events: record.events }),
    ])
    return row !== undefined
  },
})

/** What was owed is owed again, at once. */
function columnsOf(record: GenerationRecord, now: number) {
  const { model_id, prompt, negative_prompt, ...parameters } = record.parameters ?? {}
  return {
    ...record,
    ...seedColumns(record.seed),
    parameters: record.parameters && parameters,
    meta: record.meta && record.meta,
    failureCode: record.failure?.code ?? null,
    failureMessage: record.failure?.message ?? null,
    nsfwVerdict: record.nsfw.verdict,
    nsfwDisputed: record.nsfw.disputed,
    fetchOwed: record.fetch_owed,
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

export type RebuildWrites = ReturnType<typeof rebuild>
