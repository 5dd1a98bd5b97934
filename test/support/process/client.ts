import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Home, TOKEN } from './bench.ts'
import { type Program, until } from './program.ts'

export interface Shown {
  id: string
  status: string
  archive_status: string
  failure: { code: string } | null
  nsfw: { verdict: string }
  images: {
    source: string
    position: number
    status: string
    sha256: string | null
    object_key: string | null
    suspect: string | null
    failure: { code: string } | null
  }[]
}

export interface TimelineEntry {
  at: string
  event: string
  detail: Record<string, unknown>
}

/** A request of our own client, with its token. */
export const ask = (
  program: Pick<Program, 'url'>,
  path: string,
  init: Omit<RequestInit, 'headers'> & { headers?: Record<string, string> } = {},
) =>
  fetch(program.url + path, {
    ...init,
    headers: { authorization: `Bearer ${TOKEN}`, ...init.headers },
  })

export const inpaint = (more: Record<string, unknown> = {}) => ({
  model_id: 'pony_realism',
  prompt: 'a lighthouse',
  init_image: 'https://images.example.com/init.png',
  mask_image: 'https://images.example.com/mask.png',
  ...more,
})

export const post = (
  program: Pick<Program, 'url'>,
  body: unknown,
  headers: Record<string, string> = {},
) =>
  ask(program, '/v1/generations', {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json', ...headers },
  })

/** Submits, and returns what the 202 says. */
export async function submitted(
  program: Pick<Program, 'url'>,
  more: Record<string, unknown> = {},
): Promise<Shown> {
  const response = await post(program, inpaint(more))
  if (response.status !== 202) throw new Error(`${response.status}: ${await response.text()}`)
  return (await response.json()) as Shown
}

export async function shown(program: Pick<Program, 'url'>, id: string): Promise<Shown> {
  const response = await ask(program, `/v1/generations/${id}`)
  if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`)
  return (await response.json()) as Shown
}

export async function timeline(
  program: Pick<Program, 'url'>,
  id: string,
  event?: string,
): Promise<TimelineEntry[]> {
  const response = await ask(program, `/v1/generations/${id}/timeline`)
  const { data } = (await response.json()) as { data: TimelineEntry[] }
  return event === undefined ? data : data.filter((entry) => entry.event === event)
}

/** Resolves with the generation once `condition` holds. */
export const untilShown = (
  program: Pick<Program, 'url'>,
  id: string,
  condition: (generation: Shown) => boolean,
) =>
  until(async () => {
    const generation = await shown(program, id)
    return condition(generation) && generation
  })

export const isArchived = ({ archive_status }: Shown) => archive_status === 'archived'
/** Output and mirrors: nothing is left to do. */
export const isSettled = ({ images }: Shown) =>
  images.length > 0 && images.every(({ status }) => status !== 'pending')

/** The bytes of an image by both ways to them: the image door, and the file of its object. */
export async function bothCopies(
  program: Pick<Program, 'url'>,
  { objects }: Home,
  generation: Shown,
  n = 0,
) {
  const image = generation.images[n]
  if (!image?.object_key) throw new Error(`image ${n} has no object`)
  const door = await ask(
    program,
    `/v1/generations/${generation.id}/images/${image.position}?source=${image.source}`,
  )
  return {
    door: Buffer.from(await door.arrayBuffer()),
    file: await readFile(join(objects, image.object_key)),
  }
}
