import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import type { ClaimedImage } from '../../src/model/attempt.ts'
import { sharesOfAll } from '../../src/model/fairness.ts'
import type { Decision } from '../../src/model/known.ts'
import { bind, number, sql, statement } from '../../src/ledger/statement.ts'
import { newId } from '../../src/model/uuid.ts'
import { onD1 } from '../support/driver.ts'
import {
  decisions,
  evidence,
  happened,
  png,
  shown,
  submitted,
  success,
  type World,
  world,
} from '../support/world.ts'

/**
 * What every driver of the ledger keeps. The stories of the verbs run over each driver beside it.
 */

const beat = statement(
  sql`insert into heartbeat (id, at) values (${number('id')}, ${number('at')}) returning id`,
).yields<{ id: number }>()
const all = statement(sql`select id, at from heartbeat order by id`).yields<{
  id: number
  at: number
}>()
const raise = statement(sql`update heartbeat set at = at + 1 where id = ${number('id')}`)
const unset = statement(sql`update heartbeat set at = null where id = ${number('id')}`)
const raiseAgain = statement(
  sql`update heartbeat set at = at + 10 where id = ${number('id')} and changes() > 0`,
)

const LEASE_MS = 120_000

let here: World
beforeEach(() => void (here = world()))

describe('a list of statements', () => {
  const rows = async () => (await here.driver.atomically([bind(all, {})]))[0]

  it('gives the rows of each, named as in SQL, and none where nothing is returned', async () => {
    const list = [bind(beat, { id: 1, at: 5 }), bind(raise, { id: 1 }), bind(all, {})] as const
    expect(await here.driver.atomically(list)).toEqual([[{ id: 1 }], [], [{ id: 1, at: 6 }]])
  })

  it.each([
    ['first', [bind(beat, { id: 1, at: 9 }), bind(beat, { id: 2, at: 0 }), bind(raise, { id: 1 })]],
    [
      'in the middle',
      [bind(raise, { id: 1 }), bind(unset, { id: 1 }), bind(beat, { id: 2, at: 0 })],
    ],
    ['last', [bind(beat, { id: 2, at: 0 }), bind(raise, { id: 1 }), bind(beat, { id: 1, at: 9 })]],
  ])('leaves nothing where the one that fails is %s', async (_where, list) => {
    await here.driver.atomically([bind(beat, { id: 1, at: 5 })])
    await expect(here.driver.atomically(list)).rejects.toThrow(/constraint/u)
    expect(await rows()).toEqual([{ id: 1, at: 5 }])
  })

  it('lets each see whether the one before it wrote anything', async () => {
    await here.driver.atomically([bind(beat, { id: 1, at: 0 })])
    await here.driver.atomically([
      bind(raise, { id: 1 }),
      bind(raiseAgain, { id: 1 }),
      bind(raiseAgain, { id: 1 }),
    ])
    await here.driver.atomically([bind(raise, { id: 2 }), bind(raiseAgain, { id: 1 })])
    expect(await rows()).toEqual([{ id: 1, at: 21 }])
  })

  it('is refused alone where others come with it, and lets nobody in between', async () => {
    await here.driver.atomically([bind(beat, { id: 1, at: 0 })])
    const lists = Array.from({ length: 20 }, (_, n) =>
      here.driver.atomically([
        bind(raise, { id: 1 }),
        bind(n % 4 === 0 ? unset : raise, { id: 1 }),
        bind(all, {}),
      ]),
    )
    const results = await Promise.allSettled(lists)
    expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(5)
    const seen = results.flatMap((one) =>
      (one.status === 'fulfilled' ? one.value[2] : []).map(({ at }) => at),
    )
    expect(seen.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 15 }, (_, n) => 2 * n + 2))
  })
})

