import { and, eq, type SQL, sql } from 'drizzle-orm'
import type { ImageFailure } from '../errors.ts'
import type { ImageSource } from '../model/generation.ts'
import { hostOf } from '../model/host.ts'
import { redactUrl } from '../model/shown-url.ts'
import type { LedgerDriver } from './ledger.ts'
import { images, offers } from './schema.ts'
import { deriveArchive, forgetSecrets } from './ends.ts'
import { type Bound, bind, statement, value } from './statement.ts'

/** An image whose lease we hold. */
export interface ClaimedImage {
  generationId: string
  source: ImageSource
  position: number
  host: string
  /** Including the one that the claim begins. */
  attempts: number
  freshLinksAsked: boolean
  providerId: string | null
  leasedUntil: number
  /** Of the best cut-short copy that is stored, 0 where there is none. */
  keptBytes: number
}

export type Place = Pick<
  typeof offers.$inferSelect,
  'url' | 'attempts' | 'expiresAt' | 'exhausted'
> & {
  /** An earlier image that is still pending has it too. */
  shared: boolean
}

/** The object that an attempt stored. */
export interface KeptObject {
  sha256: string
  bytes: number
  contentType: string
  width: number | null
  height: number | null
  objectKey: string
}

/** What becomes of an image after an attempt that did not bring it home whole. */
export type Sequel =
  | { kind: 'again'; place: Place; dueAt: number }
  /** Waits for one fetch that asks for fresh links. */
  | { kind: 'parked' }
  | { kind: 'lost' }
  /** The best cut-short copy is what there is. */
  | { kind: 'truncated' }

export interface FailedAttempt {
  at: number
  place: Place
  /** Whether this was the last try of this place. */
  exhausted: boolean
  failure: ImageFailure
  /** A cut-short copy that this attempt stored, if it is the best so far. */
  kept: KeptObject | null
  sequel: Sequel
  /** How many places the decision was made from. */
  placesSeen: number
}

/**
 * A place that an earlier pending image of the same generation has too: the download that brings
 * that one serves both.
 */
const isShared = sql`exists (
  select 1 from offers theirs join images leader on leader.generation_id = theirs.generation_id
    and leader.source = theirs.source and leader.position = theirs.position and leader.status = 'pending'
  where theirs.generation_id = offers.generation_id and theirs.url = offers.url
    and (theirs.source, theirs.position) < (offers.source, offers.position)
    and not theirs.contradicts and not theirs.exhausted)`

const hasPlaceOfItsOwn = sql`exists (
  select 1 from offers where offers.generation_id = images.generation_id and offers.source = images.source
    and offers.position = images.position and not offers.contradicts and not offers.exhausted and not ${isShared})`

/**
 * Its time has come: the index of these holds them by host, and of each host by the death of their
 * links.
 */
const READY = sql.raw("status = 'pending' and waiting = 0")
/** A lease that ends later than one given now would is from before the clock was set back. */
const isFree = sql`(leased_until is null or leased_until <= ${value('now')} or leased_until > ${value('leasedUntil')})`

/** More hosts than this at a time wait until others have nothing ready any more. */
const MOST_HOSTS = 1000

/** Every host of which something is ready, found by one step in the index each. */
const hosts = sql`hosts(host) as (
  select min(host) from images where ${READY}
  union all
  select (select min(host) from images where ${READY} and host > hosts.host) from hosts where host is not null
  limit ${sql.raw(String(MOST_HOSTS))})`

const room = sql`${value('perHost')} - coalesce((select value from json_each(${value('busy')}) where key = hosts.host), 0)`

/** Of one host, and no more than it may hold at all: those that die first. */
const firstOfHost = (when: SQL) => sql`
  select rowid from (
    select rowid from images where host = hosts.host and ${READY} and ${when} and ${isFree} and ${hasPlaceOfItsOwn}
    order by expires_at limit ${value('perHost')})`

const isAlive = sql`expires_at > ${value('now')}`
const isDead = sql`expires_at <= ${value('now')}`

/**
 * Leases the images whose links die first, no more of one host than it may hold, and none that only
 * waits for what another brings. A link that has died has time: those that still live go before its
 * last try. However much waits or belongs to a host that is full, only the first of each host are
 * looked at.
 */
