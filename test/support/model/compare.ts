import { sql } from 'drizzle-orm'
import { expect } from 'vitest'
import { evidence, type GenerationJson, happened, sha256, shown, type World } from '../world.ts'
import * as model from './model.ts'

/** What the door shows must be what the model says. Returns what only SQL knows. */
export async function compare(here: World, story: model.Story) {
  const generation = await shown(here, story.id)
  expect(seen(generation)).toEqual(expected(story))
  const [row] = await here.db.all<{ version: number }>(
    sql`select version from generations where id = ${story.id}`,
  )
  return row?.version ?? -1
}

const seen = ({
  id,
  status,
  failure,
  provider_id,
  archive_status,
  nsfw,
  images,
}: GenerationJson) => ({
  id,
  status,
  failure: failure?.code ?? null,
  provider_id,
  archive_status,
  verdict: { verdict: nsfw.verdict, disputed: nsfw.disputed },
  reports: nsfw.reports.length,
  images: images.map((one) => [one.source, one.position, one.status, one.suspect]),
})

const expected = (story: model.Story) => ({
  id: story.id,
  status: story.status,
  failure: story.failure,
  provider_id: story.providerId,
  archive_status: model.archiveStatus(story),
  verdict: model.verdict(story),
  reports: story.reports.length,
  images: story.pictures
    .toSorted((a, b) => a.source.localeCompare(b.source) || a.position - b.position)
    .map((one) => [
      one.source,
      one.position,
      one.state,
      one.isTruncated || (one.state === 'pending' && one.hasShortCopy) ? 'truncated' : null,
    ]),
})

/**
 * What a finished story left: callbacks, offers, events, objects, images at their door, and its
 * record.
 */
export async function compareHistory(here: World, story: model.Story) {
  const kept = await evidence(here, story.id)
  expect(kept.map(({ decision, count }) => ({ decision, count }))).toEqual(
    story.callbacks.map(({ decision, count }) => ({ decision, count })),
  )
  expect(kept.map(({ body }) => body !== null)).toEqual(kept.map((_, n) => n < 20))
  const offers = (await happened(here, story.id, 'offered')) as unknown as OfferedEvent[]
  const places = story.pictures.flatMap((one) =>
    one.places.map(({ url }) => ({
      source: one.source,
      position: one.position,
      url,
      contradicts: false,
    })),
  )
  const suspects = story.suspects
    .map(({ source, position, url }) => ({ source, position, url, contradicts: true }))
    .filter((one) => !places.some((place) => sameLink(place, one)))
  expect(offers.map(linkOf).toSorted()).toEqual(
    [...places, ...suspects]
      .map((one) => linkOf({ ...one, url: model.shownUrl(one.url) }))
      .toSorted(),
  )
  expect(await happened(here, story.id, 'submitted')).toHaveLength(story.departures)
  await compareImages(here, story)
  await compareRecord(here, story)
}

interface OfferedEvent {
  source: string
  position: number
  url: string
  contradicts: boolean
}

const linkOf = ({ source, position, url, contradicts }: OfferedEvent) =>
  `${source} ${position} ${url} ${contradicts ? 'contradicts' : ''}`
const sameLink = (a: OfferedEvent, b: OfferedEvent) =>
  a.source === b.source && a.position === b.position && a.url === b.url

async function compareImages(here: World, story: model.Story) {
  const events = (await happened(here, story.id, 'archived')) as unknown as OfferedEvent[]
  const copies = story.pictures.filter(({ state }) => state === 'archived')
  expect(events.map(({ source, position }) => `${source} ${position}`).toSorted()).toEqual(
    copies.map(({ source, position }) => `${source} ${position}`).toSorted(),
  )
  const { images } = await shown(here, story.id)
  for (const position of new Set(story.pictures.map((one) => one.position))) {
    const door = await here.call(`/v1/generations/${story.id}/images/${position}`)
    const there = images.filter((one) => one.position === position && one.status === 'archived')
    expect(door.status).toBe(there.length > 0 ? 200 : 410)
    if (there[0]) expect(sha256(new Uint8Array(await door.arrayBuffer()))).toBe(there[0].sha256)
  }
}

async function compareRecord(here: World, story: model.Story) {
  const day = new Date(story.requestedAt).toISOString().slice(0, 10).replaceAll('-', '/')
  const object = await here.deps.objects.get(`generations/${day}/${story.id}.json`)
  const record = JSON.parse(await new Response(object?.body ?? null).text()) as GenerationJson
  const generation = await shown(here, story.id)
  expect(seen(record)).toEqual(seen(generation))
}
