import { ImageFailure, LedgerUnavailable } from '../errors.ts'
import { retryDelayMs } from '../model/backoff.ts'
import {
  nextPlace,
  type ClaimedImage,
  type FailedAttempt,
  type KeptObject,
  type Place,
  type Sequel,
} from '../model/attempt.ts'
import { type Shares, sharesOfAll } from '../model/fairness.ts'
import type { HostAnswer } from '../model/visit.ts'
import { fetchPicture } from '../pictures/fetch-picture.ts'
import type { Deps, Get, ObjectFacts } from '../deps.ts'

/**
 * Copies up to `limit` due images, those first whose links die first. `busy` counts the images of
 * each host that are under way elsewhere in this process. Returns how many were tried.
 */
export async function archiveDue(
  deps: Deps,
  limit: number,
  busy: ReadonlyMap<string, number> = new Map(),
) {
  const shares = sharesOfAll(deps.config.archiveConcurrency, limit, busy)
  const images = await claimDue(deps, shares)
  await Promise.all(images.map((image) => archiveImage(deps, image)))
  return images.length
}

/** Leases due images, to each host what it may be given. */
export function claimDue({ ledger, config, now }: Deps, shares: Shares) {
  const at = now()
  const { leaseMs, retryBaseSeconds } = config
  const latestDue = at + retryDelayMs(Infinity, retryBaseSeconds, 1)
  return ledger.archive.claim({ now: at, leasedUntil: at + leaseMs, latestDue, shares })
}

/** Whoever gave an attempt its slot hears how far it is, and may want the slot back. */
export interface Slot {
  /** Aborts to end the download: the image is given back as if it had not been tried. */
  signal: AbortSignal
  /** The host has done its part. */
  heard: (answer: HostAnswer) => void
  /** Nothing is under way any more: all that is left is to write down what came of it. */
  transferred: () => void
}

const slotOfNobody = (): Slot => ({
  signal: new AbortController().signal,
  heard: () => undefined,
  transferred: () => undefined,
})

/** One attempt at one image, from the place that has waited longest for its turn. */
export async function archiveImage(
  deps: Deps,
  image: ClaimedImage,
  slot = slotOfNobody(),
): Promise<void> {
  const places = await deps.ledger.archive.readPlaces(image)
  const at = deps.now()
  const place = nextPlace(places, at)
  if (!place)
    throw new Error(
      `the pending image ${image.generationId}/${image.source}/${image.position} has no place to try`,
    )
  try {
    const copy = await copyFrom(deps, place, slot).finally(slot.transferred)
    if (!copy.short) await keep(deps, image, copy.object, place, places)
    else
      await fail(deps, image, {
        places,
        place,
        at,
        kept: copy.object,
        failure: new ImageFailure('unreachable', 'The image was cut short.'),
      })
  } catch (error) {
    if (error instanceof GaveWay) await deps.ledger.archive.writeGivenBack(image)
    else if (!(error instanceof ImageFailure)) throw error
    else await fail(deps, image, { places, place, at, kept: null, failure: error })
  }
  deps.wake()
}

/**
 * The bytes are stored, and their link may be dead the next minute: while the ledger cannot take
 * that, it is kept in memory and tried again for as long as the lease lasts.
 */
async function keep(
  deps: Deps,
  image: ClaimedImage,
  object: KeptObject,
  place: Place,
  places: Place[],
): Promise<void> {
  try {
    await noteKept(deps, image, object, place, places)
  } catch (error) {
    if (!(error instanceof LedgerUnavailable) || deps.now() >= image.leasedUntil) throw error
    deps.later(1000, () => keep(deps, image, object, place, places))
  }
}

async function noteKept(
  deps: Deps,
  image: ClaimedImage,
  object: KeptObject,
  place: Place,
  places: Place[],
) {
  const at = deps.now()
  for (const { source, position } of await deps.ledger.archive.writeArchived(
    image,
    place,
    object,
    places,
    at,
  ))
    deps.log('info', 'image archived', {
      generation: image.generationId,
      source,
      position,
      bytes: object.bytes,
      margin_s: Math.round((place.expiresAt - at) / 1000),
    })
}

/** Downloads, looks at, hashes and stores what a place offers. */
async function copyFrom(
  deps: Deps,
  { url }: Place,
  slot: Slot,
): Promise<{ object: KeptObject; short: boolean }> {
  const { bytes, picture, short } = await fetchIn(slot, deps, url)
  const { contentType, width, height } = picture
  const sha256 = await sha256Of(bytes)
  const objectKey = `sha256/${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}.${picture.extension}`
  await store(deps, objectKey, bytes, { sha256, contentType })
  return {
    object: { sha256, bytes: bytes.byteLength, contentType, width, height, objectKey },
    short,
  }
}

/** The slot is wanted for somebody else: nothing is said of the image. */
class GaveWay extends Error {}