const claim = statement<Record<string, unknown>, Record<string, unknown>>(sql`
  update images set leased_until = ${value('leasedUntil')}, attempts = attempts + 1
  where rowid in (
    with recursive ${hosts}
    select id from (
      select one.rowid as id, ${isDead} as is_dead, one.expires_at, ${room} as room,
        row_number() over (partition by hosts.host order by ${isDead}, one.expires_at, one.rowid) as nth
      from hosts cross join images one on one.rowid in (
        ${firstOfHost(isAlive)} union all ${firstOfHost(isDead)} limit ${value('perHost')}))
    where nth <= room
    order by is_dead, expires_at limit ${value('limit')})
  returning generation_id, source, position, host, attempts, fresh_links_asked, coalesce(bytes, 0) as bytes,
    (select provider_id from generations where id = images.generation_id) as provider_id`)

/**
 * Whose wait is over; one that would end later than the longest there is was begun before the clock
 * was set back. Two searches of the index: joined by `or`, they would be a scan of it.
 */
const waitIsOver = sql`
  select rowid from images where status = 'pending' and waiting = 1 and due_at <= ${value('now')}
  union all select rowid from images where status = 'pending' and waiting = 1 and due_at > ${value('latestDue')}`

/**
 * After an outage of hours everything may be due at once: so much of it at a time does not hold up
 * a callback.
 */
const READY_AT_ONCE = 1000

const readied = statement<{ now: number; latestDue: number }, { source: ImageSource }>(sql`
  update images set waiting = 0
  where rowid in (${waitIsOver} limit ${sql.raw(String(READY_AT_ONCE))})
  returning source`)

const theImage = sql`generation_id = ${value('generationId')} and source = ${value('source')} and position = ${value('position')}`

/**
 * The image, and every other of its generation that was offered the same URL: one download serves
 * them all.
 */
const archived = statement<Record<string, unknown>, { source: ImageSource; position: number }>(sql`
  update images set status = 'archived', leased_until = null, due_at = null, archived_at = ${value('at')},
    source_url = ${value('shownUrl')}, sha256 = ${value('sha256')}, bytes = ${value('bytes')}, content_type = ${value('contentType')},
    width = ${value('width')}, height = ${value('height')}, object_key = ${value('objectKey')}, margin_ms = ${value('marginMs')}, suspect = null,
    failure_code = null, failure_message = null
  where generation_id = ${value('generationId')} and status = 'pending' and (
    (source = ${value('source')} and position = ${value('position')})
    or exists (select 1 from offers where offers.generation_id = images.generation_id and offers.source = images.source
      and offers.position = images.position and offers.url = ${value('url')} and not contradicts))
  returning source, position`)

const noteArchived = statement<Record<string, unknown>>(sql`
  insert into events (generation_id, at, event, detail)
  select generation_id, archived_at, 'archived', json_object('source', source, 'position', position, 'sha256', sha256, 'bytes', bytes)
  from images where generation_id = ${value('generationId')} and archived_at = ${value('at')} and sha256 = ${value('sha256')}
    and status = 'archived' and changes() > 0
    and not exists (select 1 from events e where e.generation_id = images.generation_id and e.event = 'archived'
      and e.at = archived_at and e.detail ->> 'source' = source and e.detail ->> 'position' = position)`)

const placeTried = statement<Record<string, unknown>>(sql`
  update offers set attempts = attempts + 1, exhausted = ${value('exhausted')}
  where ${theImage} and url = ${value('url')} and changes() > 0`)

const failed = statement<Record<string, unknown>, { source: ImageSource }>(sql`
  update images set leased_until = null, status = ${value('status')}, due_at = ${value('dueAt')}, waiting = 1,
    source_url = coalesce(${value('nextUrl')}, source_url), host = coalesce(${value('host')}, host),
    expires_at = coalesce(${value('expiresAt')}, expires_at),
    fresh_links_asked = fresh_links_asked or ${value('parked')},
    failure_code = ${value('code')}, failure_message = ${value('message')},
    archived_at = case when ${value('status')} = 'archived' then ${value('at')} end,
    suspect = case when coalesce(${value('sha256')}, sha256) is null then null else 'truncated' end,
    sha256 = coalesce(${value('sha256')}, sha256), bytes = coalesce(${value('bytes')}, bytes),
    content_type = coalesce(${value('contentType')}, content_type), object_key = coalesce(${value('objectKey')}, object_key),
    width = case when ${value('sha256')} is null then width else ${value('width')} end,
    height = case when ${value('sha256')} is null then height else ${value('height')} end
  where ${theImage} and status = 'pending' and leased_until = ${value('leasedUntil')}
    and (select count(*) from offers where ${theImage} and not contradicts) = ${value('placesSeen')}
  returning source`)

