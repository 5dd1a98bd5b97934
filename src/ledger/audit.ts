import { and, asc, gt, gte, inArray, isNull, lt, lte, ne, type SQL, sql } from 'drizzle-orm'
import type { ArchiveStatus, GenerationFailureCode, GenerationStatus } from '../model/generation.ts'
import type { ImageSource, ImageStatus } from '../model/image.ts'
import type { LedgerDriver } from './database.ts'
import { generations, images } from './schema.ts'

/** An object that the ledger names, and what it should be. */
export interface NamedObject {
  key: string
  sha256: string
  bytes: number
}

/** One image that shows an object. */
export interface ShowingImage {
  key: string
  generationId: string
  source: ImageSource
  position: number
  contentType: string | null
}

/** Ids are in the order of requests: from `fromId` on, and before `beforeId`. */
export interface AuditRange {
  fromId: string
  beforeId: string
}

/** A generation, and what the ledger knows of how it ended. */
export interface AuditedGeneration {
  id: string
  status: GenerationStatus
  archiveStatus: ArchiveStatus
  requestedAt: number
  finishedAt: number | null
  failureCode: GenerationFailureCode | null
  nsfwVerdict: string
  recordDueAt: number | null
  /** Deliveries, equal ones once. */
  callbacks: number
  /** Which messages came at the very time when it ended, and say that it did. */
  byCallback: number
  byReply: number
  byFetch: number
  /** How often it failed, and when at last. */
  failures: number
  lastFailedAt: number | null
  /** Links that nothing contradicted. */
  offers: number
}

export interface AuditedImage {
  generationId: string
  source: ImageSource
  position: number
  status: ImageStatus
  objectKey: string | null
  sha256: string | null
  bytes: number | null
  archivedAt: number | null
  marginMs: number | null
  dueAt: number | null
  leasedUntil: number | null
  /** When the last of its links dies; null where it has none, and of images that are final. */
  lastExpiresAt: number | null
}

const PAGE = 500

/** What is known of the record of a generation. */
const ofRecord = {
  id: generations.id,
  requestedAt: generations.requestedAt,
  recordSha256: generations.recordSha256,
  recordDueAt: generations.recordDueAt,
}

/**
 * What an audit reads, page by page, of a ledger that somebody else may be writing. What is not to
 * change meanwhile is held in temporary tables of this connection, which SQLite keeps in a file of
 * their own.
 */
