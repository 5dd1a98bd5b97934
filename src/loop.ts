import { archiveImage, claimDue } from './archive.ts'
import type { ClaimedImage } from './ledger/archiving.ts'
import type { Deps } from './ports.ts'
import { recordDue } from './record.ts'
import { expireOverdue, reconcileDue } from './reconcile.ts'
import { sendHeld } from './submit.ts'

/** The guarantee where a wake was lost, and what brings work that was not due before. */
const TICK_MS = 200
const EXPIRE_EVERY_MS = 1000
const FETCHES_AT_ONCE = 8
const PROBE_MS = 1000
const RECORDS_AT_ONCE = 8
/** Thousands of callbacks a second are one look for work every so often. */
const WAKE_MS = 5

export interface Loop {
  /** Looks for due work now. */
  wake: () => void
  /** Takes no more work, and resolves when what is under way has ended. */
  stop: () => Promise<void>
}

/** Does what is due, for as long as the process lives. The ledger is the queue: nothing is remembered here. */
export function startLoop(deps: Deps): Loop {
  const archiver = startArchiver(deps)
  const failed = (what: string) => (error: unknown) => deps.log('error', `${what} failed`, { error })
  const tasks = [
    once(() => sendHeld(deps), failed('sending what is held')),
    once(() => reconcileDue(deps, FETCHES_AT_ONCE), failed('asking for results')),
    once(archiver.fill, failed('claiming images')),
    once(() => recordDue(deps, RECORDS_AT_ONCE), failed('writing records')),
  ]
  const expire = once(() => expireOverdue(deps), failed('ending what is overdue'))
  let stopping = false
  const look = () => {
    if (!stopping) for (const task of tasks) task.run()
  }
  const timers = [setInterval(look, TICK_MS), setInterval(expire.run, EXPIRE_EVERY_MS)]
  look()
  expire.run()
  return {
    wake: debounced(look, WAKE_MS),
    stop: async () => {
      stopping = true
      for (const timer of timers) clearInterval(timer)
      archiver.stop()
      await Promise.all([...tasks.map((task) => task.idle()), expire.idle(), archiver.idle()])
    },
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

/** Runs `work` at most once at a time. A call in the meantime makes it run once more: what it asks for may be new. */
function once(work: () => Promise<unknown>, onError: (error: unknown) => void) {
  let running: Promise<void> | null = null
  let again = false
  const wasAskedAgain = () => again
  const rounds = async () => {
    do {
      again = false
      await work().catch(onError)
    } while (wasAskedAgain())
    running = null
  }
  return {
    run: () => {
      if (running) again = true
      else running = rounds()
    },
    idle: async () => {
      await running
    },
  }
}

/** Keeps up to ARCHIVE_CONCURRENCY images under way; a slot is filled as soon as it is free. */
function startArchiver(deps: Deps) {
  const underWay = new Map<ClaimedImage, Promise<void>>()
  let stopped = false
  let probeAt = 0

  const start = (image: ClaimedImage) => {
    const work = archiveImage(deps, image)
      .catch((error: unknown) =>
        deps.log('error', 'an attempt at an image failed', { generation: image.generationId, error }),
      )
      .finally(() => {
        underWay.delete(image)
        deps.wake()
      })
    underWay.set(image, work)
  }
  /** While the store is away, one image at a time finds out whether it is back; the others are not downloaded in vain. */
  const probe = async () => {
    if (underWay.size > 0 || deps.now() < probeAt) return 0
    probeAt = deps.now() + PROBE_MS
    await deps.ledger.storeRetried(deps.now(), 1)
    return 1
  }
  const fill = async () => {
    const isAway = deps.health.read().objects !== 'ok'
    const free = isAway ? await probe() : deps.config.archiveConcurrency - underWay.size
    if (stopped || free <= 0) return
    for (const image of await claimDue(deps, free, countByHost(underWay.keys()))) start(image)
  }
  return {
    fill,
    stop: () => {
      stopped = true
    },
    idle: async () => {
      await Promise.all(underWay.values())
    },
  }
}

function countByHost(images: Iterable<ClaimedImage>) {
  const counts = new Map<string, number>()
  for (const { host } of images) counts.set(host, (counts.get(host) ?? 0) + 1)
  return counts
}
