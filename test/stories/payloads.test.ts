import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { reconcileDue } from '../../src/work/reconcile.ts'
import {
  type GenerationJson,
  png,
  sampleBody,
  sha256,
  shown,
  type World,
  world,
} from '../support/world.ts'

/**
 * What the provider said in one case, message by message, and how the generation must end. `{{id}}`
 * is its id.
 */
interface Payload {
  title: string
  reply: { http?: number; body: unknown }
  callbacks: unknown[]
  fetches?: unknown[]
  /** What each link shows; of a list one after the other. */
  links: Record<string, string | string[]>
  before_callbacks?: object
  ends: object
  fetched?: number
  downloads?: number
  rounds?: number
}

const FOLDER = join(import.meta.dirname, '../payloads')
const payloads = readdirSync(FOLDER).map((file) => ({
  file,
  ...(JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as Payload),
}))
const COLOURS = { red: await png('red'), blue: await png('blue') }

it.each(payloads)('$title ($file)', async (payload) => {
  const here = world({ RETRY_BASE_SECONDS: '1' })
  const say = (text: unknown, id: string) =>
    (typeof text === 'string' ? text : JSON.stringify(text))
      .replaceAll('{{id}}', id)
      .replaceAll('{{webhook}}', here.deps.callbackUrl(id))
  here.provider.replies.push(() => reply(here, payload, say))
  for (const body of payload.fetches ?? []) here.provider.knows(body)

  const { id } = (await (
    await here.call('/v1/generations', { method: 'POST', body: JSON.stringify(sampleBody) })
  ).json()) as GenerationJson
  if (payload.before_callbacks)
    expect(await shown(here, id)).toMatchObject(payload.before_callbacks)
  for (const body of payload.callbacks)
    expect((await here.callback(id, say(body, id))).status).toBe(200)
  await play(here, payload)

  const ended = await shown(here, id)
  expect(withColours(ended)).toMatchObject(JSON.parse(say(payload.ends, id)) as object)
  expect(JSON.stringify(ended)).not.toContain(here.deps.callbackUrl(id))
  if (payload.fetched !== undefined) expect(here.provider.fetches).toHaveLength(payload.fetched)
  if (payload.downloads !== undefined) expect(here.cdn.gets).toHaveLength(payload.downloads)
})

function reply(
  here: World,
  { reply: { http = 200, body } }: Payload,
  say: (text: unknown, id: string) => string,
) {
  const id = here.provider.submissions.at(-1)?.trackId ?? ''
  here.provider.answers(say(body, id), http)
  return here.provider.replies.pop()?.() ?? Promise.reject(new Error('no reply'))
}

/** Lets time pass, and does what is due, until everything has had its chance. */
async function play(here: World, { links, rounds = 10 }: Payload) {
  for (let round = 0; round < rounds; round++) {
    for (const [url, pages] of Object.entries(links)) show(here, url, [pages].flat())
    await archiveDue(here.deps, 10)
    here.clock.advance(round + 5)
    await reconcileDue(here.deps, 10)
  }
}

/** The page that a link shows at its next GET: the last one for ever. */
function show({ cdn }: World, url: string, pages: string[]) {
  const seen = cdn.gets.filter((one) => one === url).length
  cdn.pages.set(url, pageOf(pages[Math.min(seen, pages.length - 1)] ?? ''))
}

function pageOf(words: string) {
  const red = COLOURS.red
  switch (words) {
    case 'red':
    case 'blue':
      return COLOURS[words]
    case '404':
    case '403':
      return { status: Number(words) }
    case 'html':
      return { status: 200, bytes: new TextEncoder().encode('<!doctype html><title>wait</title>') }
    case 'text/plain red':
      return { status: 200, bytes: red, headers: { 'content-type': 'text/plain' } }
    case 'base64 red':
      return { status: 200, bytes: new TextEncoder().encode(Buffer.from(red).toString('base64')) }
    case 'data red':
      return {
        status: 200,
        bytes: new TextEncoder().encode(
          `data:image/png;base64,${Buffer.from(red).toString('base64')}`,
        ),
      }
    default:
      throw new Error(`no page ${words}`)
  }
}

/** Payloads tell images by colour; a Generation tells them by hash. */
function withColours(generation: GenerationJson) {
  const colourOf = (hash: string | null) =>
    Object.entries(COLOURS).find(([, bytes]) => sha256(bytes) === hash)?.[0]
  return {
    ...generation,
    images: generation.images.map((image) => ({ ...image, color: colourOf(image.sha256) })),
  }
}
