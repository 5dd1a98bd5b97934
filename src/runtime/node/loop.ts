import type { Deps } from '../../deps.ts'
import { loudness } from '../../errors.ts'
import { type DueWork, WORK } from '../../work/due.ts'
import { createArchiver } from '../slots.ts'

/** The guarantee where a wake was lost, and what brings work that was not due before. */
const TICK_MS = 200
const SELDOM_MS = 1000
/** Less is how clocks are kept right all the time. */
const SET_BACK_MS = 2000
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
export function startLoop(deps: Deps, work: Readonly<Record<string, DueWork>> = WORK): Loop {
  const failed = (what: string) => (error: unknown) =>
    deps.log(loudness(error), `${what} failed`, { error })
  const archiver = createArchiver(deps, { freed: () => tasks['image']?.run() })
  const images = { copy: archiver.fill, isBehind: archiver.isBehind }
  const taskOf = ({ run, room, what }: DueWork) =>
    once(() => run(deps, room.look, images), failed(what))
  const tasks = Object.fromEntries(Object.entries(work).map(([name, one]) => [name, taskOf(one)]))
  const followClock = once(clockFollower(deps), failed('following the clock'))
  let stopping = false
  const look = (isSeldom: boolean) => {
    if (stopping) return
    for (const [name, { when }] of Object.entries(work))
      if ((when !== 'woken') === isSeldom) tasks[name]?.run()
  }
  const timers = [
    setInterval(() => look(false), TICK_MS),
    setInterval(() => look(true), SELDOM_MS),
    setInterval(followClock.run, SELDOM_MS),
  ]
  look(false)
  look(true)
  return {
    wake: debounced(() => look(false), WAKE_MS),
    stop: async () => {
      stopping = true
      for (const timer of timers) clearInterval(timer)
      archiver.stop()
      await Promise.all([
        ...Object.values(tasks).map((task) => task.idle()),
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
      await ledger.due.writeClockSetBack(now(), byMs)
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
