import type { Journal, Link, Submission } from './journal.ts'
import type { Knobs } from '../knobs/knobs.ts'
import type { InpaintRequest } from './request.ts'

/** What jobs and their links need of the world. */
export interface JobWorld {
  origins: { api: string; output: string; proxy: string }
  journal: Journal
  /** Milliseconds since the epoch. */
  now: () => number
}

/** An accepted submission. What became of it so far is in `submission`. */
export interface Job {
  id: number | string
  request: InpaintRequest
  knobs: Knobs
  /** As asked, else random in 32 bits: half of them are above 2^31. */
  seed: number
  submission: Submission
}

/** A link that was handed out, and the job that it belongs to. */
export interface Offer {
  job: Job
  link: Link
}
