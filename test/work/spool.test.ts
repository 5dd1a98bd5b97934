import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { LedgerUnavailable } from '../../src/errors.ts'
import { diskStore } from '../../src/objects/disk.node.ts'
import type { ObjectStore } from '../../src/deps.ts'
import { drainSpool } from '../../src/work/spool.ts'
import {
  API_KEY,
  happened,
  LINK,
  SECRET,
  sha256,
  shown,
  submitted,
  success,
  world,
  type World,
} from '../support/world.ts'

/** A world whose callbacks have a second place to be kept in. */
function spoolingWorld() {
  const directory = mkdtempSync(join(tmpdir(), 'afterimage-spool-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const here = world()
  const spool = diskStore(directory)
  here.deps.spool = spool
  return { ...here, here, spool }
}

const drain = (here: World) => drainSpool(here.deps, 100)

/** Each object in the spool as text, and after it the body that it holds. */
async function inSpool(spool: ObjectStore) {
  const texts: string[] = []
  for await (const { key } of spool.list('')) {
    const text = await new Response((await spool.get(key))?.body).text()
    const { body_base64: body } = JSON.parse(text) as { body_base64: string }
    texts.push(`${key} ${text} ${Buffer.from(body, 'base64').toString()}`)
  }
  return texts
}

/** The same store but for some of what it does. */
const but = (spool: ObjectStore, other: Partial<ObjectStore>): ObjectStore => ({
  put: (key, bytes, options) => spool.put(key, bytes, options),
  get: (key) => spool.get(key),
  head: (key) => spool.head(key),
  delete: (key) => spool.delete(key),
  list: (prefix) => spool.list(prefix),
  ...other,
})

/**
 * The ledger answers nothing that may change it before the returned function is called. It does the
 * work all the same.
 */
function hesitates(here: World, method: 'settled' | 'callbackRepeated') {
  const { ledger } = here.deps
  let release: () => void = () => undefined
  const released = new Promise<void>((resolve) => (release = resolve))
  here.deps.ledger = {
    ...ledger,
    [method]: async (...values: never[]) => {
      const answer: unknown = await (ledger[method] as (...values: never[]) => Promise<unknown>)(
        ...values,
      )
      if (answer === true) await released
      return answer
    },
  }
  return async () => {
    here.deps.ledger = ledger
    release()
    await here.idle()
  }
}

function isAway(here: World) {
  const { ledger } = here.deps
  const refuse = () =>
    Promise.reject(new LedgerUnavailable(new Error('D1_ERROR: Network connection lost.')))
  here.deps.ledger = { ...ledger, known: refuse, settled: refuse, callbackKept: refuse }
  return () => (here.deps.ledger = ledger)
}

describe('a callback that the ledger does not take', () => {
  it('is kept in the spool, and settled as of the time at which it came', async () => {
    const { here, spool, clock } = spoolingWorld()
    const { id } = await submitted(here)
    const comesBack = isAway(here)
    const cameAt = new Date(clock.now).toISOString()

    expect((await here.callback(id, success(id))).status).toBe(200)
    expect(await inSpool(spool)).toHaveLength(1)
    await expect(drain(here)).rejects.toThrow(LedgerUnavailable)
    expect(await inSpool(spool)).toHaveLength(1)

    clock.advance(600)
    comesBack()
    expect(await drain(here)).toBe(1)
    expect(await shown(here, id)).toMatchObject({ status: 'succeeded', finished_at: cameAt })
    expect(await happened(here, id, 'callback')).toMatchObject([
      { at: cameAt, decision: 'accepted', count: 1 },
    ])
    expect(await inSpool(spool)).toEqual([])
    expect(await drain(here)).toBe(0)
  })

  it('is answered 503 where the spool does not take it either', async () => {
    const { here, spool } = spoolingWorld()
    const { id } = await submitted(here)
    isAway(here)
    here.deps.spool = but(spool, { put: () => Promise.reject(new Error('R2 is away')) })

    const response = await here.callback(id, success(id))
    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('5')
  })

  it('is answered within two seconds while neither answers', async () => {
    const { here, spool } = spoolingWorld()
    const { id } = await submitted(here)
    const release = hesitates(here, 'settled')
    here.deps.spool = but(spool, { put: () => new Promise(() => undefined) })

    const before = performance.now()
    expect((await here.callback(id, success(id))).status).toBe(503)
    expect(performance.now() - before).toBeLessThan(2000)
    await release()
  })

  it('counts once where the write was made after all', async () => {
    const { here, spool } = spoolingWorld()
    const { id } = await submitted(here)
    const release = hesitates(here, 'settled')
    expect((await here.callback(id, success(id))).status).toBe(200)
    expect(await inSpool(spool)).toHaveLength(1)
    await release()

    await drain(here)
    expect(await happened(here, id, 'callback')).toMatchObject([{ count: 1 }])
    expect(await inSpool(spool)).toEqual([])
  })

  it('counts once where it repeats another, and was counted after all', async () => {
    const { here, clock } = spoolingWorld()
    const { id } = await submitted(here)
    await here.callback(id, success(id))
    clock.advance(1)
    const release = hesitates(here, 'callbackRepeated')
    await here.callback(id, success(id))
    await release()

    await drain(here)
    expect(await happened(here, id, 'callback')).toMatchObject([{ count: 2 }])
  })

  it('changes nothing when it is taken out twice, as by two drains at once', async () => {
    const { here, spool } = spoolingWorld()
    const { id } = await submitted(here)
    const comesBack = isAway(here)
    await here.callback(id, success(id))
    comesBack()
    here.deps.spool = but(spool, { delete: () => Promise.resolve() })

    await Promise.all([drain(here), drain(here)])
    await drain(here)
    expect(await happened(here, id, 'callback')).toMatchObject([{ count: 1 }])
    expect((await shown(here, id)).images).toHaveLength(1)
  })

  it('waits in the spool without our secrets, and is told apart from others by what came', async () => {
    const { here, spool, deps } = spoolingWorld()
    const { id } = await submitted(here)
    const comesBack = isAway(here)
    const mac = new URL(deps.callbackUrl(id)).pathname.split('/').at(-1) ?? ''
    await here.callback(id, success(id, { meta: { webhook: deps.callbackUrl(id), key: API_KEY } }))
    await here.callback(id, success(id, { meta: { webhook: 'another' } }))

    const kept = await inSpool(spool)
    expect(kept).toHaveLength(2)
    for (const secret of [mac, API_KEY, SECRET]) expect(kept.join()).not.toContain(secret)
    expect(kept.join()).toContain(LINK)
    comesBack()
    await drain(here)
    expect(await happened(here, id, 'callback')).toHaveLength(2)
  })

  it('is kept although it is over the limit, or no JSON at all', async () => {
    const { here } = spoolingWorld()
    const { id } = await submitted(here)
    const comesBack = isAway(here)
    expect((await here.callback(id, 'x'.repeat(1024 * 1024 + 1))).status).toBe(413)
    expect(
      (await here.callback(id, Buffer.from([0xff, 0x00, 0xfe]).toString('latin1'))).status,
    ).toBe(200)
    comesBack()
    await drain(here)
    const decisions = (await happened(here, id, 'callback')).map(
      (one) => (one as { decision?: string }).decision,
    )
    expect(decisions.toSorted()).toEqual(['too_large', 'unreadable'])
  })

  it('is no reason to keep a forged one', async () => {
    const { here, spool, call } = spoolingWorld()
    const { id } = await submitted(here)
    isAway(here)
    expect(
      (await call(`/callbacks/${id}/${'0'.repeat(64)}`, { method: 'POST', body: '{}' })).status,
    ).toBe(404)
    expect(await inSpool(spool)).toEqual([])
  })

  it('is not kept back by one before it that cannot be read', async () => {
    const { here, spool, logged } = spoolingWorld()
    const { id } = await submitted(here)
    const comesBack = isAway(here)
    await here.callback(id, success(id))
    comesBack()
    const broken = new TextEncoder().encode('{')
    await spool.put('spool/0', broken, {
      sha256: sha256(broken),
      contentType: 'text/plain',
      ifAbsent: false,
    })

    await drain(here)
    expect((await shown(here, id)).status).toBe('succeeded')
    expect(
      logged.some(({ level, fields }) => level === 'error' && fields['key'] === 'spool/0'),
    ).toBe(true)
  })
})
