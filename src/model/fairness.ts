import { hostsOf, isStale, lateOnes, type News, type Standing, type Visit } from './visit.ts'

/**
 * How image hosts share the slots of the archiver.
 *
 * 1. A host *answers* where a download from it has ended lately otherwise than by waiting: with a
 *    picture, a 404, a refusal. It *hangs* where it was waited for in vain last, or is waited for
 *    right now for longer than it may be. Of a *new* one neither is known.
 * 2. One that answers holds half of the slots at most; one that is new or hangs holds one.
 * 3. All together that are new or hang hold half of the slots at most; the new ones go first, then
 *    the one that hung the longest time ago. Of the new ones each second is the newest, so that a
 *    crowd of them cannot hold up who comes after it.
 * 4. Who hangs gives way. To one that is new: any download that is waited for. To another that
 *    hangs, else to another image of the same host: what was waited for twice as long as the last
 *    time.
 *    To one that answers and holds none: what is held over rules 2 and 3, by hosts that answered
 *    when they took it; and after longer, to whoever answers. What gave way is due as before.
 * 5. Else goes first what dies first; every second time, who has no slot goes before. Of a host that
 *    hangs, or that answers while another image of it is waited for in vain, goes first what was
 *    tried least: its other images may be had.
 *
 * So fifty new hosts that hang hold half of the slots, and are changed for each other every second,
 * until each had its turn; from then on one that is new waits a second at most, and one that is
 * slow or well again is found out in rounds, each twice as long as the one before. With a single
 * slot there is no other half: there who hangs gives way to whoever answers and has none, too.
 */

/** What a host may be given. */
interface Share {
  standing: Standing
  held: number
  /** How many it may be given beside those. */
  room: number
  /** How many give way to its first, where the limits are reached. */
  further: number
  /** When it hung. */
  since: number
  /** Of its images goes first what was tried least. */
  isStuck: boolean
}

/** What may be given to whom. */
export interface Shares {
  /** To all together. */
  limit: number
  /** To all together that are new or hang. */
  unproven: number
  /** To one host, what it holds included. */
  perHost: number
  known: (Share & { host: string })[]
  /** To each that is not known. */
  stranger: Share
  order: Order
}

/** In what the next look differs from one that goes by the death of links alone. */
interface Order {
  /** Hosts that hold no slot go before. */
  slotlessFirst: boolean
  /** Of the new ones the newest goes first. */
  newestFirst: boolean
}

interface Situation<V> {
  slots: number
  /** No more than this are wanted. */
  most: number
  now: number
  visits: Iterable<V>
  news: ReadonlyMap<string, News>
  order: Order
}

/** What may be given, of it how much is free, and who gives way for the rest, in this order. */
export function shareOut<V extends Visit>(situation: Situation<V>) {
  const { slots, most, now, visits, news, order } = situation
  const half = halfOf(slots)
  const held = [...visits]
  const hosts = hostsOf(held, news, now)
  const unproven = hosts.filter(({ standing }) => standing !== 'answers')
  const holders = unproven.filter((host) => host.visits.length > 0)
  const lawful = Math.min(half, holders.length)
  const late = lateOnes(hosts, now)
  const tired = late.filter(({ isTired }) => isTired)
  const spare = Math.min(late.length, holders.flatMap((host) => host.visits).length - lawful)
  const longSpare = Math.min(spare, late.filter(({ isLong }) => isLong).length)

  const free = Math.max(0, slots - held.length)
  const limit = Math.min(most, free + longSpare)
  const further = (count: number) => Math.max(0, Math.min(most - limit, count - longSpare))
  const share = sharesWithin({
    limit,
    half,
    unproven: half - lawful,
    further: {
      new: further(late.length),
      hangs: further(tired.length),
      // A single slot is all that who answers could have.
      answers: further(slots > 1 ? spare : late.length),
      itself: Math.min(1, most - limit),
    },
  })
  const shares: Shares = {
    limit,
    unproven: half - lawful,
    perHost: half,
    known: hosts.map((host) => ({
      host: host.name,
      ...share({ ...host, held: host.visits.length, isStale: isStale(host, now) }),
    })),
    stranger: share({ standing: 'new' }),
    order,
  }
  return { shares, free, late: late.map(({ visit }) => visit) }
}

type Division<V extends Visit> = ReturnType<typeof shareOut<V>>

/** Which downloads give way to those that begin at `hosts`. */
export function givesWay<V extends Visit>(division: Division<V>, hosts: readonly string[]) {
  const { shares, free, late } = division
  const unproven = hosts.filter((host) => standingIn(shares, host) !== 'answers')
  const own = unproven.flatMap((host) => late.find((visit) => visit.host === host) ?? [])
  const others = late.filter((visit) => !own.includes(visit))
  const count = Math.max(own.length, hosts.length - free, unproven.length - shares.unproven)
  return [...own, ...others].slice(0, count)
}

export const standingIn = ({ known, stranger }: Shares, host: string) =>
  (known.find((one) => one.host === host) ?? stranger).standing

/** Whether to look for images at all. */
export const isAnyRoom = ({ known, stranger }: Shares) =>
  [stranger, ...known].some(({ room }) => room > 0)

/** For whoever keeps no acquaintances: every host counts as one that answers. */
export function sharesOfAll(
  slots: number,
  limit: number,
  busy: ReadonlyMap<string, number>,
): Shares {
  const half = halfOf(slots)
  const share = sharesWithin({
    limit,
    half,
    unproven: 0,
    further: { new: 0, hangs: 0, answers: 0, itself: 0 },
  })
  return {
    limit,
    unproven: 0,
    perHost: half,
    known: [...busy].map(([host, held]) => ({ host, ...share({ standing: 'answers', held }) })),
    stranger: share({ standing: 'answers' }),
    order: { slotlessFirst: false, newestFirst: false },
  }
}

export const halfOf = (slots: number) => Math.max(1, Math.floor(slots / 2))

interface Limits {
  limit: number
  half: number
  unproven: number
  /** How many give way to the first of a host that holds none, or to another image of its own. */
  further: Record<Standing | 'itself', number>
}

interface Asking {
  standing: Standing
  held?: number
  since?: number
  isStuck?: boolean
  /** One of its own downloads is to give way. */
  isStale?: boolean
}

const sharesWithin =
  ({ limit, half, unproven, further: givesWay }: Limits) =>
  ({ standing, held = 0, since = 0, isStuck = false, isStale: isInItsPlace }: Asking): Share => {
    const further = isInItsPlace ? givesWay.itself : held > 0 ? 0 : givesWay[standing]
    const isAllowed = standing === 'answers' || unproven + further > 0
    const most = standing === 'answers' ? half : isInItsPlace ? held + 1 : 1
    const room = limit + further > 0 && isAllowed ? Math.max(0, most - held) : 0
    return { standing, held, room, further, since, isStuck }
  }
