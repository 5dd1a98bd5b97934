import { setImmediate as turn } from 'node:timers/promises'
import { archiveImage } from '../../src/work/archive.ts'
import { ImageFailure } from '../../src/errors.ts'
import { createArchiver } from '../../src/runtime/slots.ts'
import type { Get } from '../../src/deps.ts'
import { offered } from './archiving.ts'
import { png, type World } from './world.ts'

/** How long a download may take, by the moved clock. */
export const TIMEOUT_S = 60
/** How often the service looks for work by itself. */
const LOOK_S = 0.2

/** What a host does with whoever comes: shows its picture or refuses after so long, or hangs. */
export type Manner = { after: number; status?: number; to?: string } | 'hangs'

/** One download, by the moved clock; `ended` is Infinity while it goes on. */
export interface Download {
  host: string
  url: string
  began: number
  ended: number
}

/** Image hosts that take their time by the clock of `here`, and the archiver that visits them. */
export async function visited(here: World) {
  const picture = await png('red')
  const manners = new Map<string, Manner>()
  const downloads: Download[] = []
  const waiting = new Set<{ until: number; wake: () => void }>()
  const seconds = () => here.clock.now / 1000
  const waits = (until: number, signal: AbortSignal) =>
    new Promise<void>((resolve) => {
      const one = { until, wake: () => waiting.delete(one) && resolve() }
      waiting.add(one)
      signal.addEventListener('abort', one.wake)
    })

  const get: Get = async (url, signal) => {
    const manner = manners.get(url.href) ?? manners.get(url.host) ?? { after: 0 }
    const download: Download = { host: url.host, url: url.href, began: seconds(), ended: Infinity }
    downloads.push(download)
    const took = manner === 'hangs' ? TIMEOUT_S : manner.after
    await waits(download.began + took - 1e-6, signal)
    download.ended = seconds()
    if (manner === 'hangs' || took >= TIMEOUT_S || signal.aborted)
      throw new ImageFailure('timeout', 'Given up.')
    const { status = 200, to } = manner
    const headers: Record<string, string> = to === undefined ? {} : { location: to }
    return {
      status,
      header: (name) => headers[name],
      body: ReadableStream.from([picture]),
      discard: () => undefined,
    }
  }
  let underWay = 0
  let wasFreed = false
  const archiver = createArchiver(
    { ...here.deps, get },
    {
      copy: async (...attempt) => {
        underWay++
        await archiveImage(...attempt).finally(() => underWay--)
      },
      freed: () => (wasFreed = true),
    },
  )
  /** Until everything that is under way waits for time to pass. */
  const settled = async () => {
    for (let filled = -1; filled !== 0 || wasFreed;) {
      wasFreed = false
      filled = await archiver.fill(Infinity)
      while (underWay > waiting.size) await turn()
    }
  }
  return {
    downloads,
    /** Those of hosts that begin with `name`. */
    of: (name: string) => downloads.filter(({ host }) => host.startsWith(name)),
    /** A host does, or a single link of it. */
    behaves: (where: string, manner: Manner) => manners.set(where, manner),
    /** So many links of a host come in one callback. */
    offer: (host: string, count: number) =>
      offered(here, {
        output: Array.from({ length: count }, (_, n) => `https://${host}/${n}.png`),
      }),
    /** Lets time pass, until `isDone` where it is given. Returns how many seconds. */
    pass: async (most: number, isDone: () => boolean = () => false) => {
      const from = seconds()
      await settled()
      while (!isDone() && seconds() - from < most - 1e-6) {
        here.clock.advance(LOOK_S)
        for (const one of waiting) if (one.until <= seconds()) one.wake()
        await settled()
      }
      return seconds() - from
    },
    seconds,
  }
}

/** How many downloads went on at the same time, at most. */
export const mostAtOnce = (downloads: Download[]) =>
  Math.max(
    0,
    ...downloads.map(
      ({ began }) => downloads.filter((one) => one.began <= began && one.ended > began).length,
    ),
  )
