import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, vi } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import type { ObjectStore } from '../../src/deps.ts'
import { recordDue } from '../../src/work/record.ts'
import { type Finding, verify, type Verifying } from '../../src/audit/verify.ts'
import { audited } from '../support/auditing.ts'
import { png, sha256, shown, submitted, success, type World, world } from '../support/world.ts'

const RED = 'https://cdn.example.net/red.png'
const BLUE = 'https://cdn.example.net/blue.png'

/** One generation that shows red and blue, archived and recorded. */
async function archived(links: Record<string, unknown> = {}) {
  const here = world()
  const [red, blue] = [await png('red'), await png('blue')]
  here.cdn.pages.set(RED, red).set(BLUE, blue)
  const id = await anotherOf(here, { output: [RED, BLUE], ...links })
  return { here, id, red: keyOf(red), blue: keyOf(blue) }
}

async function anotherOf(here: World, links: Record<string, unknown>) {
  const { id } = await submitted(here)
  await here.callback(id, success(id, links))
  await archiveDue(here.deps, 10)
  await recordDue(here.deps, 10)
  return id
}

function keyOf(bytes: Uint8Array) {
  const hash = sha256(bytes)
  return `sha256/${hash.slice(0, 2)}/${hash.slice(2, 4)}/${hash}.png`
}

const fileOf = ({ config }: World, key: string) => join(config.objectsDir, key)

async function run(here: World, more: Partial<Verifying> = {}) {
  const findings: Finding[] = []
  const verified = await verify({
    ...audited(here),
    objects: here.deps.objects,
    get: here.deps.get,
    config: here.config,
    repair: false,
    pause: () => Promise.resolve(),
    found: (finding) => findings.push(finding),
    progress: () => undefined,
    signal: new AbortController().signal,
    ...more,
  })
  return { ...verified, findings, told: findings.map(({ finding, key }) => [finding, key]) }
}

/** The store, that tells what was read of it. */
function watched(here: World, more: Partial<ObjectStore> = {}) {
  const { objects } = here.deps
  const reads: string[] = []
  const get: ObjectStore['get'] = (key) => {
    reads.push(key)
    return objects.get(key)
  }
  return { reads, objects: { ...methodsOf(objects), get, ...more } }
}

const methodsOf = (store: ObjectStore): ObjectStore => ({
  put: (...args) => store.put(...args),
  get: (...args) => store.get(...args),
  head: (...args) => store.head(...args),
  delete: (...args) => store.delete(...args),
  list: (...args) => store.list(...args),
})

it('finds nothing where ledger and store agree, and reads each object once however many images show it', async () => {
  const { here, red, blue } = await archived()
  await anotherOf(here, { output: [RED] })
  const { reads, objects } = watched(here)

  const { told, ...verified } = await run(here, { objects })

  expect(told).toEqual([])
  expect(reads.toSorted()).toEqual([red, blue].toSorted())
  const bytes = Buffer.byteLength(await png('red')) + Buffer.byteLength(await png('blue'))
  expect(verified).toMatchObject({ objects: 2, records: 2, bytes })
})

it('names an object that is missing, and every image that shows it', async () => {
  const { here, id, red } = await archived()
  const other = await anotherOf(here, { output: [BLUE, RED] })
  await rm(fileOf(here, red))

  const { findings } = await run(here)

  expect(findings).toMatchObject([
    {
      finding: 'missing',
      key: red,
      images: [
        { generationId: id, source: 'output', position: 0 },
        { generationId: other, source: 'output', position: 1 },
      ],
    },
  ])
})

it.each([
  ['a bit of it', (bytes: Uint8Array) => bytes.with(20, (bytes[20] ?? 0) ^ 1)],
  ['its end', (bytes: Uint8Array) => bytes.slice(0, -1)],
  ['all of it', () => new Uint8Array()],
])('names an object of which %s was altered', async (_what, alter) => {
  const { here, red } = await archived()
  await writeFile(fileOf(here, red), alter(await png('red')))

  expect((await run(here)).told).toEqual([['altered', red]])
})

it('names what no image shows, and what is no record of ours', async () => {
  const { here } = await archived()
  const stray = keyOf(await png('green'))
  await here.deps.objects.put(stray, await png('green'), options(await png('green')))
  const note = new TextEncoder().encode('{}')
  await here.deps.objects.put('generations/2026/01/31/notes.json', note, options(note))

  expect((await run(here)).told).toEqual([
    ['orphaned', stray],
    ['orphaned', 'generations/2026/01/31/notes.json'],
  ])
})

const options = (bytes: Uint8Array) => ({
  sha256: sha256(bytes),
  contentType: 'image/png',
  ifAbsent: true,
})

it('calls no object orphaned that is archived while it looks', async () => {
  const { here } = await archived()
  const green = await png('green')
  await here.deps.objects.put(keyOf(green), green, options(green))
  here.cdn.pages.set('https://cdn.example.net/green.png', green)
  const pause = vi.fn(async () => {
    await anotherOf(here, { output: ['https://cdn.example.net/green.png'] })
  })

  expect((await run(here, { pause })).told).toEqual([])
  expect(pause).toHaveBeenCalledOnce()
})

