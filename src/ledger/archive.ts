import type { ClaimedImage, FailedAttempt, KeptObject, Place } from '../model/attempt.ts'
import type { ImageSource } from '../model/image.ts'
import { hostOf } from '../model/link.ts'
import { redactUrl } from '../model/shown-url.ts'
import { claims, READY } from './claim.ts'
import type { LedgerDriver } from './database.ts'
import { deriveArchive, forgetSecrets, keepPromise } from './ends.ts'
import { hasPlaceOfItsOwn, places } from './places.ts'
import { type Bound, bind, flag, json, number, orNull, sql, statement, text } from './statement.ts'

const theImage = sql`generation_id = ${text('generationId')} and source = ${text('source')}
  and position = ${number('position')}`

/**
 * The image, and every other of its generation that was offered the same URL: one download serves
 * them all.
 */
const archived = statement(sql`
  update images set status = 'archived', leased_until = null, due_at = null,
    archived_at = ${number('at')}, source_url = ${text('shownUrl')}, sha256 = ${text('sha256')},
    bytes = ${number('bytes')}, content_type = ${text('contentType')},
    width = ${orNull(number('width'))}, height = ${orNull(number('height'))},
    object_key = ${text('objectKey')}, margin_ms = ${number('marginMs')}, suspect = null,
    failure_code = null, failure_message = null
  where generation_id = ${text('generationId')} and status = 'pending' and (
    (source = ${text('source')} and position = ${number('position')})
    or exists (
      select 1 from offers where offers.generation_id = images.generation_id
        and offers.source = images.source and offers.position = images.position
        and offers.url = ${text('url')} and not contradicts))
  returning source, position`).yields<{ source: ImageSource; position: number }>()

const noteArchived = statement(sql`
  insert into events (generation_id, at, event, detail)
  select generation_id, archived_at, 'archived',
    json_object('source', source, 'position', position, 'sha256', sha256, 'bytes', bytes)
  from images
  where generation_id = ${text('generationId')} and archived_at = ${number('at')}
    and sha256 = ${text('sha256')} and status = 'archived' and changes() > 0
    and not exists (
      select 1 from events e where e.generation_id = images.generation_id and e.event = 'archived'
        and e.at = archived_at and e.detail ->> 'source' = source
        and e.detail ->> 'position' = position)`)

const isFinal = sql`exists (
  select 1 from images i where i.generation_id = ${text('generationId')}
    and i.source = ${text('source')} and i.position = ${number('position')}
    and i.status <> 'pending')`

const placeTriedAtLast = statement(sql`
  update offers set attempts = attempts + 1
  where ${theImage} and url = ${text('url')} and ${isFinal}`)

const placeTried = statement(sql`
  update offers set attempts = attempts + 1, exhausted = ${flag('exhausted')}
  where ${theImage} and url = ${text('url')} and changes() > 0`)

const sha256 = orNull(text('sha256'))

const failed = statement(sql`
  update images set leased_until = null, status = ${text('status')}, waiting = 1,
    due_at = ${orNull(number('dueAt'))},
    source_url = coalesce(${orNull(text('nextUrl'))}, source_url),
    host = coalesce(${orNull(text('host'))}, host),
    expires_at = coalesce(${orNull(number('expiresAt'))}, expires_at),
    fresh_links_asked = fresh_links_asked or ${flag('parked')},
    failure_code = ${orNull(text('code'))}, failure_message = ${orNull(text('message'))},
    archived_at = case when ${text('status')} = 'archived' then ${number('at')} end,
    suspect = case when coalesce(${sha256}, sha256) is null then null else 'truncated' end,
    sha256 = coalesce(${sha256}, sha256),
    bytes = coalesce(${orNull(number('bytes'))}, bytes),
    content_type = coalesce(${orNull(text('contentType'))}, content_type),
    object_key = coalesce(${orNull(text('objectKey'))}, object_key),
    width = case when ${sha256} is null then width else ${orNull(number('width'))} end,
    height = case when ${sha256} is null then height else ${orNull(number('height'))} end
  where ${theImage} and status = 'pending' and leased_until = ${number('leasedUntil')}
    and (select count(*) from offers where ${theImage} and not contradicts)
      = ${number('placesSeen')}
  returning source`).yields<{ source: ImageSource }>()

