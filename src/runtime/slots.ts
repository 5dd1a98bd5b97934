import { archiveImage, claimDue } from '../work/archive.ts'
import type { ClaimedImage } from '../ledger/archive.ts'
import type { Deps } from '../deps.ts'

const PROBE_MS = 1000

/**
 * Keeps up to ARCHIVE_CONCURRENCY images under way. `copy` makes one attempt at one image; `freed`:
 * a slot is free again.
 */
export function createArchiver(deps: Deps, copy = archiveImage, freed = deps.wake) {
  /** Those that are written down by now hold no slot any more. */
  const slots = new Set<ClaimedImage>()
  const underWay = new Set<Promise<void>>()
  let stopped = false
  let probedAt = 0
  /** The last look found as many images as there were slots: there may be more. */
  let leftSome = false

  const start = (image: ClaimedImage) => {
    const free = () => {
      if (slots.delete(image)) freed()
    }
    slots.add(image)
    const work = copy(deps, image, free)
      .catch((error: unknown) =>
        deps.log('error', 'an attempt at an image failed', {
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
  /**
   * While the store is away, one image at a time finds out whether it is back; the others are not
   * downloaded in vain.
   */
  const probe = async () => {
    // Either way: the clock may have been set back.
    if (underWay.size > 0 || Math.abs(deps.now() - probedAt) < PROBE_MS) return 0
    probedAt = deps.now()
    await deps.ledger.storeRetried(deps.now(), 1)
    return 1
  }
  /** Fills the free slots with images that are due, `most` of them at most. Returns how many. */
  const fill = async (most: number) => {
    const isAway = deps.health.read().objects !== 'ok'
    const free = Math.min(
      isAway ? await probe() : deps.config.archiveConcurrency - slots.size,
      most,
    )
    if (stopped || free <= 0) return 0
    const images = await claimDue(deps, free, countByHost(slots))
    images.forEach(start)
    leftSome = images.length === free
    return images.length
  }
  return {
    fill,
    /** Whether images wait for those that are under way. */
    isBehind: () => leftSome && slots.size > 0,
    /** Copies until nothing is due any more, or `most` images were tried. Returns how many. */
    drain: async (most: number) => {
      for (let tried = 0; ;) {
        tried += await fill(most - tried)
        if (underWay.size === 0) return tried
        await Promise.race(underWay)
      }
    },
    stop: () => {
      stopped = true
    },
    idle: async () => {
      await Promise.all(underWay)
    },
  }
}

function countByHost(images: Iterable<ClaimedImage>) {
  const counts = new Map<string, number>()
  for (const { host } of images) counts.set(host, (counts.get(host) ?? 0) + 1)
  return counts
}
