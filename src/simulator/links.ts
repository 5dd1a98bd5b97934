import { Hono } from 'hono'
import type { Gallery } from './pictures/gallery.ts'
import type { Link } from './jobs/journal.ts'
import { NOT_FOUND, show } from './show.ts'
import type { World } from './jobs/world.ts'

const PIECES = 20

/** The host of one kind of links: what each shows, at the pace that was asked for. */
export function links(world: World, gallery: Gallery, source: Link['source']) {
  return new Hono().get('*', async (c) => {
    const offer = world.jobs.offered(world.origins[source] + c.req.path)
    const shown = offer ? await show(world, gallery, offer, new URL(c.req.url)) : NOT_FOUND
    if (offer && c.req.method === 'GET') {
      offer.link.gets.push(shown.code)
      world.journal.changed()
    }
    world.log(`${c.req.method} ${source} ${c.req.path}: ${shown.code}`)
    const seconds = offer && shown.code === 200 ? offer.job.knobs.slow : 0
    const bytes = Buffer.from(shown.body)
    const headers = { 'content-type': shown.type, 'content-length': String(bytes.length) }
    return c.body(paced(world, bytes, seconds), shown.code, headers)
  })
}

function paced(world: World, bytes: Buffer<ArrayBuffer>, seconds: number) {
  return seconds === 0 ? bytes : ReadableStream.from(pieces(world, bytes, seconds))
}

async function* pieces(world: World, bytes: Buffer<ArrayBuffer>, seconds: number) {
  const size = Math.ceil(bytes.length / PIECES)
  for (let from = 0; from < bytes.length; from += size) {
    await world.background.sleep(seconds / PIECES).catch(() => {})
    // A body that throws would be printed by @hono/node-server; the connection is closed as well.
    if (world.background.over) return
    yield bytes.subarray(from, from + size)
  }
}
