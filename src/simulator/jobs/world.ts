import type { Background } from './background.ts'
import type { JobWorld } from './job.ts'
import type { Jobs } from './jobs.ts'
import type { Knobs } from '../knobs/knobs.ts'

/** What every part of the simulator is handed. */
export interface World extends JobWorld {
  /** The only key that is taken; undefined: any that is not empty. */
  key: string | undefined
  /** So many jobs may be unfinished; beyond, submissions are answered 429. */
  maxQueued: number
  /** What a request asks for that asks for nothing. */
  knobs: Knobs
  jobs: Jobs
  background: Background
  /** One plain line. */
  log: (line: string) => void
}
