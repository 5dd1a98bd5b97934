import { createHmac, hkdfSync } from 'node:crypto'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { startLoop } from '../../src/runtime/node/loop.ts'
import { expireOverdue } from '../../src/work/expire.ts'
import { reconcileDue } from '../../src/work/reconcile.ts'
import { recordDue, recordOf } from '../../src/work/record.ts'
import { hanging, offered } from '../support/archiving.ts'
import { until } from '../support/process/program.ts'
import { API_KEY, png, sha256, shown, submitted, type World, world } from '../support/world.ts'

const OUTPUT = 'https://cdn.example.net/a.png?Signature=a-secret-signature&x=1'
const MIRROR = 'https://mirror.example.net/a.png'

const success = (id: string, more: object = {}) => ({
  status: 'success',
  id: 7,
  track_id: id,
  output: [OUTPUT],
  proxy_links: [MIRROR],
  nsfw_content_detected: true,
  meta: { seed: 5, webhook: 'https://images.example.com/callbacks/…' },
  ...more,
})

async function read(here: World, id: string) {
  const key = `generations/2026/01/31/${id}.json`
  const object = await here.deps.objects.get(key)
  return object && (JSON.parse(await new Response(object.body).text()) as Record<string, unknown>)
}

async function archived(settings: Record<string, string> = {}) {
  const here = world(settings)
  const red = await png('red')
  here.cdn.pages.set(OUTPUT, red)
  here.cdn.pages.set(MIRROR, red)
  const { id } = await submitted(here, {}, { 'idempotency-key': 'order-17' })
  await here.callback(id, success(id))
  await archiveDue(here.deps, 10)
  return { here, id, red }
}

it('leaves a record of an ended generation beside its images: all that the door shows, and the evidence', async () => {
  const { here, id, red } = await archived()
  await recordDue(here.deps, 10)

  const record = await read(here, id)
  const { images, ...generation } = await shown(here, id)
  expect(record).toMatchObject({ schema_version: 2, ...generation, idempotency_key: 'order-17' })
  expect(record?.['images']).toEqual(
    images.map(({ url, ...image }) => ({ ...image, margin_s: 24 * 3600 })),
  )
  expect(record?.['offers']).toMatchObject([
    { source: 'output', position: 0, by: 'callback', attempts: 1, contradicts: false },
    { source: 'proxy', position: 0, url: MIRROR },
  ])
  expect(record?.['verdict_reports']).toMatchObject([
    { value: true, verdict: 'flagged', by: 'callback' },
  ])
  expect(record?.['callbacks']).toMatchObject([{ decision: 'accepted', count: 1 }])
  expect(images[0]?.sha256).toBe(sha256(red))
})

it('puts no secret into a record', async () => {
  const { here, id } = await archived()
  await recordDue(here.deps, 10)

  const text = JSON.stringify(await read(here, id))
  for (const secret of [API_KEY, 'a-secret-signature', here.deps.callbackUrl(id).slice(-64)])
    expect(text).not.toContain(secret)
})

it('writes no record while an image is pending', async () => {
  const here = world()
  const { id } = await submitted(here)
  await here.callback(id, success(id))

  expect(await recordDue(here.deps, 10)).toBe(0)
  expect(await read(here, id)).toBeNull()
})

it('writes each record once, and again when the generation changes afterwards', async () => {
  const { here, id } = await archived()
  await recordDue(here.deps, 10)
  expect(await recordDue(here.deps, 10)).toBe(0)

  await here.callback(id, { status: 'failed', id: 7, track_id: id, message: 'on second thoughts' })
  expect(await recordDue(here.deps, 10)).toBe(1)

  expect((await read(here, id))?.['callbacks']).toMatchObject([
    { decision: 'accepted' },
    { decision: 'contradicts' },
  ])
})

it('owes another record when the generation changes while one is being written', async () => {
  const { here, id } = await archived()
  const meanwhile = vi.spyOn(here.store, 'put').mockImplementation(async (...args) => {
    meanwhile.mockRestore()
    await here.callback(id, success(id, { tip: 'another body' }))
    return here.store.put(...args)
  })

  await recordDue(here.deps, 10)
  expect(await recordDue(here.deps, 10)).toBe(1)
  expect((await read(here, id))?.['tip']).toBe('another body')
})

it('owes another record when an older one was put over it by somebody slower', async () => {
  const { here, id } = await archived()
  const slower = await recordOf(here.deps, id)
  if (!slower) throw new Error('there is no record')
  await here.callback(id, success(id, { tip: 'another body' }))
  await recordDue(here.deps, 10)
  const { key, version, sha256: hash, bytes, contentType } = slower
  await here.deps.objects.put(key, bytes, { sha256: hash, contentType, ifAbsent: false })

  await here.deps.ledger.record.writeRecorded(id, version, { key, sha256: hash }, here.clock.now)

  expect(await recordDue(here.deps, 10)).toBe(1)
  expect((await read(here, id))?.['tip']).toBe('another body')
  expect(await recordDue(here.deps, 10)).toBe(0)
})

it('owes another record where two differ that were written of one version', async () => {
  const { here, id } = await archived()
  const version = (await recordOf(here.deps, id))?.version ?? 0
  await recordDue(here.deps, 10)
  // Whoever read the version before the other wrote, and all else after, knows of the other.
  const slower = await recordOf(here.deps, id)
  if (!slower) throw new Error('there is no record')
  const { key, sha256: hash, bytes, contentType } = slower
  await here.deps.objects.put(key, bytes, { sha256: hash, contentType, ifAbsent: false })

  await here.deps.ledger.record.writeRecorded(id, version, { key, sha256: hash }, here.clock.now)

  expect(await recordDue(here.deps, 10)).toBe(1)
  expect(await recordDue(here.deps, 10)).toBe(0)
})