describe('claims that are made at once', () => {
  const CLAIMERS = 12
  const claimImages = (now: number, limit: number, perHost: number) =>
    here.deps.ledger.archive.claim({
      now,
      leasedUntil: now + LEASE_MS,
      latestDue: now,
      shares: sharesOfAll(2 * perHost, limit, new Map()),
    })

  it('never hand out an image twice, and leave none', async () => {
    const output = Array.from(
      { length: 30 },
      (_, n) => `https://host-${n % 10}.example.net/${n}.png`,
    )
    const { id } = await submitted(here)
    await here.callback(id, success(id, { output }))
    const now = here.clock.now

    const claim = () => claimImages(now, 4, 16)
    const taken = (await Promise.all(Array.from({ length: CLAIMERS }, claim))).flat()

    expect(positions(taken)).toEqual(Array.from({ length: 30 }, (_, n) => n))
    expect(
      taken.every(({ attempts, leasedUntil }) => attempts === 1 && leasedUntil === now + LEASE_MS),
    ).toBe(true)
    expect(await claim()).toEqual([])
  })

  it('share again what the leases of the dead held', async () => {
    const { id } = await submitted(here)
    await here.callback(
      id,
      success(id, { output: ['https://a.example.net/a.png', 'https://b.example.net/b.png'] }),
    )
    const claimAt = (at: number) => claimImages(at, 1, 4)
    const now = here.clock.now

    const first = await Promise.all([claimAt(now), claimAt(now), claimAt(now)])
    const early = await claimAt(now + LEASE_MS - 1)
    const again = await Promise.all([
      claimAt(now + LEASE_MS),
      claimAt(now + LEASE_MS),
      claimAt(now + LEASE_MS),
    ])

    expect(positions(first.flat())).toEqual([0, 1])
    expect(early).toEqual([])
    expect(positions(again.flat())).toEqual([0, 1])
    expect(again.flat().map(({ attempts }) => attempts)).toEqual([2, 2])
  })

  it('send no held request twice, and no more than the gate lets through', async () => {
    here.provider.isFull(30)
    const held = [await submitted(here), await submitted(here), await submitted(here)].map(
      ({ id }) => id,
    )
    here.clock.advance(31)
    const rule = { now: here.clock.now, maxInFlight: null }

    const claimed = await Promise.all(
      Array.from({ length: CLAIMERS }, () => here.deps.ledger.held.claim(rule)),
    )

    expect(claimed.filter((id) => id !== null)).toEqual([held[0]])
  })

  it('ask the provider once for each result that is due', async () => {
    const ids = await Promise.all(Array.from({ length: 6 }, async () => (await submitted(here)).id))
    here.clock.advance(600)
    const now = here.clock.now

    const claim = () =>
      here.deps.ledger.reconcile.claim({
        now,
        leasedUntil: now + 60_000,
        latestDue: now + 3_600_000,
        limit: 2,
      })
    const claimed = (await Promise.all(Array.from({ length: CLAIMERS }, claim))).flat()

    expect(claimed.map(({ id }) => id).toSorted()).toEqual(ids.toSorted())
  })
})

describe('messages that arrive at once', () => {
  it('are one callback where their bodies are equal, counted each', async () => {
    const { id } = await submitted(here)

    const answers = await Promise.all(
      Array.from({ length: 10 }, () => here.callback(id, success(id))),
    )

    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 200))
    expect((await evidence(here, id)).map(({ decision, count }) => [decision, count])).toEqual([
      ['accepted', 10],
    ])
    expect((await shown(here, id)).nsfw.reports).toHaveLength(1)
  })

  it('are all kept where they differ, and one of them decides', async () => {
    const { id } = await submitted(here)
    const bodies = Array.from({ length: 8 }, (_, n) => success(id, { generationTime: n }))

    await Promise.all(bodies.map((body) => here.callback(id, body)))

    expect((await decisions(here, id)).toSorted()).toEqual([
      'accepted',
      ...Array.from({ length: 7 }, () => 'duplicate'),
    ])
    expect((await shown(here, id)).images).toHaveLength(1)
  })

  it('write over no decision that was made meanwhile', async () => {
    const { id } = await submitted(here)
    const known = await here.deps.ledger.settle.readKnown(id)
    if (!known) throw new Error('the generation is not there')
    const { generation } = known
    const decision = (tip: string): Decision => ({
      road: 'fetch',
      at: here.clock.now,
      next: { ...generation, tip },
      offers: [],
      tries: [],
      forgetsTried: false,
      report: null,
      unnamed: null,
      lost: [],
      events: [{ event: 'fetched', detail: { tip } }],
      callback: null,
    })

    const won = await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        here.deps.ledger.settle.writeDecision(known, decision(String(n))),
      ),
    )

    expect(won.filter(Boolean)).toHaveLength(1)
    expect(await happened(here, id, 'fetched')).toEqual([
      expect.objectContaining({ tip: String(won.indexOf(true)) }),
    ])
    expect((await here.deps.ledger.generations.readRow(id))?.version).toBe(generation.version + 1)
  })
})

