import type { Config } from '../config.ts'
import {
  ARCHIVE_STATUSES,
  type ArchiveStatus,
  GENERATION_STATUSES,
  type GenerationStatus,
  isTerminal,
} from '../model/generation.ts'
import type { Road } from '../model/outcome.ts'
import type { AuditReads, AuditedGeneration, AuditedImage, AuditRange } from '../ledger/audit.ts'
import { type Hole, holesOf, roadOf } from './holes.ts'

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
  audit: AuditReads
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