it('calls nothing missing that is archived, and nothing orphaned that is recorded, after the store was listed', async () => {
  const { here } = await archived()
  here.cdn.pages.set('https://cdn.example.net/green.png', await png('green'))
  const { objects } = watched(here, {
    list: async function* (prefix) {
      yield* here.deps.objects.list(prefix)
      if (prefix === 'generations/')
        await anotherOf(here, { output: ['https://cdn.example.net/green.png'] })
    },
  })

  expect(await run(here, { objects })).toMatchObject({ told: [], objects: 3, records: 2 })
})

it('misses the record of a generation that has ended, and none of one that has not', async () => {
  const { here, id } = await archived()
  await submitted(here)
  await here.deps.objects.delete(`generations/2026/01/31/${id}.json`)

  expect((await run(here)).told).toEqual([['missing', `generations/2026/01/31/${id}.json`]])
})

it('asks again before it calls an object unreadable, and goes on with the others', async () => {
  const { here, red } = await archived()
  const asked = vi.fn(() => Promise.reject(new Error('connection reset')))
  const { objects } = watched(here, {
    get: (key) => (key === red ? asked() : here.deps.objects.get(key)),
  })

  const { findings, objects: count } = await run(here, { objects })

  expect(findings).toMatchObject([{ finding: 'unreadable', key: red, detail: 'connection reset' }])
  expect([count, asked.mock.calls.length]).toEqual([2, 3])
})

it('ends early when it is interrupted', async () => {
  const { here } = await archived()
  const ctrlC = new AbortController()

  const verified = await run(here, {
    signal: ctrlC.signal,
    progress: (what) => what.startsWith('listing') && ctrlC.abort(),
  })

  expect(verified).toMatchObject({ told: [], objects: 0 })
})

it('copies again what is missing and what is altered, and the ledger stays as it is', async () => {
  const { here, id, red, blue } = await archived()
  await rm(fileOf(here, red))
  await writeFile(fileOf(here, blue), 'not what it was')
  const before = await shown(here, id)

  const { findings, repaired } = await run(here, { repair: true })

  expect(repaired).toBe(2)
  expect(findings.map(({ repair }) => repair)).toEqual(
    [red, blue].toSorted().map((key) => ({ done: true, from: key === red ? RED : BLUE })),
  )
  expect((await run(here)).told).toEqual([])
  expect(await shown(here, id)).toEqual(before)
})

it('copies from the mirror where the output shows other bytes by now', async () => {
  const here = world()
  const red = await png('red')
  here.cdn.pages.set(RED, red).set(BLUE, red)
  await anotherOf(here, { output: [RED], proxy_links: [BLUE] })
  await rm(fileOf(here, keyOf(red)))
  here.cdn.pages.set(RED, await png('black'))

  const { findings } = await run(here, { repair: true })

  expect(findings).toMatchObject([
    { finding: 'missing', images: [{ source: 'output' }, { source: 'proxy' }] },
  ])
  expect(findings.map(({ repair }) => repair)).toEqual([{ done: true, from: BLUE }])
  expect((await run(here)).told).toEqual([])
})

it('keeps other bytes out of the place of those that were archived', async () => {
  const { here, red } = await archived()
  await rm(fileOf(here, red))
  here.cdn.pages.set(RED, await png('black'))

  const { findings } = await run(here, { repair: true })

  expect(findings).toMatchObject([
    { key: red, repair: { done: false, reason: `${RED}: it shows other bytes` } },
  ])
  expect(await here.deps.objects.head(red)).toBeNull()
})

it('leaves alone what nothing gives back, and says why', async () => {
  const signed = `${RED}?Expires=1800000000&Signature=secret`
  const here = world()
  here.cdn.pages.set(signed, await png('red')).set(BLUE, await png('blue'))
  await anotherOf(here, { output: [signed, BLUE] })
  const [red, blue] = [keyOf(await png('red')), keyOf(await png('blue'))]
  await rm(fileOf(here, red))
  await rm(fileOf(here, blue))
  here.cdn.pages.delete(BLUE)

  const { findings, repaired } = await run(here, { repair: true })

  const reasons = Object.fromEntries(
    findings.map(({ key, repair }) => [key, repair && 'reason' in repair && repair.reason]),
  )
  expect(repaired).toBe(0)
  expect(reasons[red]).toContain('its query was forgotten')
  expect(reasons[blue]).toBe(`${BLUE}: The host answered 404.`)
  expect(await here.deps.objects.head(red)).toBeNull()
  expect(JSON.stringify(findings)).not.toContain('secret')
})

it('writes a missing record again from the ledger', async () => {
  const { here, id } = await archived()
  const key = `generations/2026/01/31/${id}.json`
  await here.deps.objects.delete(key)

  expect(await run(here, { repair: true })).toMatchObject({ repaired: 1, told: [['missing', key]] })
  expect((await run(here)).told).toEqual([])
  const object = await here.deps.objects.get(key)
  expect(await new Response(object?.body).json()).toMatchObject({ id, schema_version: 1 })
})