/** Those that another attempt would have served wait with it. */
const followersWait = statement<Record<string, unknown>>(sql`
  update images set waiting = 1, due_at = ${value('dueAt')}
  where generation_id = ${value('generationId')} and ${READY} and leased_until is null and not ${hasPlaceOfItsOwn}
    and exists (select 1 from images leader where leader.generation_id = ${value('generationId')}
      and leader.source = ${value('source')} and leader.position = ${value('position')}
      and leader.status = 'pending' and leader.due_at = ${value('dueAt')})`)

const noteAttempt = statement<Record<string, unknown>>(sql`
  insert into events (generation_id, at, event, detail)
  select ${value('generationId')}, ${value('at')}, ${value('event')}, ${value('detail')} where changes() > 0`)

const askFreshLinks = statement<{ generationId: string; at: number }>(sql`
  update generations set version = version + 1, fetch_owed = 1, fetches = 0, fetch_due_at = ${value('at')}
  where id = ${value('generationId')} and changes() > 0`)

const isFinal = sql`exists (select 1 from images i where i.generation_id = ${value('generationId')}
  and i.source = ${value('source')} and i.position = ${value('position')} and i.status <> 'pending')`

const releaseAll = statement<object>(sql`
  update images set leased_until = null where status = 'pending' and leased_until is not null`)

const releaseFetches = statement<object>(sql`
  update generations set fetch_leased_until = null, version = version + 1
  where fetch_due_at is not null and fetch_leased_until is not null`)

/** Images on their way into the object store. */
export function archiving({ db, atomically }: LedgerDriver) {
  const someWaitOver = db
    .select({ source: images.source })
    .from(images)
    .where(sql`rowid = (${waitIsOver} limit 1)`)
    .prepare()
  const someReady = db
    .select({ source: images.source })
    .from(images)
    .where(
      sql`rowid = (
        with recursive ${hosts}
        select (select rowid from images where host = hosts.host and ${READY} and ${isFree} limit 1) as id from hosts
        where id is not null and ${room} > 0 limit 1)`,
    )
    .prepare()
  const placesOf = db
    .select({
      url: offers.url,
      attempts: offers.attempts,
      expiresAt: offers.expiresAt,
      exhausted: offers.exhausted,
      shared: sql<boolean>`${isShared}`.mapWith(Boolean),
    })
    .from(offers)
    .where(
      and(
        eq(offers.generationId, value('generationId')),
        eq(offers.source, value('source')),
        eq(offers.position, value('position')),
        eq(offers.contradicts, false),
      ),
    )
    .prepare()

  return {
    /**
     * Leases up to `limit` due images; `busy` counts what each host already holds of its `perHost`
     * places. Nothing waits longer than until `latestDue`.
     */
    imagesClaimed: async (want: {
      now: number
      leasedUntil: number
      latestDue: number
      limit: number
      perHost: number
      busy: ReadonlyMap<string, number>
    }): Promise<ClaimedImage[]> => {
      while (await someWaitOver.get(want)) await atomically([bind(readied, want)])
      const values = { ...want, busy: JSON.stringify(Object.fromEntries(want.busy)) }
      if (!(await someReady.get(values))) return []
      const [rows] = await atomically([bind(claim, values)])
      return rows.map((row) => claimedImage(row, want.leasedUntil))
    },

    /** Every place where an image may be had. */
    places: async ({
      generationId,
      source,
      position,
    }: Pick<ClaimedImage, 'generationId' | 'source' | 'position'>): Promise<Place[]> =>
      placesOf.all({ generationId, source, position }),

    /** An attempt brought the image home. Returns the images that its copy serves. */
    archived: async (
      image: ClaimedImage,
      { url, expiresAt }: Place,
      object: KeptObject,
      places: Place[],
      at: number,
    ) => {
      const key = keyOf(image)
      const [rows] = await atomically([
        bind(archived, {
          ...key,
          ...object,
          at,
          url,
          shownUrl: redactUrl(url),
          marginMs: expiresAt - at,
        }),
        bind(noteArchived, { ...key, at, sha256: object.sha256 }),
        bind(deriveArchive, { id: image.generationId, now: at }),
        bind(placeTriedAtLast, { ...key, url }),
        ...forgetSecrets(image.generationId, places),
      ])
      return rows
    },

    /**
     * An attempt failed. False where the image gained a place or lost its lease meanwhile: nothing
     * is written then.
     */
    attemptFailed: async (image: ClaimedImage, attempt: FailedAttempt, places: Place[]) => {
      const key = { ...keyOf(image), at: attempt.at }
      const ended = attempt.sequel.kind === 'lost' || attempt.sequel.kind === 'truncated'
      const [rows] = await atomically([
        bind(failed, { ...key, ...failedColumns(image, attempt) }),
        bind(noteAttempt, {
          ...key,
          event: 'attempt',
          detail: JSON.stringify(attemptDetail(image, attempt)),
        }),
        bind(placeTried, { ...key, url: attempt.place.url, exhausted: attempt.exhausted ? 1 : 0 }),
        ...(attempt.sequel.kind === 'again'
          ? [bind(followersWait, { ...key, dueAt: attempt.sequel.dueAt })]
          : []),
        ...(attempt.sequel.kind === 'parked' ? [bind(askFreshLinks, key)] : []),
        ...(ended ? ending(image, attempt, places) : []),
      ])
      return rows.length > 0
    },

    /** At start nobody holds a lease: whoever did is dead. */
    leasesVoided: async () => {
      await atomically([bind(releaseAll, {}), bind(releaseFetches, {})])
    },
  }
}

