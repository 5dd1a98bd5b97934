import { randomInt, randomUUID } from 'node:crypto'
import { REMEMBERED, type Link, type Submission } from './journal.ts'
import type { Knobs } from './knobs.ts'
import type { InpaintRequest } from './request.ts'
import type { World } from './world.ts'

const EXTENSION = { png: 'png', jpeg: 'jpg', webp: 'webp' } as const

/** An accepted submission. What became of it so far is in `submission`. */
export interface Job {
  id: number
  request: InpaintRequest
  knobs: Knobs
  /** As asked, else random in 32 bits: half of them are above 2^31. */
  seed: number
  submission: Submission
}

/** Every job that is remembered, and where its links lead. */
export class Jobs {
  readonly #byId = new Map<number, Job>()
  readonly #byUrl = new Map<string, { job: Job; link: Link }>()
  #nextId: number
  #unfinished = 0

  constructor(now: number) {
    // Seconds since the epoch, so that a simulator that was restarted does not give the same ids again.
    this.#nextId = Math.floor(now / 1000)
  }

  get unfinished() {
    return this.#unfinished
  }

  /** The job of a provider id, as number or as text. */
  find(id: unknown) {
    return this.#byId.get(Number(id))
  }

  offered(url: string) {
    return this.#byUrl.get(url)
  }

  accept(world: World, submission: Submission, request: InpaintRequest, knobs: Knobs): Job {
    const job = { id: this.#nextId++, request, knobs, seed: request.seed ?? randomInt(2 ** 32), submission }
    submission.providerId = job.id
    submission.state = 'processing'
    if (knobs.result === 'images') submission.links = links(world, request.samples, knobs)
    this.#byId.set(job.id, job)
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
    this.#byId.delete(oldest.id)
    for (const link of oldest.submission.links) this.#byUrl.delete(link.url)
  }
}

function links(world: World, samples: number, knobs: Knobs): Link[] {
  const name = randomUUID()
  const path = (position: number) => `/generations/${position}-${name}.${EXTENSION[knobs.format]}`
  const on = (source: Link['source'], origin: string) =>
    Array.from({ length: samples }, (_, position) => ({ source, position, url: origin + path(position), gets: [] }))
  const mirrored = knobs.proxies !== 'none' && knobs.proxies !== 'identical'
  return [...on('output', world.origins.output), ...(mirrored ? on('proxy', world.origins.proxy) : [])]
}
