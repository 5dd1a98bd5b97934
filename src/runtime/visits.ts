import { givesWay, halfOf, shareOut, standingIn } from '../model/fairness.ts'
import { type HostAnswer, type News, newsOf, type Visit } from '../model/visit.ts'
import type { Deps } from '../deps.ts'

/** So many hosts are known at most: each look for work tells the ledger of all of them. */
const MOST_KNOWN = 1000

export interface HeldVisit extends Visit {
  isOver: boolean
  /** Its slot was given to another host: it is to be broken off, its image to be given back. */
  gaveWay: boolean
}

/**
 * Who holds the slots, and what is known of the hosts that have images. All of it may be lost: that
 * costs delay, never an image. Where visits are cut off without a word, they count for
 * `expireAfterMs`.
 */
export function createVisits(
  { config, now }: Pick<Deps, 'config' | 'now'>,
  expireAfterMs = Infinity,
) {
  const slots = config.archiveConcurrency
  const visits = new Set<HeldVisit>()
  const news = new Map<string, News>()
  const order = { slotlessFirst: false, newestFirst: false }

  const divided = (most = Infinity) => {
    for (const visit of visits) if (now() - visit.beganAt >= expireAfterMs) visits.delete(visit)
    return shareOut({ slots, most, now: now(), visits, news, order: { ...order } })
  }
  const hear = (visit: Visit, answer: HostAnswer) => {
    const { host } = visit
    const heard = newsOf(visit, answer, now(), news.get(host))
    // What is known for the longest time comes first in the map, and is forgotten first.
    news.delete(host)
    news.set(host, heard)
    const [oldest] = news.keys()
    if (news.size > MOST_KNOWN && oldest !== undefined) news.delete(oldest)
  }
  return {
    /** What may be given to whom, `most` of it at most. */
    shares: (most: number) => divided(most).shares,
    /** Those whose hosts hang. */
    late: () => divided().late,
    /** How many slots hosts that are new or hang may hold. */
    mostUnproven: halfOf(slots),
    /** A visit begins for each image, and others give way to them. */
    begin: <Image extends { host: string }>(images: readonly Image[]) => {
      const division = divided()
      const hosts = images.map(({ host }) => host)
      if (hosts.length > 0) order.slotlessFirst = !order.slotlessFirst
      if (hosts.some((host) => standingIn(division.shares, host) === 'new'))
        order.newestFirst = !order.newestFirst
      for (const visit of givesWay(division, hosts)) {
        visit.gaveWay = true
        visits.delete(visit)
        hear(visit, 'silence')
      }
      return images.map((image): [Image, HeldVisit] => {
        const visit = { host: image.host, beganAt: now(), isOver: false, gaveWay: false }
        visits.add(visit)
        return [image, visit]
      })
    },
    /** The host has done its part; what is left is ours. */
    heard: (visit: HeldVisit, answer: HostAnswer) => {
      if (visit.isOver || visit.gaveWay) return
      visit.isOver = true
      hear(visit, answer)
    },
    end: (visit: HeldVisit) => {
      visits.delete(visit)
    },
  }
}