describe('what is written', () => {
  it('is read as it was: bytes, numbers, truth, nothing, JSON', async () => {
    const { id } = await submitted(here)
    const meta = { seed: 4139316548, list: [1.5, null, true], text: 'ü€😀\u0000' }
    await here.callback(
      id,
      success(id, { meta, generationTime: 9.07, nsfw_content_detected: null }),
    )

    const [{ body, receivedAt } = { body: null, receivedAt: 0 }] = await evidence(here, id)
    const row = await here.deps.ledger.generations.readRow(id)

    expect(JSON.parse(body ?? '')).toMatchObject({ meta })
    expect(receivedAt).toBe(here.clock.now)
    expect(row).toMatchObject({
      meta,
      generationTimeS: 9.07,
      nsfwDisputed: false,
      seed: 4139316548,
      tip: null,
    })
  })

  it('has every digit of a seed, whatever a number would make of it', async () => {
    const { id } = await submitted(here)
    const seeds = ['9007199254740993', '18446744073709551615', '7', '-9223372036854775809']
    const shownSeeds: unknown[] = []
    for (const seed of seeds) {
      const text = JSON.stringify(success(id, { meta: { seed: 0 } }))
      await here.callback(id, text.replace('"seed":0', `"seed":${seed}`))
      shownSeeds.push((await shown(here, id)).seed)
    }

    expect(shownSeeds).toEqual(['9007199254740993', '18446744073709551615', 7, seeds[3]])
  })

  it('is whole where it is as large as a callback may be', async () => {
    const { id } = await submitted(here)
    const text = JSON.stringify(success(id, { meta: { text: '' } }))
    const meta = { text: 'x'.repeat(1024 * 1024 - text.length) }

    const { status } = await here.callback(id, success(id, { meta }))

    expect(status).toBe(200)
    expect((await evidence(here, id)).map(({ body }) => body?.length)).toEqual([1024 * 1024])
    expect((await here.deps.ledger.generations.readRow(id))?.meta).toEqual(meta)
  })

  it('has whole numbers in its JSON, not 5.0', async () => {
    const { id } = await submitted(here)
    here.cdn.pages.set('https://pub-1.r2.dev/generations/a.png', await png('red'))
    await here.callback(id, success(id))
    await archiveDue(here.deps, 1)

    expect(await here.committed(`select detail from events where detail like '%.0%'`)).toEqual([])
    expect(await happened(here, id, 'archived')).toEqual([expect.objectContaining({ position: 0 })])
  })
})

describe('a ledger that cannot be written', () => {
  it('takes nothing of a callback, says 503, and takes it whole later', async () => {
    const { id } = await submitted(here)
    const writeAgain = here.refuseWrites()
    onTestFinished(writeAgain)

    const refused = await here.callback(id, success(id))
    const kept = await evidence(here, id)
    writeAgain()

    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5'])
    expect(kept).toEqual([])
    expect((await here.callback(id, success(id))).status).toBe(200)
    expect(await decisions(here, id)).toEqual(['accepted'])
  })
})

describe.runIf(onD1)('in D1', () => {
  it('a request, its callback and its image cost a bounded number of requests, none with 100 values', async () => {
    const cost = async (work: () => Promise<unknown>) => {
      const before = here.requests.length
      await work()
      return here.requests.length - before
    }
    let id = newId(here.clock.now)
    here.cdn.pages.set('https://pub-1.r2.dev/generations/a.png', await png('red'))
    const costs = {
      submit: await cost(async () => ({ id } = await submitted(here))),
      callback: await cost(() => here.callback(id, success(id))),
      repeated: await cost(() => here.callback(id, success(id))),
      archive: await cost(() => archiveDue(here.deps, 1)),
    }

    expect(costs).toEqual({ submit: 6, callback: 2, repeated: 2, archive: 5 })
    const statements = here.requests.flatMap((request) => request.statements)
    expect(Math.max(...statements.map(({ params }) => params.length))).toBeLessThanOrEqual(100)
    expect(Math.max(...statements.map(({ sql }) => sql.length))).toBeLessThan(100_000)
  })
})

const positions = (images: ClaimedImage[]) =>
  images.map(({ position }) => position).toSorted((a, b) => a - b)
