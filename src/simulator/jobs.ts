import { randomBytes, randomInt } from 'node:crypto'
import { REMEMBERED, type Link, type Submission } from './journal.ts'
import type { Knobs } from './knobs.ts'
import { makeLinks } from './offers.ts'
import type { InpaintRequest } from './request.ts'
import type { World } from './world.ts'

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

/** Every job that is remembered, and where its links lead. */
export class Jobs {
  readonly #byId = new Map<string, Job>()
  readonly #byUrl = new Map<string, Offer>()
  #nextId: number
  #unfinished = 0

  constructor(now: number) {
    // Seconds since the epoch, so that a simulator that was restarted does not give the same ids
    // again.
    this.#nextId = Math.floor(now / 1000)
  }

  get unfinished() {
    return this.#unfinished
  }

  /** The job of a provider id, as number or as text. */
  find(id: unknown) {
    return this.#byId.get(String(id))
  }

  offered(url: string) {
    return this.#byUrl.get(url)
  }

  accept(world: World, submission: Submission, request: InpaintRequest, knobs: Knobs): Job {
    const id = knobs.id === 'text' ? textId() : this.#nextId++
    const job = { id, request, knobs, seed: request.seed ?? randomInt(2 ** 32), submission }
    submission.providerId = id
    submission.state = 'processing'
    submission.links = makeLinks(world, request.samples, knobs)
    this.#byId.set(String(id), job)
    for (const link of submission.links) this.#byUrl.set(link.url, { job, link })
    this.#unfinished++
    this.#forgetOldest()
    world.journal.changed()
    return job
  }

  ended(world: World, job: Job) {
    job.submission.state = job.knobs.result === 'failed' ? 'failed' : 'success'
    job.submission.endedAt = world.now()
    this.#unfinished--
    world.journal.changed()
  }

  #forgetOldest() {
    const [oldest] = this.#byId.values()
    if (!oldest || this.#byId.size <= REMEMBERED) return
    this.#byId.delete(String(oldest.id))
    for (const link of oldest.submission.links) this.#byUrl.delete(link.url)
  }
}

// As in the documented sample, abc123-def456.
function textId() {
  return `${randomBytes(3).toString('hex')}-${randomBytes(3).toString('hex')}`
}
