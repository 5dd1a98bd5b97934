import type { Config } from '../config.ts'
import {
  ARCHIVE_STATUSES,
  type ArchiveStatus,
  DEADLINE_FAILURES,
  GENERATION_STATUSES,
  type GenerationStatus,
  isTerminal,
  type Road,
} from '../model/generation.ts'
import type { Audit, AuditedGeneration, AuditedImage, AuditRange } from '../ledger/audit.ts'

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

export interface Completeness {
  generations: number
  byStatus: Record<GenerationStatus, number>
  /** How those that ended did. */
  endedBy: Record<Road | 'deadline' | 'unknown', number>
  /** Open, and their deadline has not passed. */
  inTime: number
  /**
   * Succeeded otherwise than by the reply, so that a callback was due; and how many of them never
   * received one.
   */
  callbacks: { due: number; missed: number }
  byArchiveStatus: Record<ArchiveStatus, number>
  images: { archived: number; lost: number; pending: number }
  /**
   * Milliseconds that links had still to live when their images were archived, by percentile, and
   * how many had none; null where none was measured.
   */
  marginMs: { min: number; p1: number; p50: number; p99: number; late: number } | null
  recordsOwed: number
  holes: number
}

export interface Completing {
  audit: Audit
  config: Pick<Config, 'resultDeadlineMs' | 'linkLifetimeMs'>
  now: () => number
  found: (hole: Hole) => void
  progress: (what: string, done: number, of: number | null) => void
  signal: AbortSignal
}

/**
 * Looks at every generation of the range: each must have ended once, in one way that is on record,
 * or be still in time.
 */
export async function complete(world: Completing, range: AuditRange): Promise<Completeness> {
  const { audit, progress, signal } = world
  const count = await audit.generationCount(range)
  const totals = nothing()
  const margins: number[] = []
  let page = await audit.generationsAudited(range, '')
  while (page.length > 0 && !signal.aborted) {
    const [first, last] = [page.at(0)?.id ?? '', page.at(-1)?.id ?? '']
    const images = byGeneration(await audit.imagesAudited(first, last))
    for (const generation of page) {
      const theirs = images.get(generation.id) ?? []
      add(totals, margins, generation, theirs)
      const holes = [...holesOf(world, generation, theirs)]
      if (!isTerminal(generation.status) && !holes.some(({ hole }) => hole === 'overdue'))
        totals.inTime++
      totals.holes += holes.length
      holes.forEach(world.found)
    }
    progress('looking at generations', totals.generations, count)
    // Statements here are synchronous: without a turn of the event loop nobody could interrupt.
    await new Promise((resolve) => setImmediate(resolve))
    page = await audit.generationsAudited(range, last)
  }
  return { ...totals, marginMs: spread(margins) }
}

function byGeneration(images: AuditedImage[]) {
  const grouped = new Map<string, AuditedImage[]>()
  for (const image of images) {
    const theirs = grouped.get(image.generationId)
    if (theirs) theirs.push(image)
    else grouped.set(image.generationId, [image])
  }
  return grouped
}

const zeros = <Name extends string>(names: readonly Name[]) =>
  Object.fromEntries(names.map((name) => [name, 0])) as Record<Name, number>

const nothing = (): Omit<Completeness, 'marginMs'> => ({
  generations: 0,
  byStatus: zeros(GENERATION_STATUSES),
  endedBy: zeros(['reply', 'callback', 'fetch', 'deadline', 'unknown'] as const),
  inTime: 0,
  callbacks: { due: 0, missed: 0 },
  byArchiveStatus: zeros(ARCHIVE_STATUSES),
  images: zeros(['archived', 'lost', 'pending'] as const),
  recordsOwed: 0,
  holes: 0,
})

function add(
  totals: Omit<Completeness, 'marginMs'>,
  margins: number[],
  generation: AuditedGeneration,
  images: AuditedImage[],
) {
  totals.generations++
  totals.byStatus[generation.status]++
  totals.byArchiveStatus[generation.archiveStatus]++
  if (generation.recordDueAt !== null) totals.recordsOwed++
  if (isTerminal(generation.status)) {
    const road = roadOf(generation)
    totals.endedBy[road]++
    if (generation.status === 'succeeded' && road !== 'reply') {
      totals.callbacks.due++
      if (generation.callbacks === 0) totals.callbacks.missed++
    }
  }
  for (const { status, marginMs } of images) {
    totals.images[status]++
    if (marginMs !== null) margins.push(marginMs)
  }
}

/**
 * By which road it ended. A callback's decision says so itself; a reply may repeat in the same
 * instant what it brought.
 */
function roadOf({ failureCode, byCallback, byReply, byFetch }: AuditedGeneration) {
  if (failureCode !== null && DEADLINE_FAILURES.includes(failureCode)) return 'deadline'
  if (byCallback) return 'callback'
  if (byReply) return 'reply'
  return byFetch ? 'fetch' : 'unknown'
}

function* holesOf(
  world: Completing,
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
  { config, now }: Completing,
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

function* imageHoles({ config, now }: Completing, image: AuditedImage, of: Of) {
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

function spread(margins: number[]): Completeness['marginMs'] {
  const sorted = Float64Array.from(margins).sort()
  const [min] = sorted
  if (min === undefined) return null
  const at = (share: number) => sorted[Math.ceil(sorted.length * share) - 1] ?? min
  return {
    min,
    p1: at(0.01),
    p50: at(0.5),
    p99: at(0.99),
    late: sorted.findLastIndex((margin) => margin <= 0) + 1,
  }
}

const UNITS = [
  ['d', 24 * 3600],
  ['h', 3600],
  ['min', 60],
  ['s', 1],
] as const

/** In its two largest units, such as `1 h 20 min`. */
export function duration(ms: number): string {
  const seconds = Math.round(Math.abs(ms) / 1000)
  const first = Math.max(
    UNITS.findIndex(([, size]) => seconds >= size),
    0,
  )
  const start = seconds < 1 ? UNITS.length - 1 : first
  let rest = seconds
  const words = UNITS.slice(start, start + 2).map(([unit, size]) => {
    const count = Math.floor(rest / size)
    rest -= count * size
    return count > 0 || seconds < 1 ? `${count} ${unit}` : ''
  })
  return `${ms < 0 && seconds > 0 ? '-' : ''}${words.filter(Boolean).join(' ')}`
}
