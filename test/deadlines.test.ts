import { expect, it } from 'vitest'
import { archiveDue } from '../src/archive.ts'
import { absent, offered } from './archiving.ts'
import { LINK, png, type World, world } from './world.ts'

const GENERATIONS = 20
/** As many as one message may name. */
const IMAGES = 50
const HOSTS = 6
const SLOTS = 16
const DEAD = 'dead.example.net'

/** A thousand links, all due, of which each dies at a time of its own; those of one host show nothing. */
async function backlog(here: World) {
  const start = here.clock.now
  const links: string[] = []
  for (let n = 0; n < GENERATIONS; n++) {
    const output = Array.from({ length: IMAGES }, (_, position) => {
      const nth = ((n * IMAGES + position) * 7919) % (GENERATIONS * IMAGES)
      const host = nth % HOSTS === 0 ? DEAD : `host-${nth % HOSTS}.example.net`
      return `https://${host}/${nth}.png?Expires=${start / 1000 + 3600 + nth}`
    })
    links.push(...output)
    await offered(here, { output })
  }
  return links
}

const diesAt = (link: string) => Number(new URL(link).searchParams.get('Expires'))
const isDead = (link: string) => new URL(link).host === DEAD

it('copies first what dies first of a thousand that are due, though one host is dead, and names what it could not save', async () => {
  const here = world({ ARCHIVE_CONCURRENCY: String(SLOTS) })
  const picture = await png('red')
  const links = await backlog(here)
  for (const link of links) if (!isDead(link)) here.cdn.pages.set(link, picture)

  while (here.cdn.gets.length < links.length) await archiveDue(here.deps, SLOTS)

  const first = here.cdn.gets.slice(0, links.length)
  expect(new Set(first).size).toBe(links.length)
  // What a claim takes is tried at once, and no host has more than half of it.
  const living = first.filter((link) => !isDead(link)).map(diesAt)
  expect(outOfOrder(living)).toBeLessThanOrEqual(SLOTS)
  expect(outOfOrder(first.map(diesAt))).toBeLessThanOrEqual(SLOTS * HOSTS)

  here.clock.advance(3600 + links.length)
  while ((await archiveDue(here.deps, SLOTS)) > 0);
  const counts = here.sqlite.db.$client
    .prepare('select status, failure_code, host, count(*) as images from images group by 1, 2, 3 order by host, status')
    .all() as { status: string; failure_code: string | null; host: string; images: number }[]
  const dead = links.filter(isDead).length
  expect(counts.filter(({ host }) => host === DEAD)).toMatchObject([
    { status: 'lost', failure_code: 'not_found', images: dead },
  ])
  expect(counts.filter(({ status }) => status === 'archived').reduce((sum, { images }) => sum + images, 0)).toBe(
    links.length - dead,
  )
}, 120_000)

it('lets an image that only waits for the download of another wait with it', async () => {
  const here = world()
  here.cdn.pages.set(LINK, absent)
  await offered(here, { output: [LINK], proxy_links: [LINK] })

  await archiveDue(here.deps, SLOTS)

  const ready = "select source from images where status = 'pending' and waiting = 0"
  expect(here.sqlite.db.$client.prepare(ready).all()).toEqual([])
  here.clock.advance(2)
  here.cdn.pages.set(LINK, await png('red'))
  await archiveDue(here.deps, SLOTS)
  expect(here.sqlite.db.$client.prepare("select count(*) from images where status = 'archived'").pluck().get()).toBe(2)
})

/** How far the place of any is from where it belongs. */
function outOfOrder(times: number[]) {
  const place = new Map(times.toSorted((a, b) => a - b).map((time, n) => [time, n]))
  return Math.max(...times.map((time, n) => Math.abs((place.get(time) ?? 0) - n)))
}
