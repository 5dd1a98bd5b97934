import { archiveImage, claimDue, type Slot } from '../work/archive.ts'
import type { ClaimedImage } from '../model/attempt.ts'
import { isAnyRoom } from '../model/fairness.ts'
import type { Deps } from '../deps.ts'
import { loudness } from '../errors.ts'
import { createVisits, type HeldVisit } from './visits.ts'

const PROBE_MS = 1000
/** How often who waits for downloads looks whether one of them has to give way. */
const LOOK_MS = 100

interface ArchiverOptions {
  /** Makes one attempt at one image. */
  copy?: typeof archiveImage
  /** A slot is free again. */
  freed?: () => void
  /** Shared by all archivers that share their slots. */
  visits?: ReturnType<typeof createVisits>
}

/** Keeps up to ARCHIVE_CONCURRENCY images under way, shared as model/fairness.ts says. */
export function createArchiver(deps: Deps, options: ArchiverOptions = {}) {
  const { copy = archiveImage, freed = deps.wake, visits = createVisits(deps) } = options
  /** Those that are written down by now hold no slot any more. */
  const slots = new Map<HeldVisit, AbortController>()
  const underWay = new Set<Promise<void>>()
  let stopped = false
  let probedAt = 0
  /** The last look found as many images as there were slots: there may be more. */
  let leftSome = false

  const start = (image: ClaimedImage, visit: HeldVisit) => {
    const limit = new AbortController()
    slots.set(visit, limit)
    const free = () => {
      visits.end(visit)
      if (slots.delete(visit)) freed()
    }
    const slot: Slot = {
      signal: limit.signal,
      heard: (answer) => visits.heard(visit, answer),
      transferred: free,
    }
    const work = copy(deps, image, slot)
      .catch((error: unknown) =>
        deps.log(loudness(error), 'an attempt at an image failed', {
          generation: image.generationId,
          error,
        }),
      )
      .finally(() => {
        underWay.delete(work)
        free()
      })
    underWay.add(work)
  }
  /** How many hold a slot of ours although their hosts hang. */
  const late = () => visits.late().filter((visit) => slots.has(visit)).length
  const giveWay = () => {
    for (const [visit, limit] of slots) if (visit.gaveWay && !visit.isOver) limit.abort()
  }
  /** Waits a moment, or until something has ended. */
  const pause = async () => {
    const moment = new Promise<void>((resolve) => setTimeout(resolve, LOOK_MS))
    await Promise.race([...underWay, moment])
    giveWay()
  }
  /** Until something has ended, or hangs. */
  const stirred = async () => {
    const [size, lateBefore] = [underWay.size, late()]
    do await pause()
    while (underWay.size === size && late() <= lateBefore)
  }
  /**
   * While the store is away, one image at a time finds out whether it is back; the others are not
   * downloaded in vain. One that only waits for its host finds out nothing.
   */
  const probe = async () => {
    // Either way: the clock may have been set back.
    if (underWay.size > late() || Math.abs(deps.now() - probedAt) < PROBE_MS) return 0
    probedAt = deps.now()
    await deps.ledger.retry.writeStoreRetried(deps.now(), 1)
    return 1
  }
  /** Fills the free slots with images that are due, `most` of them at most. Returns how many. */
  const fill = async (most: number) => {
    const isAway = deps.health.read().objects !== 'ok'
    const shares = visits.shares(Math.min(isAway ? await probe() : Infinity, most))
    if (stopped || !isAnyRoom(shares)) return 0
    const images = await claimDue(deps, shares)
    const begun = visits.begin(images)
    giveWay()
    for (const [image, visit] of begun) start(image, visit)
    leftSome = images.length > 0 && images.length >= shares.limit
    return images.length
  }
  return {
    fill,
    /** Whether images wait for those that are under way. */
    isBehind: () => leftSome && slots.size > 0,
    /**
     * Copies until nothing is due any more but from hosts that hang, or `most` images were tried.
     * Returns how many.
     */
    drain: async (most: number) => {
      for (let tried = 0; ;) {
        tried += await fill(most - tried)
        if (underWay.size <= Math.min(late(), visits.mostUnproven)) return tried
        await stirred()
      }
    },
    stop: () => {
      stopped = true
    },
    idle: async () => {
      while (underWay.size > 0) await pause()
    },
  }
}
