import type { Deps } from '../deps.ts'
import type { DueKind } from '../model/due.ts'
import { expireOverdue, giveUpReplies } from './expire.ts'
import { sendHeld } from './held.ts'
import { reconcileDue } from './reconcile.ts'
import { recordDue } from './record.ts'
import { drainSpool } from './spool.ts'

/** Whoever copies images, some at a time. */
export interface Copying {
  /** Copies up to `most` due images, or begins to. Returns how many. */
  copy: (most: number) => Promise<number>
  /** Whether images wait for those that are under way. */
  isBehind: () => boolean
}

/** How much of a kind is tried, and how much of that side by side. */
export interface Room {
  most: number
  atOnce: number
}

/** What is done about one kind of due work. */
export interface DueWork {
  /** For the log: `… failed`. */
  what: string
  /** On Node at each look for work, on Workers in one invocation. */
  room: { look: Room; turn: Room }
  /**
   * `woken`: at every look and in every turn. `seldom`: on Node once a second, in every turn.
   * `clock`: on Node once a second, on Workers when the clock strikes.
   */
  when: 'woken' | 'seldom' | 'clock'
  /** Tries what is due, as far as there is room. Returns how many were tried. */
  run: (deps: Deps, room: Room, images: Copying) => Promise<number>
}

const ANY: Room = { most: Infinity, atOnce: Infinity }
const upTo = (most: number, atOnce = most): Room => ({ most, atOnce })

/** Links die, records do not: for so long they give way to images that wait for a slot. */
const RECORD_PATIENCE_MS = 60_000

/**
 * In this order: first what dies, and links do. On the paid plan D1 answers one invocation 1,000
 * queries, and a batch counts as all that is in it: an image takes about a dozen, a spooled
 * callback, a reply or a fetch about fifteen, a record ten. Of six connections that may be open at
 * a time, each record holds one.
 */
export const WORK: Record<DueKind, DueWork> = {
  spooled: {
    what: 'emptying the spool',
    room: { look: ANY, turn: upTo(24) },
    when: 'clock',
    run: (deps, { most }) => drainSpool(deps, most),
  },
  unanswered: {
    what: 'giving up replies',
    room: { look: ANY, turn: ANY },
    when: 'clock',
    run: (deps) => giveUpReplies(deps),
  },
  overdue: {
    what: 'ending what is overdue',
    room: { look: ANY, turn: ANY },
    when: 'seldom',
    run: (deps) => expireOverdue(deps),
  },
  image: {
    what: 'claiming images',
    room: { look: ANY, turn: upTo(32) },
    when: 'woken',
    run: (_deps, { most }, images) => images.copy(most),
  },
  held: {
    what: 'sending what is held',
    room: { look: ANY, turn: upTo(5) },
    when: 'woken',
    run: (deps, { most }) => sendHeld(deps, most),
  },
  fetch: {
    what: 'asking for results',
    room: { look: upTo(8), turn: upTo(5) },
    when: 'woken',
    run: (deps, { most }) => reconcileDue(deps, most),
  },
  record: {
    what: 'writing records',
    room: { look: upTo(8), turn: upTo(20, 5) },
    when: 'woken',
    run: (deps, room, images) => writeRecords(deps, room, images),
  },
}

async function writeRecords(deps: Deps, { most, atOnce }: Room, images: Copying) {
  let tried = 0
  for (let last = atOnce; last === atOnce && tried < most; tried += last) {
    const forMs = images.isBehind() ? RECORD_PATIENCE_MS : 0
    last = await recordDue(deps, Math.min(atOnce, most - tried), forMs)
  }
  return tried
}
