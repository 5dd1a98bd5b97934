/**
 * How image hosts share the slots of the archiver.
 *
 * 1. A host *answers* once a download from it has ended otherwise than by waiting: with a picture,
 *    a 404, a refusal. It *hangs* once it was waited for in vain, or is waited for right now for
 *    longer than it may be. Of a *new* one neither is known, or not lately.
 * 2. One that answers holds half of the slots at most; one that is new or hangs holds one.
 * 3. All together that are new or hang hold half of the slots at most; the new ones go first, then
 *    the one that hung the longest time ago. Of the new ones each second is the newest, so that a
 *    crowd of them cannot hold up who comes after it.
 * 4. Who hangs gives way. To one that is new: any download that is waited for. To one that answers
 *    and has no slot: those that are held over rules 2 and 3, by hosts that answered when they took
 *    them; and after longer, to whoever answers. What gave way is tried again as if it had not been.
 * 5. Else goes first what dies first; every second time, who has no slot goes before.
 *
 * So fifty new hosts that hang hold half of the slots, and are changed for each other every second,
 * until each had its turn; from then on one that is new waits a second at most. With a single slot
 * there is no other half: there who hangs gives way to whoever answers and has none, too.
 */

/** How long a download keeps its slot from others that could go. */
const PATIENCE_MS = 1000
/** The same against hosts that have a slot: some hosts are slow, and what gives way was in vain. */
const LONG_PATIENCE_MS = 5000
/** What is older is not known any more. */
const LATELY_MS = 10 * 60_000

/** A download that holds a slot. */
export interface Visit {
  readonly host: string
  readonly beganAt: number
  /** The host has done its part: what is left is ours. */
  readonly isOver: boolean
}

/** The whole of what was asked for, less than that, or nothing in time. */
export type HostAnswer = 'bytes' | 'refusal' | 'silence'

/** What was heard of a host last. */
export interface News {
  at: number
  answered: boolean
}

/** Who takes its time to refuse holds a slot like one that says nothing. */
export const newsOf = (beganAt: number, answer: HostAnswer, now: number): News => ({
  at: now,
  answered: answer === 'bytes' || (answer === 'refusal' && apart(now, beganAt) < PATIENCE_MS),
})

type Standing = 'answers' | 'new' | 'hangs'

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
  const spare = Math.min(late.length, holders.flatMap((host) => host.visits).length - lawful)
  const longSpare = Math.min(spare, late.filter(isLate(now, LONG_PATIENCE_MS)).length)

  const free = Math.max(0, slots - held.length)
  const limit = Math.min(most, free + longSpare)
  const further = (count: number) => Math.min(most - limit, count - longSpare)
  const share = sharesWithin({
    limit,
    half,
    unproven: half - lawful,
    // Nobody who answers has a slot that is not taken by who hangs, if there is but one.
    further: { new: further(late.length), answers: further(slots > 1 ? spare : late.length) },
  })
  const shares: Shares = {
    limit,
    unproven: half - lawful,
    perHost: half,
    known: hosts.map((host) => ({ host: host.name, ...share(host) })),
    stranger: share({ standing: 'new', visits: [], since: 0 }),
    order,
  }
  return { shares, free, late }
}

type Division<V extends Visit> = ReturnType<typeof shareOut<V>>

/** Which downloads give way to those that begin at `hosts`. */
export function givesWay<V extends Visit>(division: Division<V>, hosts: readonly string[]) {
  const { shares, free, late } = division
  const unproven = hosts.filter((host) => standingIn(shares, host) !== 'answers').length
  return late.slice(0, Math.max(0, hosts.length - free, unproven - shares.unproven))
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
  const share = sharesWithin({ limit, half, unproven: 0, further: { new: 0, answers: 0 } })
  const one = (visits: number): Share =>
    share({ standing: 'answers', visits: { length: visits }, since: 0 })
  return {
    limit,
    unproven: 0,
    perHost: half,
    known: [...busy].map(([host, held]) => ({ host, ...one(held) })),
    stranger: one(0),
    order: { slotlessFirst: false, newestFirst: false },
  }
}

export const halfOf = (slots: number) => Math.max(1, Math.floor(slots / 2))

interface Host<V> {
  name: string
  standing: Standing
  /** The oldest first. */
  visits: V[]
  since: number
}

function hostsOf<V extends Visit>(
  visits: V[],
  news: ReadonlyMap<string, News>,
  now: number,
): Host<V>[] {
  const byHost = new Map([...news.keys()].map((host): [string, V[]] => [host, []]))
  for (const visit of visits.toSorted(byAge))
    byHost.set(visit.host, [...(byHost.get(visit.host) ?? []), visit])
  return [...byHost].map(([name, own]) => {
    const last = news.get(name)
    return {
      name,
      visits: own,
      standing: standingOf(own, last, now),
      since: last?.at ?? 0,
    }
  })
}

const byAge = (a: Visit, b: Visit) => a.beganAt - b.beganAt

function standingOf(visits: Visit[], last: News | undefined, now: number): Standing {
  const answeredAt = last?.answered === true ? last.at : -Infinity
  const waited = visits.filter(isLate(now, PATIENCE_MS))
  if (waited.some(({ beganAt }) => beganAt >= answeredAt)) return 'hangs'
  if (!last || apart(now, last.at) > LATELY_MS) return 'new'
  return last.answered ? 'answers' : 'hangs'
}

/** Either way: the clock may have been set back. */
const apart = (now: number, at: number) => Math.abs(now - at)

const isLate =
  (now: number, patienceMs: number) =>
  ({ isOver, beganAt }: Visit) =>
    !isOver && apart(now, beganAt) >= patienceMs

/** Those that give way: first what a host holds beside its oldest, then the oldest of all. */
function lateOnes<V extends Visit>(hosts: Host<V>[], now: number) {
  const hanging = hosts.filter(({ standing }) => standing === 'hangs')
  const waited = isLate(now, PATIENCE_MS)
  return [
    ...hanging.flatMap(({ visits }) => visits.slice(1).filter(waited)).toSorted(byAge),
    ...hanging.flatMap(({ visits }) => visits.slice(0, 1).filter(waited)).toSorted(byAge),
  ]
}

interface Limits {
  limit: number
  half: number
  unproven: number
  further: { new: number; answers: number }
}

const sharesWithin =
  ({ limit, half, unproven, further: toFirst }: Limits) =>
  ({
    standing,
    visits,
    since,
  }: Pick<Host<unknown>, 'standing' | 'since'> & { visits: { length: number } }): Share => {
    const held = visits.length
    const further = held > 0 || standing === 'hangs' ? 0 : toFirst[standing]
    const isAllowed = standing === 'answers' || unproven + further > 0
    const most = standing === 'answers' ? half : 1
    const room = limit + further > 0 && isAllowed ? Math.max(0, most - held) : 0
    return { standing, held, room, further, since }
  }
