import type { Background } from './background.ts'
import type { Journal } from './journal.ts'
import type { Jobs } from './jobs.ts'
import type { Knobs } from './knobs.ts'

/** What every part of the simulator is handed. */
export interface World {
  origins: { api: string; output: string; proxy: string }
  /** The only key that is taken; undefined: any that is not empty. */
  key: string | undefined
  /** So many jobs may be unfinished; beyond, submissions are answered 429. */
  maxQueued: number
  /** What a request asks for that asks for nothing. */
  knobs: Knobs
  jobs: Jobs
  journal: Journal
  background: Background
  /** Milliseconds since the epoch. */
  now: () => number
  /** One plain line. */
  log: (line: string) => void
}