/** It is due as before. */
const givenBack = statement(sql`
  update images set leased_until = null
  where ${theImage} and status = 'pending' and leased_until = ${number('leasedUntil')}`)

/** Those that another attempt would have served wait with it. */
const followersWait = statement(sql`
  update images set waiting = 1, due_at = ${number('dueAt')}
  where generation_id = ${text('generationId')} and ${READY} and leased_until is null
    and not ${hasPlaceOfItsOwn}
    and exists (
      select 1 from images leader where leader.generation_id = ${text('generationId')}
        and leader.source = ${text('source')} and leader.position = ${number('position')}
        and leader.status = 'pending' and leader.due_at = ${number('dueAt')})`)

const noteAttempt = statement(sql`
  insert into events (generation_id, at, event, detail)
  select ${text('generationId')}, ${number('at')}, ${text('event')}, ${json('detail')}
  where changes() > 0`)

const askFreshLinks = statement(sql`
  update generations set version = version + 1, fetch_owed = 1, fetches = 0,
    fetch_due_at = ${number('at')}
  where id = ${text('generationId')} and changes() > 0`)

/** Images on their way into the object store. */
export const archive = (driver: LedgerDriver) => ({
  claim: claims(driver),
  readPlaces: places(driver),

  /** The attempt gave way to another before its host had answered. */
  writeGivenBack: async (image: ClaimedImage) => {
    await driver.atomically([bind(givenBack, { ...keyOf(image), leasedUntil: image.leasedUntil })])
  },

  /** An attempt brought the image home. Returns the images that its copy serves. */
  writeArchived: async (
    image: ClaimedImage,
    { url, expiresAt }: Place,
    object: KeptObject,
    places: Place[],
    at: number,
  ) => {
    const key = { ...keyOf(image), at }
    const shown = { url, shownUrl: redactUrl(url), marginMs: expiresAt - at }
    const [rows] = await driver.atomically([
      bind(archived, { ...key, ...object, ...shown }),
      bind(noteArchived, { ...key, sha256: object.sha256 }),
      bind(deriveArchive, { id: image.generationId, at }),
      bind(keepPromise, { id: image.generationId, at }),
      bind(placeTriedAtLast, { ...key, url }),
      ...forgetSecrets(image.generationId, places),
    ])
    return rows
  },

  /**
   * An attempt failed. False where the image gained a place or lost its lease meanwhile: nothing is
   * written then.
   */
  writeFailed: async (image: ClaimedImage, attempt: FailedAttempt, places: Place[]) => {
    const { at, place, exhausted } = attempt
    const key = { ...keyOf(image), at }
    const detail = attemptDetail(image, attempt)
    const [rows] = await driver.atomically([
      bind(failed, { ...key, ...failedColumns(image, attempt) }),
      bind(noteAttempt, { ...key, event: 'attempt', detail }),
      bind(placeTried, { ...key, url: place.url, exhausted }),
      ...sequelOf(image, attempt, places),
    ])
    return rows.length > 0
  },
})

const keyOf = ({ generationId, source, position }: ClaimedImage) => ({
  generationId,
  source,
  position,
})

function sequelOf(image: ClaimedImage, attempt: FailedAttempt, places: Place[]): Bound[] {
  const { sequel, at } = attempt
  const key = keyOf(image)
  switch (sequel.kind) {
    case 'again':
      return [bind(followersWait, { ...key, dueAt: sequel.dueAt })]
    case 'parked':
      return [bind(askFreshLinks, { ...key, at })]
    case 'lost':
    case 'truncated':
      return ending(image, attempt, places)
  }
}

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
    parked: sequel.kind === 'parked',
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

function ending(image: ClaimedImage, { at, sequel, failure }: FailedAttempt, places: Place[]) {
  const { generationId, source, position } = image
  const lost = sequel.kind === 'lost'
  const how = lost ? { code: failure.code } : { suspect: 'truncated' }
  const detail = { source, position, ...how }
  return [
    bind(noteAttempt, { generationId, at, event: lost ? 'lost' : 'archived', detail }),
    bind(deriveArchive, { id: generationId, at }),
    bind(keepPromise, { id: generationId, at }),
    ...forgetSecrets(generationId, places),
  ]
}
