import { z } from 'zod'
import { ARCHIVE_STATUSES } from '../model/generation.ts'
import { NSFW_VERDICTS } from '../model/verdict.ts'
import { generationJson, redactUrlsIn } from './generation.ts'
import type { WholeGeneration } from '../ledger/generations.ts'
import type { RecordDetails } from '../ledger/record.ts'
import { redactUrl } from '../model/shown-url.ts'
import { uuidTime } from '../model/uuid.ts'

/**
 * Raised when a reader of older records could misread a new one. From 2 on a record is signed: one
 * that lost its HMAC is no older one.
 */
const SCHEMA_VERSIONS = [1, 2] as const

/** By the UTC date of the request, so that a listing finds a day. */
export function recordKey(id: string, requestedAt: number) {
  const [date = ''] = new Date(requestedAt).toISOString().split('T')
  return `generations/${date.replaceAll('-', '/')}/${id}.json`
}

const rfc3339 = (ms: number) => new Date(ms).toISOString()
const rfc3339OrNull = (ms: number | null) => (ms === null ? null : rfc3339(ms))

interface RecordHead {
  schema_version: (typeof SCHEMA_VERSIONS)[number]
  /**
   * The SHA-256 of the record that was lost or altered, and in whose place this one was written:
   * the ledger still knows the other.
   */
  replaces?: string
}

/**
 * All that the doors show of a generation, and what it takes to make its rows again. Links lose
 * their secrets.
 */
export function recordJson(
  head: RecordHead,
  whole: WholeGeneration,
  { offers, callbacks, events }: RecordDetails,
) {
  const { images, ...generation } = generationJson(whole, '')
  const { idempotencyKey, requestSha256, submissionStartedAt, fetchOwed } = whole.generation
  return {
    ...head,
    ...generation,
    idempotency_key: idempotencyKey,
    request_sha256: requestSha256,
    submission_started_at: rfc3339OrNull(submissionStartedAt),
    fetch_owed: fetchOwed,
    images: images.map(({ url, ...image }, n) => ({
      ...image,
      margin_s: seconds(whole.images[n]?.marginMs),
    })),
    offers: offers.map(offerJson),
    verdict_reports: whole.reports.map(({ value, verdict, by, callbackId, at }) => ({
      value,
      verdict,
      by,
      callback_id: callbackId,
      at: rfc3339(at),
    })),
    callbacks: callbacks.map(callbackJson),
    events: events.map(({ at, event, detail }) => ({
      at: rfc3339(at),
      event,
      detail: redactUrlsIn(detail),
    })),
  }
}

const seconds = (ms: number | null | undefined) => (typeof ms === 'number' ? ms / 1000 : null)

const offerJson = (offer: RecordDetails['offers'][number]) => ({
  source: offer.source,
  position: offer.position,
  url: redactUrl(offer.url),
  by: offer.by,
  offered_at: rfc3339(offer.offeredAt),
  expires_at: rfc3339(offer.expiresAt),
  attempts: offer.attempts,
  exhausted: offer.exhausted,
  contradicts: offer.contradicts,
  unnamed: offer.unnamed,
})

const callbackJson = (callback: RecordDetails['callbacks'][number]) => ({
  id: callback.id,
  received_at: rfc3339(callback.receivedAt),
  last_received_at: rfc3339(callback.lastReceivedAt),
  decision: callback.decision,
  body_sha256: callback.bodySha256,
  count: callback.count,
})

const time = z.iso.datetime().transform((text) => Date.parse(text))
const sha256 = z.string().regex(/^[0-9a-f]{64}$/u)
const json = z.record(z.string(), z.unknown())
const failure = z.object({ code: z.string(), message: z.string().nullable() }).nullable()
const source = z.enum(['output', 'proxy'])
const road = z.enum(['reply', 'callback', 'fetch'])

