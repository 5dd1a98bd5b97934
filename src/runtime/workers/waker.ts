import type { WakeQueue } from './bindings.ts'
import type { Deps } from '../../deps.ts'

/** What comes due later than this is left to the clock, which strikes once a minute. */
const LONGEST_DELAY_MS = 60_000

/** Sends wakes: hints, of which any may be lost. */
export function createWaker(queue: WakeQueue, { now, log }: Pick<Deps, 'now' | 'log'>) {
  /** When a wake that was sent to arrive later does. */
  let expectedAt = 0

  return {
    /** Sees to it that somebody looks for work at about `dueAt`. */
    wakeAt: async (dueAt: number) => {
      const delayMs = Math.max(dueAt - now(), 0)
      // Each turn may ask for a later one. Without this they would become more and more.
      const isExpected = delayMs > 0 && now() < expectedAt && expectedAt <= dueAt
      if (isExpected || delayMs > LONGEST_DELAY_MS) return
      if (delayMs > 0) expectedAt = dueAt
      try {
        await queue.send('wake', { contentType: 'json', delaySeconds: Math.ceil(delayMs / 1000) })
      } catch (error) {
        log('error', 'a wake could not be sent', { error })
      }
    },
  }
}
