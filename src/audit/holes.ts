import type { Config } from '../config.ts'
import { DEADLINE_FAILURES, isTerminal } from '../model/generation.ts'
import type { AuditedGeneration, AuditedImage } from '../ledger/audit.ts'
import { duration } from './duration.ts'

/** The service looks for what is overdue once a second, and may have thousands to end. */
const LATE_MS = 10_000
/**
 * What may still be tried when the last link of an image is dead and the store was away: the
 * longest backoff, and time.
 */
const LAST_TRY_MS = 60 * 60_000
/** A retry makes an image due at once, however old its links are. */
const RETRIED_MS = 60_000

export type HoleKind =
  /** Open past its deadline. */
  | 'overdue'
  /** Ended, and nothing that is kept says why or when. */
  | 'unexplained'
  /** What is kept says that it ended otherwise, too. */
  | 'contradictory'
  /** Pending past the death of every link. */
  | 'stuck'
  /** Archived, and without an object to show. */
  | 'no_object'

export interface Hole {
  hole: HoleKind
  generationId: string
  image: Pick<AuditedImage, 'source' | 'position'> | null
  detail: string
}

interface Judging {
  config: Pick<Config, 'resultDeadlineMs' | 'linkLifetimeMs'>
  now: () => number
}

/**
 * By which road it ended. A callback's decision says so itself; a reply may repeat in the same
 * instant what it brought.
 */
export function roadOf({ failureCode, byCallback, byReply, byFetch }: AuditedGeneration) {
  if (failureCode !== null && DEADLINE_FAILURES.includes(failureCode)) return 'deadline'
  if (byCallback) return 'callback'
  if (byReply) return 'reply'
  return byFetch ? 'fetch' : 'unknown'
}

export function* holesOf(
  world: Judging,
  generation: AuditedGeneration,
  images: AuditedImage[],
): Generator<Hole> {
  const of = (hole: HoleKind, detail: string): Hole => ({
    hole,
    generationId: generation.id,
    image: null,
    detail,
  })
  yield* isTerminal(generation.status)
    ? endedHoles(generation, of)
    : openHoles(world, generation, of)
  yield* archiveHoles(generation, images, of)
  for (const image of images) {
    const { source, position } = image
    const ofImage = (hole: HoleKind, detail: string) => ({
      ...of(hole, detail),
      image: { source, position },
    })
    yield* imageHoles(world, image, ofImage)
  }
}

type Of = (hole: HoleKind, detail: string) => Hole

function* openHoles(
  { config, now }: Judging,
  { status, requestedAt, finishedAt, failures }: AuditedGeneration,
  of: Of,
) {
  const overdueMs = now() - requestedAt - config.resultDeadlineMs
  if (overdueMs > LATE_MS)
    yield of('overdue', `${status} for ${duration(overdueMs)} past its deadline`)
  if (finishedAt !== null || failures > 0) yield of('contradictory', `${status}, although it ended`)
}

function* endedHoles(generation: AuditedGeneration, of: Of) {
  const { status, finishedAt, failureCode, failures, lastFailedAt, offers } = generation
  if (finishedAt === null) yield of('unexplained', `${status}, and nobody knows when`)
  else if (roadOf(generation) === 'unknown')
    yield of('unexplained', `${status}, and no message that is kept said so`)
  if (status === 'failed') {
    if (failureCode === null) yield of('unexplained', 'failed without a reason')
    if (failures !== 1) yield of('contradictory', `failed ${failures} times`)
    if (offers > 0) yield of('contradictory', 'failed, although its images were offered')
  } else {
    if (failureCode !== null)
      yield of('contradictory', `succeeded, with the failure ${failureCode}`)
    if (finishedAt !== null && (lastFailedAt ?? 0) > finishedAt)
      yield of('contradictory', 'failed after it succeeded')
    if (offers === 0 && generation.nsfwVerdict !== 'flagged')
      yield of('unexplained', 'succeeded without any image')
  }
}

function* archiveHoles(
  { archiveStatus, status }: AuditedGeneration,
  images: AuditedImage[],
  of: Of,
) {
  const isPending = images.some((image) => image.status === 'pending')
  if (archiveStatus === 'pending' && !isPending)
    yield of('contradictory', 'its archive is pending, and no image is')
  if (archiveStatus === 'none' && images.length > 0)
    yield of('contradictory', 'it has images, and no archive')
  if (status === 'failed' && images.length > 0)
    yield of('contradictory', 'failed, although it has images')
}

function* imageHoles({ config, now }: Judging, image: AuditedImage, of: Of) {
  const { status, objectKey, sha256, bytes, archivedAt, lastExpiresAt, dueAt, leasedUntil } = image
  if (
    status === 'archived' &&
    (objectKey === null || sha256 === null || bytes === null || archivedAt === null)
  )
    yield of('no_object', 'archived, and without an object')
  if (status !== 'pending') return
  if (lastExpiresAt === null) yield of('stuck', 'pending, and nothing offers it')
  else {
    const stuckMs = now() - lastExpiresAt - config.linkLifetimeMs - LAST_TRY_MS
    const isTried = (leasedUntil ?? 0) > now() || (dueAt ?? 0) > now() - RETRIED_MS
    if (stuckMs > 0 && !isTried)
      yield of('stuck', `pending for ${duration(now() - lastExpiresAt)} after its last link died`)
  }
}
