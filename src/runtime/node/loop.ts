import { archiveImage } from '../../work/archive.ts'
import { createArchiver } from '../slots.ts'
import type { Deps } from '../../deps.ts'
import { recordDue } from '../../work/record.ts'
import { expireOverdue, reconcileDue } from '../../work/reconcile.ts'
import { sendHeld } from '../../work/submit.ts'

/** The guarantee where a wake was lost, and what brings work that was not due before. */
const TICK_MS = 200
const EXPIRE_EVERY_MS = 1000
const CLOCK_EVERY_MS = 1000
/** Less is how clocks are kept right all the time. */
const SET_BACK_MS = 2000
const FETCHES_AT_ONCE = 8
const RECORDS_AT_ONCE = 8
/** Links die, records do not: for so long they give way to images that wait for a slot. */
const RECORD_PATIENCE_MS = 60_000
const REST_MS = 1000
/** Thousands of callbacks a second are one look for work every so often. */
const WAKE_MS = 5

export interface Loop {
  /** Looks for due work now. */
  wake: () => void
  /** Takes no more work, and resolves when what is under way has ended. */
  stop: () => Promise<void>
}

/**
 * Does what is due, for as long as the process lives. The ledger is the queue: nothing is
 * remembered here.
 */
export function startLoop(deps: Deps): Loop {
  const failed = (what: string) => (error: unknown) =>
    deps.log('error', `${what} failed`, { error })
  const archiver = createArchiver(deps, archiveImage, () => filling.run())
  const filling = once(() => archiver.fill(Infinity), failed('claiming images'))
  const tasks = [
    once(() => sendHeld(deps), failed('sending what is held')),
    once(() => reconcileDue(deps, FETCHES_AT_ONCE), failed('asking for results')),
    filling,
    once(
      () => recordDue(deps, RECORDS_AT_ONCE, archiver.isBehind() ? RECORD_PATIENCE_MS : 0),
      failed('writing records'),
    ),
  ]
  const expire = once(() => expireOverdue(deps), failed('ending what is overdue'))
  const followClock = once(clockFollower(deps), failed('following the clock'))
  let stopping = false
  const look = () => {
    if (!stopping) for (const task of tasks) task.run()
  }
  const timers = [
    setInterval(look, TICK_MS),
    setInterval(expire.run, EXPIRE_EVERY_MS),
    setInterval(followClock.run, CLOCK_EVERY_MS),
  ]
  look()
  expire.run()
  return {
    wake: debounced(look, WAKE_MS),
    stop: async () => {
      stopping = true
      for (const timer of timers) clearInterval(timer)
      archiver.stop()
      await Promise.all([
        ...tasks.map((task) => task.idle()),
        expire.idle(),
        followClock.idle(),
        archiver.idle(),
      ])
    },
  }
}

/**
 * Sees by the clock that nobody sets that the other one was set back: hours may pass until it is
 * where it was.
 */
function clockFollower({ now, ledger, log }: Deps) {
  let ahead = now() - performance.now()
  return async () => {
    const aheadNow = now() - performance.now()
    const byMs = Math.round(ahead - aheadNow)
    if (byMs >= SET_BACK_MS) {
      log('warn', 'the clock was set back', { seconds: byMs / 1000 })
      await ledger.clockSetBack(now(), byMs)
    }
    ahead = aheadNow
  }
}

function debounced(call: () => void, delayMs: number) {
  let timer: NodeJS.Timeout | null = null
  return () => {
    timer ??= setTimeout(() => {
      timer = null
      call()
    }, delayMs)
  }
}

/**
 * Runs `work` at most once at a time. A call in the meantime makes it run once more: what it asks
 * for may be new. After a failure it rests: what cannot be done now is not tried again at once.
 */
function once(work: () => Promise<unknown>, onError: (error: unknown) => void) {
  let running: Promise<void> | null = null
  let again = false
  let restsUntil = 0
  const rests = () => performance.now() < restsUntil
  const wasAskedAgain = () => again && !rests()
  const fail = (error: unknown) => {
    restsUntil = performance.now() + REST_MS
    onError(error)
  }
  const rounds = async () => {
    do {
      again = false
      await work().catch(fail)
    } while (wasAskedAgain())
    running = null
  }
  return {
    run: () => {
      if (rests()) return
      if (running) again = true
      else running = rounds()
    },
    idle: async () => {
      await running
    },
  }
}