const image = z
  .object({
    source,
    position: z.int().min(0),
    status: z.enum(['pending', 'archived', 'lost']),
    source_url: z.string(),
    sha256: sha256.nullable(),
    bytes: z.int().min(1).nullable(),
    content_type: z.string().nullable(),
    width: z.int().nullable(),
    height: z.int().nullable(),
    object_key: z.string().nullable(),
    attempts: z.int(),
    archived_at: time.nullable(),
    margin_s: z.number().nullable(),
    suspect: z.literal('truncated').nullable(),
    failure,
  })
  .refine(
    ({ object_key: key, sha256: hash }) => key === null || (hash !== null && isKeyOf(key, hash)),
    'object_key',
  )
  .refine(
    ({ status, object_key: key }) => status !== 'archived' || key !== null,
    'an archived image has an object',
  )

const isKeyOf = (key: string, hash: string) =>
  key.startsWith(`sha256/${hash.slice(0, 2)}/${hash.slice(2, 4)}/${hash}.`) && /\.\w+$/u.test(key)

const record = z.object({
  schema_version: z.literal(SCHEMA_VERSIONS),
  replaces: sha256.optional(),
  hmac: z.unknown().optional(),
  id: z.string().refine((id) => uuidTime(id) !== null, 'expected a UUIDv7'),
  // What has not ended has no record.
  status: z.enum(['succeeded', 'failed']),
  archive_status: z.enum(ARCHIVE_STATUSES).exclude(['pending']),
  endpoint: z.string(),
  model_id: z.string().nullable(),
  prompt: z.string().nullable(),
  negative_prompt: z.string().nullable(),
  parameters: json.nullable(),
  client_track_id: z.string().nullable(),
  provider_id: z.string().nullable(),
  submitted_by: z.string().nullable(),
  idempotency_key: z.string().nullable(),
  request_sha256: z.string().nullable(),
  nsfw: z.object({ verdict: z.enum(NSFW_VERDICTS), disputed: z.boolean() }),
  requested_at: time,
  submission_started_at: time.nullable(),
  finished_at: time.nullable(),
  archived_at: time.nullable(),
  generation_time_s: z.number().nullable(),
  eta_s: z.number().nullable(),
  seed: z.union([z.number(), z.string().regex(/^-?\d{16,39}$/u)]).nullable(),
  meta: json.nullable(),
  tip: z.string().nullable(),
  webhook_status: z.string().nullable(),
  failure,
  fetch_owed: z.boolean(),
  images: z.array(image),
  offers: z.array(
    z.object({
      source,
      position: z.int().min(0),
      url: z.string(),
      by: road,
      offered_at: time,
      expires_at: time,
      attempts: z.int(),
      exhausted: z.boolean(),
      contradicts: z.boolean(),
      unnamed: z.boolean(),
    }),
  ),
  verdict_reports: z.array(
    z.object({
      value: z.unknown(),
      verdict: z.enum(NSFW_VERDICTS),
      by: road,
      callback_id: z.string().nullable(),
      at: time,
    }),
  ),
  callbacks: z.array(
    z.object({
      id: z.string(),
      received_at: time,
      last_received_at: time,
      decision: z.string(),
      body_sha256: sha256,
      count: z.int().min(1),
    }),
  ),
  events: z.array(z.object({ at: time, event: z.string(), detail: json })),
})

/** A record as it was read; every time is in milliseconds since the epoch. */
export type GenerationRecord = z.output<typeof record>

/**
 * The record that `bytes` are, under the key that it belongs under, and their text; else what is
 * wrong with it, in a few words.
 */
export function readRecord(
  key: string,
  bytes: Uint8Array,
): { record: GenerationRecord; text: string } | string {
  const text = textOf(bytes)
  const result = record.safeParse(parsed(text))
  if (!result.success) {
    const [{ path, message } = { path: [], message: '' }] = result.error.issues
    return path.length === 0 ? 'no record of a generation' : `${path.join('.')}: ${message}`
  }
  const itsKey = recordKey(result.data.id, result.data.requested_at)
  return itsKey === key ? { record: result.data, text } : `it belongs under ${itsKey}`
}

/** Nothing is mended: other bytes are no record. */
function textOf(bytes: Uint8Array) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return ''
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