async function fetchIn(slot: Slot, deps: Deps, url: string) {
  const get: Get = (hop, signal) => deps.get(hop, AbortSignal.any([signal, slot.signal]))
  try {
    const fetched = await fetchPicture({ get, config: deps.config }, url)
    // It was cut short by us.
    if (fetched.short && slot.signal.aborted) throw new GaveWay()
    slot.heard(fetched.short ? 'refusal' : 'bytes')
    return fetched
  } catch (error) {
    if (slot.signal.aborted) throw new GaveWay()
    slot.heard(error instanceof ImageFailure && error.code === 'timeout' ? 'silence' : 'refusal')
    throw error
  }
}

/** Off the main thread: 25 MiB would hold up every callback for a tenth of a second. */
async function sha256Of(bytes: Uint8Array) {
  return Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex')
}

/**
 * What is there already under the name of these bytes need not be them: a disk breaks, a hand
 * slips. It is believed where its size is right, and its hash where the store tells one.
 */
async function store(
  { objects, log }: Deps,
  key: string,
  bytes: Uint8Array,
  about: { sha256: string; contentType: string },
) {
  try {
    const there = await objects.put(key, bytes, { ...about, ifAbsent: true })
    if (!there || isSame(there, bytes, about.sha256)) return
    await objects.put(key, bytes, { ...about, ifAbsent: false })
    if (there.bytes !== null)
      log('warn', 'an object was there and not what its name says: it was put anew', { key, there })
  } catch (cause) {
    throw new ImageFailure('store_failed', 'The object store did not take the image.', { cause })
  }
}

const isSame = (there: ObjectFacts, { byteLength }: Uint8Array, sha256: string) =>
  there.bytes === byteLength && (there.sha256 ?? sha256) === sha256

/** What waits only because the store was away is due as soon as it is back: links die meanwhile. */
export async function storeCameBack({ ledger, now, wake }: Deps) {
  await ledger.retry.writeStoreRetried(now(), null)
  wake()
}

interface Failed {
  places: Place[]
  place: Place
  at: number
  kept: KeptObject | null
  failure: ImageFailure
}

async function fail(deps: Deps, image: ClaimedImage, { places, place, at, kept, failure }: Failed) {
  const exhausted = failure.final || isLastTry(deps, place, at, failure)
  const left = places.map((one) =>
    one.url === place.url ? { ...one, attempts: one.attempts + 1, exhausted } : one,
  )
  const attempt: FailedAttempt = {
    at: deps.now(),
    place,
    exhausted,
    failure,
    kept: kept && kept.bytes > image.keptBytes ? kept : null,
    sequel: sequel(deps, image, left, kept !== null || image.keptBytes > 0),
    placesSeen: places.length,
  }
  const written = await deps.ledger.archive.writeFailed(image, attempt, places)
  const { generationId: generation, source, position } = image
  const level = attempt.sequel.kind === 'lost' ? 'warn' : 'info'
  deps.log(level, 'image not archived', {
    generation,
    source,
    position,
    code: failure.code,
    then: attempt.sequel.kind,
  })
  if (!written) await failAgain(deps, image, { place, at, kept, failure }, places.length)
}

/**
 * The image gained a place while the attempt went on: the decision is made again. Or its lease is
 * lost, and not ours.
 */
async function failAgain(
  deps: Deps,
  image: ClaimedImage,
  failed: Omit<Failed, 'places'>,
  seen: number,
) {
  const places = await deps.ledger.archive.readPlaces(image)
  if (places.length !== seen) await fail(deps, image, { ...failed, places })
}

/**
 * A place gets its last try once its link has died. A store that is away does not use it up, for
 * one lifetime more.
 */
function isLastTry({ config }: Deps, place: Place, at: number, { code }: ImageFailure) {
  return place.expiresAt + (code === 'store_failed' ? config.linkLifetimeMs : 0) <= at
}

function sequel(deps: Deps, image: ClaimedImage, places: Place[], hasCopy: boolean): Sequel {
  const now = deps.now()
  const place = nextPlace(places, now)
  if (place) return { kind: 'again', place, dueAt: dueAt(deps, places, place, now) }
  if (hasCopy) return { kind: 'truncated' }
  return image.providerId !== null && !image.freshLinksAsked ? { kind: 'parked' } : { kind: 'lost' }
}

/**
 * An untried place at once; else after the backoff of this round, and not later than the next link
 * dies.
 */
function dueAt({ config }: Deps, places: Place[], place: Place, now: number) {
  if (place.attempts === 0) return now
  const live = places.filter(({ exhausted }) => !exhausted)
  const round = Math.max(...live.map(({ attempts }) => attempts))
  const deaths = live.map(({ expiresAt }) => expiresAt).filter((expiresAt) => expiresAt > now)
  return Math.min(now + retryDelayMs(round, config.retryBaseSeconds), ...deaths)
}
