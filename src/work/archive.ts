import { ImageFailure, LedgerUnavailable } from '../errors.ts'
import { retryDelayMs } from '../model/generation.ts'
import type { ClaimedImage, FailedAttempt, KeptObject, Place, Sequel } from '../ledger/archive.ts'
import { pictureBytes } from '../pictures/base64.ts'
import { download } from '../net/download.ts'
import { inspect } from '../pictures/inspect.ts'
import type { Deps, PutOptions } from '../deps.ts'

export const MAX_IMAGE_BYTES = 25 * 1024 * 1024

/**
 * Copies up to `limit` due images, those first whose links die first. `busy` counts the images of
 * each host that are under way elsewhere in this process. Returns how many were tried.
 */
export async function archiveDue(
  deps: Deps,
  limit: number,
  busy: ReadonlyMap<string, number> = new Map(),
) {
  const images = await claimDue(deps, limit, busy)
  await Promise.all(images.map((image) => archiveImage(deps, image)))
  return images.length
}

/**
 * One host holds at most half of the slots, so that a host that hangs leaves room for the others.
 */
export async function claimDue(deps: Deps, limit: number, busy: ReadonlyMap<string, number>) {
  const now = deps.now()
  const perHost = Math.max(1, Math.floor(deps.config.archiveConcurrency / 2))
  const { leaseMs, retryBaseSeconds } = deps.config
  const latestDue = now + retryDelayMs(Infinity, retryBaseSeconds, 1)
  return deps.ledger.imagesClaimed({
    now,
    leasedUntil: now + leaseMs,
    latestDue,
    limit,
    perHost,
    busy,
  })
}

/**
 * One attempt at one image, from the place that has waited longest for its turn. `transferred` is
 * called once nothing of it is under way any more, and all that is left is to write down what came
 * of it.
 */
export async function archiveImage(
  deps: Deps,
  image: ClaimedImage,
  transferred = () => {},
): Promise<void> {
  const places = await deps.ledger.places(image)
  const at = deps.now()
  const place = nextPlace(places, at)
  if (!place)
    throw new Error(
      `the pending image ${image.generationId}/${image.source}/${image.position} has no place to try`,
    )
  try {
    const copy = await copyFrom(deps, place).finally(transferred)
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
    if (!(error instanceof ImageFailure)) throw error
    await fail(deps, image, { places, place, at, kept: null, failure: error })
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
  for (const { source, position } of await deps.ledger.archived(image, place, object, places, at))
    deps.log('info', 'image archived', {
      generation: image.generationId,
      source,
      position,
      bytes: object.bytes,
      margin_s: Math.round((place.expiresAt - at) / 1000),
    })
}

/**
 * Untried places first, then those whose deadline has passed and that get their last try, then the
 * least tried: each time the one that dies first. What another image tries already comes last of
 * all.
 */
export function nextPlace(places: readonly Place[], at: number): Place | undefined {
  const urgency = ({ attempts, expiresAt }: Place) =>
    attempts === 0 ? -2 : expiresAt <= at ? -1 : attempts
  return places
    .filter(({ exhausted }) => !exhausted)
    .toSorted(
      (a, b) =>
        Number(a.shared) - Number(b.shared) || urgency(a) - urgency(b) || a.expiresAt - b.expiresAt,
    )
    .at(0)
}

/** Downloads, looks at, hashes and stores what a place offers. */
async function copyFrom(
  deps: Deps,
  { url }: Place,
): Promise<{ object: KeptObject; short: boolean }> {
  const { allowedPrivateOrigins, imageHosts, downloadTimeoutMs, publicUrl } = deps.config
  const policy = {
    maxBytes: MAX_IMAGE_BYTES,
    timeoutMs: downloadTimeoutMs,
    allowedPrivateOrigins,
    imageHosts,
    ownOrigin: new URL(publicUrl).origin,
  }
  const { bytes: shown, short } = await download(deps.get, url, policy)
  const bytes = pictureBytes(url, shown)
  const picture = inspect(bytes)
  if (!picture)
    throw new ImageFailure('not_an_image', 'The bytes are no PNG, JPEG, WebP, GIF or AVIF.')
  const { contentType, width, height } = picture
  const sha256 = await sha256Of(bytes)
  const objectKey = `sha256/${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}.${picture.extension}`
  await store(deps, objectKey, bytes, { sha256, contentType })
  return {
    object: { sha256, bytes: bytes.byteLength, contentType, width, height, objectKey },
    short: short || !picture.whole,
  }
}

/** Off the main thread: 25 MiB would hold up every callback for a tenth of a second. */
async function sha256Of(bytes: Uint8Array) {
  return Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex')
}

async function store(
  deps: Deps,
  key: string,
  bytes: Uint8Array,
  about: { sha256: string; contentType: string },
) {
  try {
    await putInTime(deps, key, bytes, { ...about, ifAbsent: true })
  } catch (cause) {
    deps.health.objects(false, cause)
    throw new ImageFailure('store_failed', 'The object store did not take the image.', { cause })
  }
  await storeAnswered(deps)
}

const PUT_PATIENCE_MS = 10_000
/**
 * 8 Mbit/s: a store that is slower than this, and answers nobody else meanwhile, counts as away.
 */
const PUT_BYTES_PER_MS = 1024

/**
 * A put that is given up once the store has answered nobody for as long as this one may take: it
 * takes connections and never answers, and would hold every slot until it is restarted. The given
 * up one may still succeed: keys name their content.
 */
export async function putInTime(
  { objects, health }: Deps,
  key: string,
  bytes: Uint8Array,
  options: PutOptions,
) {
  const patienceMs = PUT_PATIENCE_MS + bytes.byteLength / PUT_BYTES_PER_MS
  let timer: ReturnType<typeof setTimeout> | undefined
  const hangs = new Promise<never>((_resolve, reject) => {
    const wait = (answersBefore: number) => {
      timer = setTimeout(() => {
        const answers = health.objectAnswers()
        if (answers > answersBefore) wait(answers)
        else
          reject(
            new Error(
              `the object store has answered nobody for ${Math.round(patienceMs / 1000)} s`,
            ),
          )
      }, patienceMs)
    }
    wait(health.objectAnswers())
  })
  try {
    await Promise.race([objects.put(key, bytes, options), hangs])
  } finally {
    clearTimeout(timer)
  }
}

/** What waits only because the store was away is due as soon as it is back: links die meanwhile. */
export async function storeAnswered(deps: Deps) {
  if (!deps.health.objects(true)) return
  await deps.ledger.storeRetried(deps.now(), null)
  deps.wake()
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
  const written = await deps.ledger.attemptFailed(image, attempt, places)
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
  const places = await deps.ledger.places(image)
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
  if (place) return { kind: 'again', place, dueAt: dueAt(deps, image, places, place, now) }
  if (hasCopy) return { kind: 'truncated' }
  return image.providerId !== null && !image.freshLinksAsked ? { kind: 'parked' } : { kind: 'lost' }
}

/**
 * An untried place at once; else after the backoff of this round, and not later than the next link
 * dies.
 */
function dueAt({ config }: Deps, image: ClaimedImage, places: Place[], place: Place, now: number) {
  if (place.attempts === 0) return now
  const live = places.filter(({ exhausted }) => !exhausted)
  const round = Math.ceil(image.attempts / live.length)
  const deaths = live.map(({ expiresAt }) => expiresAt).filter((expiresAt) => expiresAt > now)
  return Math.min(now + retryDelayMs(round, config.retryBaseSeconds), ...deaths)
}
