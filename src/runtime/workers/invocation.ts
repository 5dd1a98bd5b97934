import { AsyncLocalStorage } from 'node:async_hooks'
import { trackWork } from '../background.ts'
import type { Deps, Log } from '../../deps.ts'

/** What goes on after an answer is ended by Cloudflare after 30 s. */
const LONGEST_LATER_MS = 25_000

export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** One request, batch of wakes or stroke of the clock. */
export interface Invocation extends Pick<Deps, 'wake' | 'track' | 'later'> {
  isWoken: () => boolean
  /** Resolves when what goes on in the background has ended. */
  idle: () => Promise<void>
}

const storage = new AsyncLocalStorage<Invocation>()

/**
 * Runs `work` as one invocation: what it wakes, tracks or puts off through the Deps of its isolate
 * belongs to it.
 */
export function invoke<T>(log: Log, work: (invocation: Invocation) => T): T {
  const invocation = createInvocation(log)
  return storage.run(invocation, () => work(invocation))
}

/** For Deps that live as long as their isolate. */
export const throughInvocation: Pick<Deps, 'wake' | 'track' | 'later'> = {
  wake: () => current().wake(),
  track: (work) => current().track(work),
  later: (delayMs, task) => current().later(delayMs, task),
}

function current() {
  const invocation = storage.getStore()
  if (!invocation) throw new Error('outside of any invocation')
  return invocation
}

function createInvocation(log: Log): Invocation {
  const endsAt = Date.now() + LONGEST_LATER_MS
  const work = trackWork(log, sleep)
  let woken = false
  return {
    track: work.track,
    idle: work.idle,
    later: (delayMs, task) => {
      if (Date.now() + delayMs < endsAt) work.later(delayMs, task)
      else log('error', 'what was put off is given up: its invocation ends')
    },
    wake: () => {
      woken = true
    },
    isWoken: () => woken,
  }
}
