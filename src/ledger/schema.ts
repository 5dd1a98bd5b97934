import { sql } from 'drizzle-orm'
import {
  blob,
  index,
  integer,
  primaryKey,
  real,
  sqliteTable,
  text,
  uniqueIndex,
} from 'drizzle-orm/sqlite-core'
import type { ArchiveStatus, GenerationFailureCode, GenerationStatus } from '../model/generation.ts'
import type { ImageSource, ImageStatus } from '../model/image.ts'
import type { InpaintRequest } from '../model/request.ts'
import type { NsfwVerdict } from '../model/verdict.ts'
import type { Promised, Road } from '../model/outcome.ts'
import type { ImageFailureCode } from '../model/image.ts'

/** Every time is in milliseconds since the epoch. */
export const generations = sqliteTable(
  'generations',
  {
    /**
     * A UUIDv7, so that the order of ids is the order of requests; the provider knows it as
     * `track_id`.
     */
    id: text().primaryKey(),
    /**
     * Raised by every statement that writes the row; a decision is written only over the version
     * that it was made from.
     */
    version: integer().notNull().default(0),
    status: text().$type<GenerationStatus>().notNull(),
    archiveStatus: text('archive_status').$type<ArchiveStatus>().notNull().default('none'),
    endpoint: text().notNull().default('inpaint'),
    modelId: text('model_id'),
    prompt: text(),
    negativePrompt: text('negative_prompt'),
    /**
     * What was asked for, but for the three columns above. Null where our ledger never saw the
     * request.
     */
    parameters: text({ mode: 'json' }).$type<
      Omit<InpaintRequest, 'model_id' | 'prompt' | 'negative_prompt'>
    >(),
    clientTrackId: text('client_track_id'),
    providerId: text('provider_id'),
    submittedBy: text('submitted_by'),
    idempotencyKey: text('idempotency_key'),
    requestSha256: text('request_sha256'),
    requestedAt: integer('requested_at').notNull(),
    /** Committed before the request leaves; null again while the request is held. */
    submissionStartedAt: integer('submission_started_at'),
    /** How often the provider refused it for now. */
    refusals: integer().notNull().default(0),
    /** The id behind which it stands in line, where that is no longer its own. */
    place: text(),
    finishedAt: integer('finished_at'),
    archivedAt: integer('archived_at'),
    generationTimeS: real('generation_time_s'),
    etaS: real('eta_s'),
    /** Null also where a number would lose digits of it. */
    seed: integer(),
    /** Then these are they. */
    seedDigits: text('seed_digits'),
    meta: text({ mode: 'json' }).$type<Record<string, unknown>>(),
    tip: text(),
    webhookStatus: text('webhook_status'),
    promised: text({ mode: 'json' }).$type<Promised>(),
    failureCode: text('failure_code').$type<GenerationFailureCode>(),
    failureMessage: text('failure_message'),
    nsfwVerdict: text('nsfw_verdict').$type<NsfwVerdict>().notNull().default('unknown'),
    nsfwDisputed: integer('nsfw_disputed', { mode: 'boolean' }).notNull().default(false),
    /** When to ask the provider next; null where nothing is to be asked. */
    fetchDueAt: integer('fetch_due_at'),
    fetchLeasedUntil: integer('fetch_leased_until'),
    /** Fetches since the last news that told nothing. */
    fetches: integer().notNull().default(0),
    /** One answered fetch is owed although the generation may have ended. */
    fetchOwed: integer('fetch_owed', { mode: 'boolean' }).notNull().default(false),
    /**
     * When the bucket is owed a record of this generation: since it became final, or changed after
     * that.
     */
    recordDueAt: integer('record_due_at'),
    /** Of the record that the bucket has as we wrote it; null where we do not know. */
    recordSha256: text('record_sha256'),
  },
  (t) => [
    uniqueIndex('generations_idempotency')
      .on(t.submittedBy, t.idempotencyKey)
      .where(sql`idempotency_key is not null`),
    index('generations_status').on(t.status, t.id),
    index('generations_archive_status').on(t.archiveStatus, t.id),
    // The audit's filter goes with any other one: those are judged here, without a look at the row.
    index('generations_nsfw').on(t.nsfwVerdict, t.id, t.status, t.archiveStatus, t.modelId),
    index('generations_model').on(t.modelId, t.id),
    index('generations_client_track')
      .on(t.clientTrackId, t.id)
      .where(sql`client_track_id is not null`),
    index('generations_held')
      // In other words than coalesce: drizzle-kit takes its comma for the end of a column.
      .on(sql`case when place is null then id else place end`, t.refusals, t.id)
      .where(sql`status = 'requested' and submission_started_at is null`),
    index('generations_unanswered')
      .on(t.id)
      .where(sql`status = 'requested' and submission_started_at is not null`),
    index('generations_fetch')
      .on(t.fetchDueAt)
      .where(sql`fetch_due_at is not null`),
    index('generations_record')
      .on(t.recordDueAt)
      .where(sql`record_due_at is not null`),
  ],
)

