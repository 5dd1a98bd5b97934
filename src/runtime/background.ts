import type { Log } from '../deps.ts'
import { loudness } from '../errors.ts'

/**
 * Keeps track of work that goes on after its request was answered. What `wait` makes is how `later`
 * waits.
 */
export function trackWork(log: Log, wait: (ms: number) => Promise<void>) {
  const underWay = new Set<Promise<void>>()
  const track = (work: Promise<void>) => {
    const tracked = work
      .catch((error: unknown) => log(loudness(error), 'work in the background failed', { error }))
      .finally(() => underWay.delete(tracked))
    underWay.add(tracked)
  }
  return {
    track,
    later: (delayMs: number, task: () => Promise<void>) => track(wait(delayMs).then(task)),
    /** Requests count as work, too: a client may be waiting for the provider's reply. */
    tracked:
      <Args extends unknown[], Answer>(answer: (...args: Args) => Answer) =>
      (...args: Args) => {
        const answered = answer(...args)
        track(Promise.resolve(answered).then(() => undefined))
        return answered
      },
    idle: async () => {
      while (underWay.size > 0) await Promise.all(underWay)
    },
  }
}
