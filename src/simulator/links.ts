import { Hono } from 'hono'
import type { Gallery } from './gallery.ts'
import type { Job } from './jobs.ts'
import type { Link } from './journal.ts'
import type { World } from './world.ts'

const NOT_FOUND = '<html><title>404 Not Found</title><h1>Not Found</h1></html>'

/** The host of one kind of links: pictures where a link is alive, a page with 404 where it is not, or not yet. */
export function links(world: World, gallery: Gallery, source: Link['source']) {
  return new Hono().get('*', async (c) => {
    const offered = world.jobs.offered(world.origins[source] + c.req.path)
    const picture =
      offered && isAlive(world, offered.job, source) ? await gallery.picture(offered.job, offered.link.position) : null
    if (offered && c.req.method === 'GET') {
      offered.link.gets.push(picture ? 200 : 404)
      world.journal.changed()
    }
    world.log(`${c.req.method} ${source} ${c.req.path}: ${picture ? 200 : 404}`)
    return offered && picture
      ? c.body(picture, 200, { 'content-type': `image/${offered.job.knobs.format}` })
      : c.html(NOT_FOUND, 404)
  })
}

function isAlive(world: World, { knobs, submission }: Job, source: Link['source']) {
  if (submission.endedAt === null) return false
  const fate = source === 'output' ? knobs.outputs : knobs.proxies
  return fate === 'ok' || (fate === 'late' && world.now() >= submission.endedAt + knobs.late * 1000)
}