/** One picture of a generation, and while it is pending the job of copying it. */
export const images = sqliteTable(
  'images',
  {
    generationId: text('generation_id').notNull(),
    source: text().$type<ImageSource>().notNull(),
    position: integer().notNull(),
    status: text().$type<ImageStatus>().notNull().default('pending'),
    /**
     * The place it came from, or that is tried next. Whole until the image is final, then without
     * its secrets.
     */
    sourceUrl: text('source_url').notNull(),
    host: text().notNull(),
    /** When the place tried next stops working. */
    expiresAt: integer('expires_at').notNull(),
    /** Null while every known place is exhausted and fresh links have been asked for. */
    dueAt: integer('due_at'),
    /** An attempt failed, and `due_at` was not yet seen to have come. */
    waiting: integer({ mode: 'boolean' }).notNull().default(false),
    leasedUntil: integer('leased_until'),
    attempts: integer().notNull().default(0),
    /** Whether fresh links were asked for since the image was offered or retried. */
    freshLinksAsked: integer('fresh_links_asked', { mode: 'boolean' }).notNull().default(false),
    /** The object kept so far; of a pending image: the best cut-short copy. */
    sha256: text(),
    bytes: integer(),
    contentType: text('content_type'),
    width: integer(),
    height: integer(),
    objectKey: text('object_key'),
    suspect: text().$type<'truncated'>(),
    archivedAt: integer('archived_at'),
    /**
     * How long the link that brought it had still to live, below 0 where it was said to be dead.
     * Null where none did at last.
     */
    marginMs: integer('margin_ms'),
    failureCode: text('failure_code').$type<ImageFailureCode>(),
    failureMessage: text('failure_message'),
  },
  (t) => [
    primaryKey({ columns: [t.generationId, t.source, t.position] }),
    index('images_ready')
      .on(t.host, t.expiresAt)
      .where(sql`status = 'pending' and waiting = 0`),
    index('images_waiting')
      .on(t.dueAt)
      .where(sql`status = 'pending' and waiting = 1`),
  ],
)

/** One place to try for one image: a URL, and by which message it was offered. */
export const offers = sqliteTable(
  'offers',
  {
    generationId: text('generation_id').notNull(),
    source: text().$type<ImageSource>().notNull(),
    position: integer().notNull(),
    url: text().notNull(),
    by: text().$type<Road>().notNull(),
    offeredAt: integer('offered_at').notNull(),
    expiresAt: integer('expires_at').notNull(),
    /** Since the image was offered or retried. */
    attempts: integer().notNull().default(0),
    /**
     * Nothing more is to be had here: refused for good, or tried once more after its link had died.
     */
    exhausted: integer({ mode: 'boolean' }).notNull().default(false),
    /** Named by a message that contradicted an earlier success: kept as evidence, never fetched. */
    contradicts: integer({ mode: 'boolean' }).notNull().default(false),
    /** An output that the last answered fetch did not name. */
    unnamed: integer({ mode: 'boolean' }).notNull().default(false),
  },
  (t) => [primaryKey({ columns: [t.generationId, t.source, t.position, t.url] })],
)

export type CallbackDecision =
  | 'accepted'
  | 'duplicate'
  | 'late'
  | 'processing'
  | 'contradicts'
  | 'recovered'
  | 'unreadable'
  | 'mismatched'
  | 'too_large'

/** Deliveries to our webhook URL, kept as evidence. Equal bodies are one row with a count. */
export const callbacks = sqliteTable(
  'callbacks',
  {
    id: text().primaryKey(),
    generationId: text('generation_id').notNull(),
    receivedAt: integer('received_at').notNull(),
    decision: text().$type<CallbackDecision>().notNull(),
    /** Without our secrets. Null from the 21st different body of a generation on. */
    body: blob({ mode: 'buffer' }),
    /** Of the body as received; where it was over the limit, of what was read and an ellipsis. */
    bodySha256: text('body_sha256').notNull(),
    count: integer().notNull().default(1),
    lastReceivedAt: integer('last_received_at').notNull(),
  },
  (t) => [uniqueIndex('callbacks_body').on(t.generationId, t.bodySha256)],
)

/** What was said of a generation's NSFW content, by which message and when. Append-only. */
export const nsfwReports = sqliteTable(
  'nsfw_reports',
  {
    id: integer().primaryKey(),
    generationId: text('generation_id').notNull(),
    /** The provider's raw value as JSON; null where it was silent. */
    value: text({ mode: 'json' }).$type<unknown>(),
    verdict: text().$type<NsfwVerdict>().notNull(),
    by: text().$type<Road>().notNull(),
    callbackId: text('callback_id'),
    at: integer().notNull(),
  },
  (t) => [index('nsfw_reports_generation').on(t.generationId)],
)

export type EventName =
  | 'requested'
  | 'submitted'
  | 'held'
  | 'replied'
  | 'fetched'
  | 'attempt'
  | 'archived'
  | 'lost'
  | 'failed'
  | 'retried'
  | 'record_written'

/**
 * What happened and has no row of its own; callbacks, offers and NSFW reports tell the rest of the
 * timeline.
 */
export const events = sqliteTable(
  'events',
  {
    id: integer().primaryKey(),
    generationId: text('generation_id').notNull(),
    at: integer().notNull(),
    event: text().$type<EventName>().notNull(),
    detail: text({ mode: 'json' }).$type<Record<string, unknown>>().notNull(),
  },
  (t) => [index('events_generation').on(t.generationId)],
)

/** One row: what the provider's last refusal allows us to send. */
export const gate = sqliteTable('gate', {
  id: integer().primaryKey(),
  /** Nothing is sent before. */
  closedUntil: integer('closed_until').notNull().default(0),
  /** How many may be out while requests are held; null: as many as MAX_IN_FLIGHT says. */
  limit: integer('in_flight_limit'),
  /**
   * The one request that may be sent over the limit, to learn whether there is room again, was
   * sent.
   */
  probed: integer({ mode: 'boolean' }).notNull().default(false),
  /** Refusals in a row. */
  refusals: integer().notNull().default(0),
  /** The last that was refused may be refused always: whether there is room is not known. */
  doubted: integer({ mode: 'boolean' }).notNull().default(false),
})

/** One row, written to learn whether the ledger can be written. */
export const heartbeat = sqliteTable('heartbeat', {
  id: integer().primaryKey(),
  at: integer().notNull(),
})