it('owes no other record where the same was written twice', async () => {
  const { here, id } = await archived()
  const same = await recordOf(here.deps, id)
  if (!same) throw new Error('there is no record')
  await recordDue(here.deps, 10)

  await here.deps.ledger.record.writeRecorded(id, same.version, same, here.clock.now)

  expect(await recordDue(here.deps, 10)).toBe(0)
})

it('signs a record, and says so by its schema', async () => {
  const { here, id } = await archived()
  await recordDue(here.deps, 10)

  const key = `generations/2026/01/31/${id}.json`
  const text = await new Response((await here.deps.objects.get(key))?.body).text()
  const { hmac, schema_version } = JSON.parse(text) as Record<string, unknown>
  const unsigned = text.replace(/,\n {2}"hmac": "\w+"\n\}\n$/u, '\n}')
  const derived = Buffer.from(
    hkdfSync('sha256', here.config.linkSecrets[0] ?? '', '', 'record', 32),
  )
  const expected = createHmac('sha256', derived).update(`afterimage/record/v1\n${unsigned}`)
  expect([schema_version, hmac]).toEqual([2, expected.digest('hex')])
})

it('writes a record of the first schema where there is no secret to sign it with', async () => {
  const { here, id } = await archived({ LINK_SECRETS: '' })
  await recordDue(here.deps, 10)

  const record = await read(here, id)
  expect(record).toMatchObject({ schema_version: 1 })
  expect(record).not.toHaveProperty('hmac')
})

it.each([
  ['failed', { status: 'failed', message: 'no' }, 0],
  ['failed when its time was up', null, 25 * 3600],
])('leaves a record of a generation that %s', async (_how, said, seconds) => {
  const here = world()
  const { id } = await submitted(here)
  if (said) await here.callback(id, { ...said, track_id: id })
  here.clock.advance(seconds)
  await expireOverdue(here.deps)

  await recordDue(here.deps, 10)
  expect(await read(here, id)).toMatchObject({ status: 'failed', images: [] })
})

it('tries again later when the store does not take a record', async () => {
  const { here, id } = await archived()
  const away = vi.spyOn(here.store, 'put').mockRejectedValue(new Error('the store is away'))
  await recordDue(here.deps, 10)
  expect(await recordDue(here.deps, 10)).toBe(0)
  expect(here.deps.health.read().objects).toMatch(/^down since/u)

  away.mockRestore()
  here.clock.advance(20)
  await recordDue(here.deps, 10)
  expect(await read(here, id)).not.toBeNull()
})

it('marks an output that a fetch does not name, and takes the mark back when a later one does', async () => {
  const { here, id } = await archived()
  const marks = async () => {
    await here.callback(id, {
      status: 'failed',
      track_id: id,
      message: `asks for a fetch ${here.provider.fetches.length}`,
    })
    await reconcileDue(here.deps, 1)
    const { data } = (await (await here.call(`/v1/generations/${id}/timeline`)).json()) as {
      data: { event: string; detail: Record<string, unknown> }[]
    }
    return data
      .filter(
        ({ event, detail }) =>
          event === 'offered' && detail['source'] === 'output' && !detail['contradicts'],
      )
      .map(({ detail }) => detail['unnamed'])
  }
  here.provider.knows(success(id, { output: ['https://cdn.example.net/other.png'] }))
  expect(await marks()).toEqual([true])
  here.provider.knows(success(id))
  expect(await marks()).toEqual([false])
})

it('writes no record again because a fetch told nothing new', async () => {
  const { here, id } = await archived()
  await here.callback(id, { status: 'failed', track_id: id, message: 'asks for a fetch' })
  await recordDue(here.deps, 10)
  await reconcileDue(here.deps, 1)

  expect(here.provider.fetches).toHaveLength(1)
  expect(await recordDue(here.deps, 10)).toBe(0)
})

describe('while images wait for a slot', () => {
  /** One host each, and none of them answers. */
  const silent = ['b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'].map(
    (name) => `https://${name}.example.net/a.png`,
  )

  async function behind() {
    const here = world({ ARCHIVE_CONCURRENCY: '1' })
    const red = await png('red')
    const downloads = silent.map((link) => hanging(here, link))
    for (const link of silent) await offered(here, { output: [link] })
    const loop = startLoop(here.deps)
    here.deps.wake = loop.wake
    onTestFinished(() => loop.stop())
    onTestFinished(() => downloads.forEach(({ send }) => send(red)))
    await downloads[0]?.asked
    const { id } = await submitted(here)
    await here.callback(id, { status: 'failed', track_id: id, message: 'Failed, Try Again' })
    return { here, id }
  }

  it('a record waits with them for a minute and no longer', async () => {
    const { here, id } = await behind()

    here.clock.advance(60)

    await until(() => read(here, id))
    expect(new Set(here.cdn.gets).size).toBeLessThan(silent.length)
  })

  it('a record waits with them', async () => {
    const { here, id } = await behind()
    const looked = vi.spyOn(here.deps.ledger.record, 'readDue')

    here.clock.advance(59)
    await until(() => looked.mock.calls.length > 2)

    expect(looked.mock.calls.map(([{ before }]) => before)).toContain(here.clock.now - 60_000)
    expect(await read(here, id)).toBeNull()
  })
})

it('is written at once where a slot is free', async () => {
  const { here, id } = await archived({ ARCHIVE_CONCURRENCY: '2' })
  const loop = startLoop(here.deps)
  onTestFinished(() => loop.stop())

  await until(() => read(here, id))
})