export function audit({ db }: LedgerDriver) {
  const listed = (json: unknown[]) => sql`(select value from json_each(${JSON.stringify(json)}))`

  return {
    /** Makes room for a look at the store. */
    storeOpened: async () => {
      await db.run(
        sql`create temp table stored (key text primary key, bytes integer not null) without rowid`,
      )
    },

    /** The store has these. */
    storeListed: async (objects: { key: string; bytes: number }[]) => {
      await db.run(sql`insert or ignore into stored
        select value ->> 'key', value ->> 'bytes' from json_each(${JSON.stringify(objects)})`)
    },

    /**
     * Holds what the ledger names now: each object once, however many images show it. Returns how
     * many.
     */
    objectsNamed: async () => {
      await db.run(sql`create temp table named (key text, sha256 text, bytes integer, primary key (key, sha256, bytes))
        without rowid`)
      // In its own order: the rows then go into the table one after the other, which is five times
      // as fast.
      await db.run(sql`insert or ignore into named
        select object_key, coalesce(sha256, ''), coalesce(bytes, -1) from images where object_key is not null
        order by 1, 2, 3`)
      return countOf(sql`select count(*) as count from named`)
    },

    /** The next objects that the ledger named, in the order of their keys. */
    named: async (after: NamedObject | null): Promise<NamedObject[]> =>
      db.all(sql`select key, sha256, bytes from named
        where ${after ? sql`(key, sha256, bytes) > (${after.key}, ${after.sha256}, ${after.bytes})` : sql`true`}
        order by key, sha256, bytes limit ${PAGE}`),

    /** The next of what the store had under `prefix` and the ledger did not name. */
    unnamed: async (prefix: string, after: string): Promise<{ key: string }[]> =>
      db.all(sql`select key from stored
        where key > max(${after}, ${prefix}) and key < ${prefix} || char(1114111)
          and not exists (select 1 from named where named.key = stored.key)
        order by key limit ${PAGE}`),

    /** The images that show these objects now. One look at all images, however many keys. */
    showing: async (keys: string[]): Promise<ShowingImage[]> =>
      db.all(sql`select object_key as key, generation_id as generationId, source, position, content_type as contentType
        from images where object_key in ${listed(keys)} order by generation_id, source, position`),

    /** The next generations whose record should be in the store. */
    recorded: async (after: string) =>
      db
        .select(ofRecord)
        .from(generations)
        .where(
          and(
            gt(generations.id, after),
            inArray(generations.status, ['succeeded', 'failed']),
            ne(generations.archiveStatus, 'pending'),
            isNull(generations.recordDueAt),
          ),
        )
        .orderBy(asc(generations.id))
        .limit(PAGE),

    /** The generations of these ids, as far as the ledger knows them. */
    known: async (ids: string[]) =>
      db
        .select(ofRecord)
        .from(generations)
        .where(inArray(generations.id, listed(ids))),

    generationCount: async (range: AuditRange) =>
      countOf(sql`select count(*) as count from ${generations} where ${within(range)}`),

    /** The next generations of the range. */
    generationsAudited: async (range: AuditRange, after: string): Promise<AuditedGeneration[]> =>
      db.all(sql`
        select id, status, archive_status as archiveStatus, requested_at as requestedAt, finished_at as finishedAt,
          failure_code as failureCode, nsfw_verdict as nsfwVerdict, record_due_at as recordDueAt,
          (select count(*) from callbacks where generation_id = generations.id) as callbacks,
          exists (select 1 from callbacks where generation_id = generations.id and received_at = finished_at
            and decision in ('accepted', 'late', 'recovered')) as byCallback,
          ${endedBy('replied')} as byReply, ${endedBy('fetched')} as byFetch,
          (select count(*) from events where generation_id = generations.id and event = 'failed') as failures,
          (select max(at) from events where generation_id = generations.id and event = 'failed') as lastFailedAt,
          (select count(*) from offers where generation_id = generations.id and not contradicts) as offers
        from generations where id > ${after} and ${within(range)} order by id limit ${PAGE}`),

    /** Every image of the generations from `first` to `last`, both included. */
    imagesAudited: async (first: string, last: string): Promise<AuditedImage[]> =>
      db
        .select({
          generationId: images.generationId,
          source: images.source,
          position: images.position,
          status: images.status,
          objectKey: images.objectKey,
          sha256: images.sha256,
          bytes: images.bytes,
          archivedAt: images.archivedAt,
          marginMs: images.marginMs,
          dueAt: images.dueAt,
          leasedUntil: images.leasedUntil,
          lastExpiresAt: sql<number | null>`case when status = 'pending' then (
            select max(offers.expires_at) from offers where offers.generation_id = images.generation_id
              and offers.source = images.source and offers.position = images.position and not offers.contradicts) end`,
        })
        .from(images)
        .where(and(gte(images.generationId, first), lte(images.generationId, last)))
        .orderBy(asc(images.generationId), asc(images.source), asc(images.position)),
  }

  async function countOf(query: SQL) {
    const [row]: { count: number }[] = await db.all(query)
    return row?.count ?? 0
  }
}

export type AuditReads = ReturnType<typeof audit>

const within = ({ fromId, beforeId }: AuditRange) =>
  and(gte(generations.id, fromId), lt(generations.id, beforeId))

/** Whether a message of that kind came when the generation ended, and says what it ended as. */
const endedBy = (event: 'replied' | 'fetched') => sql`exists (
  select 1 from events where generation_id = generations.id and event = ${event} and at = finished_at
    and detail ->> 'status' = generations.status)`