const placeTriedAtLast = statement<Record<string, unknown>>(sql`
  update offers set attempts = attempts + 1 where ${theImage} and url = ${value('url')} and ${isFinal}`)

const keyOf = ({ generationId, source, position }: ClaimedImage) => ({
  generationId,
  source,
  position,
})

const claimedImage = (row: Record<string, unknown>, leasedUntil: number): ClaimedImage => ({
  generationId: row['generation_id'] as string,
  source: row['source'] as ImageSource,
  position: row['position'] as number,
  host: row['host'] as string,
  attempts: row['attempts'] as number,
  freshLinksAsked: row['fresh_links_asked'] === 1,
  providerId: row['provider_id'] as string | null,
  keptBytes: row['bytes'] as number,
  leasedUntil,
})

const STATUS_AFTER = {
  again: 'pending',
  parked: 'pending',
  lost: 'lost',
  truncated: 'archived',
} as const
const NO_OBJECT = {
  sha256: null,
  bytes: null,
  contentType: null,
  width: null,
  height: null,
  objectKey: null,
}

function failedColumns(image: ClaimedImage, { sequel, failure, kept, placesSeen }: FailedAttempt) {
  const next = sequel.kind === 'again' ? sequel : null
  const truncated = sequel.kind === 'truncated'
  return {
    ...(kept ?? NO_OBJECT),
    status: STATUS_AFTER[sequel.kind],
    dueAt: next?.dueAt ?? null,
    nextUrl: next?.place.url ?? null,
    host: next ? hostOf(next.place.url) : null,
    expiresAt: next?.place.expiresAt ?? null,
    parked: sequel.kind === 'parked' ? 1 : 0,
    code: truncated ? null : failure.code,
    message: truncated ? null : failure.message,
    leasedUntil: image.leasedUntil,
    placesSeen,
  }
}

const attemptDetail = (
  { source, position }: ClaimedImage,
  { place, failure, sequel }: FailedAttempt,
) => ({
  source,
  position,
  url: redactUrl(place.url),
  code: failure.code,
  message: failure.message,
  ...(sequel.kind === 'again' ? { next_at: new Date(sequel.dueAt).toISOString() } : {}),
})

function ending(
  image: ClaimedImage,
  { at, sequel, failure }: FailedAttempt,
  places: Place[],
): Bound[] {
  const { generationId, source, position } = image
  const lost = sequel.kind === 'lost'
  const detail = lost
    ? { source, position, code: failure.code }
    : { source, position, suspect: 'truncated' }
  return [
    bind(noteAttempt, {
      generationId,
      at,
      event: lost ? 'lost' : 'archived',
      detail: JSON.stringify(detail),
    }),
    bind(deriveArchive, { id: generationId, now: at }),
    ...forgetSecrets(generationId, places),
  ]
}
