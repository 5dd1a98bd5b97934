import { expect, it } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { complete } from '../../src/audit/completeness.ts'
import { duration } from '../../src/audit/duration.ts'
import type { Hole } from '../../src/audit/holes.ts'
import { expireOverdue } from '../../src/work/expire.ts'
import { reconcileDue } from '../../src/work/reconcile.ts'
import { firstIdAt } from '../../src/model/uuid.ts'
import { audited } from '../support/auditing.ts'
import {
  failure,
  LINK,
  MIRROR,
  png,
  submitted,
  success,
  type World,
  world,
} from '../support/world.ts'

const EVERYTHING = { fromId: firstIdAt(0), beforeId: firstIdAt(Number.MAX_SAFE_INTEGER) }

async function run(here: World, range = EVERYTHING) {
  const found: Hole[] = []
  const report = await complete(
    {
      audit: audited(here).audit,
      config: here.config,
      now: () => here.clock.now,
      found: (hole) => found.push(hole),
      progress: () => undefined,
      signal: new AbortController().signal,
    },
    range,
  )
  return {
    ...report,
    found: found.map(({ hole, generationId, detail }) => ({ hole, generationId, detail })),
  }
}

/** Changes the ledger behind our back. */
const tamper = (here: World, sql: string) => here.sqlite.db.$client.exec(sql)

async function endedByCallback(here: World) {
  const { id } = await submitted(here)
  here.clock.advance(1)
  await here.callback(id, success(id, { output: [LINK] }))
  return id
}

async function endedByFetch(here: World) {
  const { id } = await submitted(here)
  here.provider.knows(success(id, { output: [LINK] }))
  here.clock.advance(3600)
  await reconcileDue(here.deps, 10)
  return id
}

async function archived(here = world()) {
  here.cdn.pages.set(LINK, await png('red'))
  const id = await endedByCallback(here)
  await archiveDue(here.deps, 10)
  return { here, id }
}

it('tells by which road each generation ended', async () => {
  const here = world()
  here.provider.answers(success('', { output: [LINK] }))
  await submitted(here)
  await endedByCallback(here)
  await endedByFetch(here)
  await submitted(here)
  here.clock.advance(25 * 3600)
  await expireOverdue(here.deps)
  await submitted(here)

  expect(await run(here)).toMatchObject({
    generations: 5,
    endedBy: { reply: 1, callback: 1, fetch: 1, deadline: 1, unknown: 0 },
    byStatus: { succeeded: 3, failed: 1, processing: 1 },
    inTime: 1,
    found: [],
  })
})

it('counts a callback as missed where one was due and none came, however late', async () => {
  const here = world()
  here.provider.answers(success('', { output: [LINK] }))
  await submitted(here)
  await endedByCallback(here)
  await endedByFetch(here)
  const late = await endedByFetch(here)
  here.clock.advance(1)
  await here.callback(late, success(late, { output: [LINK], proxy_links: [MIRROR] }))

  const { callbacks, endedBy } = await run(here)
  expect(callbacks).toEqual({ due: 3, missed: 1 })
  expect(endedBy).toMatchObject({ reply: 1, callback: 1, fetch: 2 })
})

it('tells how long links had still to live when their images were archived', async () => {
  const here = world()
  here.cdn.pages.set(LINK, await png('red')).set(MIRROR, await png('blue'))
  const id = await endedByCallback(here)
  here.clock.advance(2 * 3600)
  await archiveDue(here.deps, 10)
  const dead = `${MIRROR}?Expires=${here.clock.now / 1000 - 60}`
  here.cdn.pages.set(dead, await png('green'))
  const { id: other } = await submitted(here)
  await here.callback(other, success(other, { output: [dead] }))
  await archiveDue(here.deps, 10)

  const hour = 3600_000
  expect(id).not.toBe(other)
  expect(await run(here)).toMatchObject({
    images: { archived: 2 },
    marginMs: { min: -60_000, p1: -60_000, p50: -60_000, p99: 22 * hour, late: 1 },
  })
})

it('looks at nothing outside of the range', async () => {
  const here = world()
  await endedByCallback(here)
  here.clock.advance(3600)
  const from = here.clock.now
  await endedByCallback(here)
  here.clock.advance(3600)
  const until = here.clock.now
  await endedByCallback(here)

  expect(await run(here, { fromId: firstIdAt(from), beforeId: firstIdAt(until) })).toMatchObject({
    generations: 1,
  })
})

it('has no hole after everything that can happen by itself', async () => {
  const { here, id } = await archived()
  await here.callback(id, failure(id))
  const failed = await submitted(here)
  await here.callback(failed.id, failure(failed.id))
  const late = await submitted(here)
  here.clock.advance(25 * 3600)
  await expireOverdue(here.deps)
  await here.callback(late.id, success(late.id, { output: [LINK] }))
  here.provider.answers({ status: 'error', message: 'Invalid API key' })
  await submitted(here)
  const flagged = await submitted(here)
  await here.callback(flagged.id, success(flagged.id, { output: [], nsfw_content_detected: true }))

  expect(await run(here)).toMatchObject({ generations: 5, found: [] })
})

it('names a generation that is open past its deadline, and by how much', async () => {
  const here = world()
  const { id } = await submitted(here)
  here.clock.advance(26 * 3600)

  const { found, inTime } = await run(here)

  expect([found, inTime]).toEqual([
    [{ hole: 'overdue', generationId: id, detail: 'processing for 2 h past its deadline' }],
    0,
  ])
})

it('names an image that is pending although every link is long dead', async () => {
  const here = world()
  const id = await endedByCallback(here)
  here.clock.advance(50 * 3600)

  expect((await run(here)).found).toEqual([
    { hole: 'stuck', generationId: id, detail: 'pending for 1 d 2 h after its last link died' },
  ])
})

it('calls no image stuck that a retry has just made due', async () => {
  const here = world()
  await endedByCallback(here)
  here.clock.advance(50 * 3600)
  tamper(here, `update images set due_at = ${here.clock.now}`)

  expect((await run(here)).found).toEqual([])
})

it.each([
  ['has no end', 'update generations set finished_at = null', 'unexplained'],
  ['no message ended', "update callbacks set decision = 'duplicate'", 'unexplained'],
  ['was offered nothing', 'delete from offers; delete from images', 'unexplained'],
  [
    'has a failure beside its success',
    "update generations set failure_code = 'no_result'",
    'contradictory',
  ],
  [
    'failed after it succeeded',
    "insert into events (generation_id, at, event, detail) select id, finished_at + 1, 'failed', '{}' from generations",
    'contradictory',
  ],
  ['failed once and for nothing', "update generations set status = 'failed'", 'contradictory'],
  ['is open although it ended', "update generations set status = 'processing'", 'contradictory'],
  [
    'has an archive of nothing',
    "update generations set archive_status = 'pending'",
    'contradictory',
  ],
  ['shows an object that is not named', 'update images set object_key = null', 'no_object'],
])('names a generation that %s', async (_how, sql, hole) => {
  const { here, id } = await archived()
  tamper(here, sql)

  const { found } = await run(here)

  expect(found).toContainEqual(expect.objectContaining({ hole, generationId: id }))
})

it.each([
  [400, '0 s'],
  [61_000, '1 min 1 s'],
  [3600_000, '1 h'],
  [26 * 3600_000 + 59_000, '1 d 2 h'],
  [-90_000, '-1 min 30 s'],
])('says %i ms as %s', (ms, words) => {
  expect(duration(ms)).toBe(words)
})
