/** How long a download keeps its slot from others that could go. */
const PATIENCE_MS = 1000
/** The same against those that have less claim to it: what gives way was downloaded in vain. */
const LONG_PATIENCE_MS = 5000
/** Who answered longer ago is new again. */
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
  /** How often it hung since it answered. */
  hangs: number
  /** How long it took to answer last, 0 where it hung since. */
  tookMs: number
}

/** Who takes its time to refuse holds a slot like one that says nothing. */
export function newsOf(visit: Visit, answer: HostAnswer, now: number, before?: News): News {
  const tookMs = apart(now, visit.beganAt)
  if (answer === 'bytes' || (answer === 'refusal' && tookMs < PATIENCE_MS))
    return { at: now, hangs: 0, tookMs }
  if (!before) return { at: now, hangs: 1, tookMs: 0 }
  // Downloads that hang side by side hang once.
  const isSame = before.hangs > 0 && visit.beganAt < before.at
  return { at: now, hangs: before.hangs + (isSame ? 0 : 1), tookMs: 0 }
}

export type Standing = 'answers' | 'new' | 'hangs'

/** One that holds a slot, or of which something was heard. */
export interface Host<V> {
  name: string
  standing: Standing
  /** The oldest first. */
  visits: V[]
  /** How long it is waited for before another that hangs, or another image of its own, may go. */
  patienceMs: number
  /** When something was heard of it last. */
  since: number
  /** It was waited for in vain, with one image at least: which others may be had is to be seen. */
  isStuck: boolean
}

export function hostsOf<V extends Visit>(
  visits: V[],
  news: ReadonlyMap<string, News>,
  now: number,
): Host<V>[] {
  const byHost = new Map([...news.keys()].map((host): [string, V[]] => [host, []]))
  for (const visit of visits.toSorted(byAge))
    byHost.set(visit.host, [...(byHost.get(visit.host) ?? []), visit])
  return [...byHost].map(([name, own]) => {
    const last = news.get(name)
    const standing = standingOf(own, last, now)
    const patienceMs = patienceWith(last)
    const isStuck = standing === 'hangs' || own.some((visit) => isLate(visit, now, patienceMs))
    return { name, visits: own, standing, patienceMs, since: last?.at ?? 0, isStuck }
  })
}

function patienceWith(last: News | undefined) {
  // Who took its time to answer is expected to take it again.
  if (last?.hangs === 0) return Math.max(LONG_PATIENCE_MS, 2 * last.tookMs)
  return PATIENCE_MS * 2 ** (last?.hangs ?? 0)
}

const byAge = (a: Visit, b: Visit) => a.beganAt - b.beganAt

function standingOf(visits: Visit[], last: News | undefined, now: number): Standing {
  const answeredAt = last?.hangs === 0 ? last.at : -Infinity
  const waited = visits.filter((visit) => isLate(visit, now, PATIENCE_MS))
  if (waited.some(({ beganAt }) => beganAt >= answeredAt)) return 'hangs'
  if (last && last.hangs > 0) return 'hangs'
  return last && apart(now, last.at) <= LATELY_MS ? 'answers' : 'new'
}

/** Either way: the clock may have been set back. */
const apart = (now: number, at: number) => Math.abs(now - at)

const isLate = ({ isOver, beganAt }: Visit, now: number, patienceMs: number) =>
  !isOver && apart(now, beganAt) >= patienceMs

/** Whether it was waited for long enough with all that it holds. */
export const isStale = ({ standing, visits, patienceMs }: Host<Visit>, now: number) =>
  standing === 'hangs' &&
  visits.length > 0 &&
  visits.every((visit) => isLate(visit, now, patienceMs))

/**
 * Those that give way: first what a host holds beside its oldest, then those that give way to
 * others that hang, each time the oldest first.
 */
export function lateOnes<V extends Visit>(hosts: Host<V>[], now: number) {
  return hosts
    .filter(({ standing }) => standing === 'hangs')
    .flatMap(({ visits, patienceMs }) =>
      visits.map((visit, nth) => ({
        visit,
        isSpare: nth > 0,
        isLong: isLate(visit, now, LONG_PATIENCE_MS),
        isTired: isLate(visit, now, patienceMs),
      })),
    )
    .filter(({ visit }) => isLate(visit, now, PATIENCE_MS))
    .toSorted(
      (a, b) =>
        Number(b.isSpare) - Number(a.isSpare) ||
        Number(b.isTired) - Number(a.isTired) ||
        byAge(a.visit, b.visit),
    )
}
