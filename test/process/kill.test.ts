import { randomUUID } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import { it } from './bench.ts'
import { inpaint, post, type Shown, shown, timeline, untilShown } from './client.ts'
import { type Program, until } from './program.ts'
import { type Script, sha256, type StandIn, usual } from './stand-in.ts'

const GENERATIONS = 60
const CLIENTS = 6
const KILLS = 8
/** Which moments are met depends on the machine all the same. */
const SEED = Number(process.env['KILL_SEED'] ?? 1)

it('loses nothing that it answered, and submits nothing twice, however often it is killed under load', async ({
  bench,
}) => {
  const dice = diceOf(SEED)
  const provider = await bench.standIn(anyStory(dice))
  const here = await bench.home(provider.settings())
  let program = await bench.start(here.settings)
  const load = startLoad(program)

  for (let kills = 0; kills < KILLS; kills++) {
    await load.moreAnswered(dice() * 2 * (GENERATIONS / KILLS))
    await delay(dice() * 50)
    await program.kill()
    program = await bench.start(here.settings)
  }
  await load.moreAnswered(GENERATIONS - load.answered.length)
  await load.end()

  expectNoneTwice(provider.submissions.map(({ trackId }) => trackId))
  expectNoneTwice(provider.submissions.map(({ body }) => body['prompt']))
  for (const id of load.answered) await expectKept(program, provider, id)
  await expectCallbacksKept(program, provider)
  for (const { trackId } of provider.submissions) await expectArchivedOnce(program, provider, trackId)
  expect(await objectsIn(here.objects)).toEqual(expectedObjects(provider))
}, 60_000)

/** Clients that keep their own list of what was answered 202, and repeat, under the same key, what was not. */
function startLoad(program: Program) {
  const answered: string[] = []
  let ending = false
  const client = async () => {
    while (!ending) {
      const id = await submittedForSure(program, randomUUID())
      answered.push(id)
      await delay(20)
    }
  }
  const clients = Promise.all(Array.from({ length: CLIENTS }, client))
  return {
    answered,
    moreAnswered: (count: number) => {
      const enough = answered.length + count
      return until(() => answered.length >= enough, 20_000)
    },
    end: async () => {
      ending = true
      await clients
    },
  }
}

async function submittedForSure(program: Program, key: string): Promise<string> {
  const response = await post(program, inpaint({ prompt: key, samples: 2 }), { 'idempotency-key': key }).catch(
    () => null,
  )
  if (response?.status === 202) {
    const body = (await response.json().catch(() => null)) as Shown | null
    if (body) return body.id
  }
  await delay(50)
  return submittedForSure(program, key)
}

/** Every misbehaviour after which a result can still be had. */
function anyStory(dice: () => number): Script {
  const stories: Script[] = [
    usual,
    async (job, answer, provider) => {
      await provider.finish(job)
      answer.json(provider.processing(job))
    },
    async (job, answer, provider) => {
      answer.cut()
      await provider.finish(job)
    },
    async (job, answer, provider) => {
      answer.json(provider.success(job))
      await Promise.all([provider.finish(job), provider.finish(job)])
    },
    async (job, answer, provider) => {
      for (const path of job.paths) provider.late.set(provider.origin(0) + path, 2)
      answer.json(provider.processing(job))
      job.fetched = provider.success(job)
      await delay(1500)
      await provider.finish(job)
    },
  ]
  return async (job, answer, provider) => {
    const story = stories[Math.floor(dice() * stories.length)] ?? usual
    await delay(dice() * 100)
    await story(job, answer, provider)
  }
}

/** A request that was cut off before the provider heard of it is never sent again, and says so. */
async function expectKept(program: Program, provider: StandIn, id: string) {
  const { status } = await shown(program, id)
  if (!provider.submissions.some(({ trackId }) => trackId === id)) expect(status).toBe('unconfirmed')
}

async function expectArchivedOnce(program: Program, provider: StandIn, id: string) {
  const job = provider.submissions.find(({ trackId }) => trackId === id)
  const allArchived = ({ images }: Shown) => images.length === 4 && images.every(({ status }) => status === 'archived')
  const { images } = await untilShown(program, id, allArchived)
  for (const { position, sha256: kept } of images) expect(kept).toBe(sha256(job?.pictures[position] ?? ''))
  const archived = await timeline(program, id, 'archived')
  expectNoneTwice(archived.map(({ detail }) => `${String(detail['source'])} ${String(detail['position'])}`))
}

async function expectCallbacksKept(program: Program, { deliveries }: StandIn) {
  const answered = deliveries.filter(({ status }) => status === 200)
  for (const { trackId, sha256: body } of answered) {
    const kept = (await timeline(program, trackId, 'callback')).find(({ detail }) => detail['body_sha256'] === body)
    const times = answered.filter((one) => one.trackId === trackId && one.sha256 === body).length
    expect(kept?.detail['count']).toBeGreaterThanOrEqual(times)
  }
}

function expectNoneTwice(list: unknown[]) {
  expect(list.filter((one, n) => list.indexOf(one) !== n)).toEqual([])
}

async function objectsIn(folder: string) {
  const entries = await readdir(join(folder, 'sha256'), { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map(({ name }) => name)
    .toSorted()
}

const expectedObjects = ({ submissions }: StandIn) =>
  submissions.flatMap(({ pictures }) => pictures.map((bytes) => `${sha256(bytes)}.png`)).toSorted()

/** Mulberry32: from 0 (inclusive) to 1. */
function diceOf(seed: number) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
