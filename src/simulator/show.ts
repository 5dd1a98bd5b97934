import { firstHalf } from './answer.ts'
import type { Gallery } from './gallery.ts'
import type { Offer } from './jobs.ts'
import type { Knobs } from './knobs.ts'
import { isSigned } from './signing.ts'
import type { World } from './world.ts'

/** What a GET of a link shows. */
export interface Shown {
  code: 200 | 403 | 404
  type: string
  body: string | Uint8Array<ArrayBuffer>
}

export const NOT_FOUND = page(404, 'Not Found')
const FORBIDDEN = page(403, 'Forbidden')
const NOT_READY = page(200, 'Your picture will be here soon')

/** What the link of an offer shows now; `url` has the query that it was asked with. */
export async function show(world: World, gallery: Gallery, offer: Offer, url: URL): Promise<Shown> {
  const { unready } = offer.job.knobs
  if (offer.job.submission.endedAt === null) return NOT_FOUND
  if (isDead(world, offer, url)) return FORBIDDEN
  if (isReady(world, offer)) return picture(gallery, offer)
  if (unready === 'half') return half(await picture(gallery, offer))
  return { '404': NOT_FOUND, '403': FORBIDDEN, page: NOT_READY }[unready]
}

function isDead(world: World, { job }: Offer, url: URL) {
  const { signed, lifetime } = job.knobs
  return signed === 'no' ? isOver(world, job, lifetime) : !isSigned(url, world.now())
}

function isReady(world: World, { job, link }: Offer) {
  const { outputs, proxies, late } = job.knobs
  const fate = link.source === 'output' ? outputs : proxies
  return fate === 'late' ? isOver(world, job, late) : fate !== 'dead'
}

/** Whether so many seconds have passed since the end of the job. */
function isOver(world: World, { submission }: Offer['job'], seconds: number) {
  return submission.endedAt !== null && world.now() >= submission.endedAt + seconds * 1000
}

async function picture(gallery: Gallery, { job, link }: Offer): Promise<Shown> {
  const { content_type, format, encoding } = job.knobs
  const bytes = await gallery.picture(job, link.picture)
  const type = content_type === 'text' || encoding !== 'bytes' ? 'text/plain' : `image/${format}`
  return { code: 200, type, body: encoded(bytes, job.knobs) }
}

function encoded(bytes: Uint8Array<ArrayBuffer>, { encoding, format }: Knobs) {
  if (encoding === 'bytes') return bytes
  const text = Buffer.from(bytes).toString('base64')
  return encoding === 'data' ? `data:image/${format};base64,${text}` : text
}

function half(shown: Shown): Shown {
  const { body } = shown
  return {
    ...shown,
    body: typeof body === 'string' ? firstHalf(body) : body.subarray(0, body.length / 2),
  }
}

function page(code: Shown['code'], title: string): Shown {
  return {
    code,
    type: 'text/html; charset=UTF-8',
    body: `<html><title>${title}</title><h1>${title}</h1></html>`,
  }
}
