import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sql } from 'drizzle-orm'
import { describe, expect, it, vi } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import type { ObjectStore } from '../../src/deps.ts'
import { recordDue } from '../../src/work/record.ts'
import type { Finding, Verifying } from '../../src/audit/finding.ts'
import { verify } from '../../src/audit/verify.ts'
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

const recordOf = (id: string) => `generations/2026/01/31/${id}.json`
const fileOf = ({ config }: World, key: string) => join(config.objectsDir, key)

async function run(here: World, more: Partial<Verifying> = {}) {
  const findings: Finding[] = []
  const verified = await verify({
    ...audited(here),
    objects: here.deps.objects,
    get: here.deps.get,
    signRecord: here.deps.signRecord,
    verifiesRecord: here.deps.verifiesRecord,
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
  const { here, id, red, blue } = await archived()
  const other = await anotherOf(here, { output: [RED] })
  const { reads, objects } = watched(here)

  const { told, ...verified } = await run(here, { objects })

  expect(told).toEqual([])
  expect(reads.toSorted()).toEqual([red, blue, recordOf(id), recordOf(other)].toSorted())
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
  await here.deps.objects.delete(recordOf(id))

  expect((await run(here)).told).toEqual([['missing', recordOf(id)]])
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
  const key = recordOf(id)
  await here.deps.objects.delete(key)

  expect(await run(here, { repair: true })).toMatchObject({ repaired: 1, told: [['missing', key]] })
  expect((await run(here)).told).toEqual([])
  const object = await here.deps.objects.get(key)
  expect(await new Response(object?.body).json()).toMatchObject({ id, schema_version: 2 })
})

describe('a record', () => {
  /** Changes the record of a generation behind our back. */
  async function alter(here: World, id: string, change: (text: string) => string) {
    const file = fileOf(here, recordOf(id))
    const text = await readFile(file, 'utf8')
    await writeFile(file, change(text))
    return text
  }

  /** The ledger as the release before left it: it knows no hash of any record. */
  const forgetHashes = ({ db }: World) => db.run(sql`update generations set record_sha256 = null`)

  const asUnsigned = (text: string) => {
    const { hmac, ...record } = JSON.parse(text) as Record<string, unknown>
    return `${JSON.stringify({ ...record, schema_version: 1 }, null, 2)}\n`
  }

  const changes: [string, (text: string) => string][] = [
    ['says another verdict', (text) => text.replace('"verdict": "clear"', '"verdict": "flagged"')],
    ['has another text', (text) => text.replace('a cat sitting', 'a dog sitting')],
    ['has a space more', (text) => text.replace('{', '{ ')],
    ['was cut short', (text) => text.slice(0, 200)],
    ['is empty', () => ''],
    ['lost its HMAC', (text) => text.replace(/,\n {2}"hmac": "\w+"/u, '')],
  ]

  it.each([...changes, ['calls itself older', asUnsigned] as const])(
    'is named where it %s',
    async (_how, change) => {
      const { here, id } = await archived()
      await alter(here, id, change)

      const { findings } = await run(here)

      expect(findings).toMatchObject([
        {
          finding: 'altered',
          key: recordOf(id),
          images: [],
          detail: expect.stringContaining(`the record of generation ${id}: `) as unknown,
        },
      ])
    },
  )

  it.each(changes)(
    'is named where it %s, also by a ledger that does not know its hash',
    async (_how, change) => {
      const { here, id } = await archived()
      await forgetHashes(here)
      await alter(here, id, change)

      expect((await run(here)).told).toEqual([['altered', recordOf(id)]])
    },
  )

  it('is named where an older one of ours was put in its place', async () => {
    const { here, id } = await archived()
    const older = await readFile(fileOf(here, recordOf(id)), 'utf8')
    await here.callback(id, success(id, { nsfw_content_detected: true, output: [RED, BLUE] }))
    await recordDue(here.deps, 10)
    await alter(here, id, () => older)

    expect((await run(here)).told).toEqual([['altered', recordOf(id)]])
  })

  it('is named where that of another generation was put in its place', async () => {
    const { here, id } = await archived()
    const other = await anotherOf(here, { output: [RED] })
    await forgetHashes(here)
    await alter(here, id, () => '')
    await writeFile(fileOf(here, recordOf(id)), await readFile(fileOf(here, recordOf(other))))

    expect((await run(here)).told).toEqual([['altered', recordOf(id)]])
  })

  it('is counted, and no finding, where it was written without hash and HMAC', async () => {
    const { here, id } = await archived()
    await anotherOf(here, { output: [RED] })
    await forgetHashes(here)
    await alter(here, id, asUnsigned)

    expect(await run(here)).toMatchObject({ told: [], records: 2, unsigned: 1 })
  })

  it('that nothing proves is signed by a repair', async () => {
    const { here, id } = await archived()
    await forgetHashes(here)
    await alter(here, id, asUnsigned)

    expect(await run(here, { repair: true })).toMatchObject({ told: [], unsigned: 0 })
    expect(await run(here)).toMatchObject({ told: [], unsigned: 0 })
    await alter(here, id, (text) => text.replace('"clear"', '"flagged"'))
    expect((await run(here)).told).toEqual([['altered', recordOf(id)]])
  })

  it('that was altered is written again from the ledger, and then no finding', async () => {
    const { here, id } = await archived()
    const before = JSON.parse(
      await alter(here, id, (text) => text.replace('"clear"', '"flagged"')),
    ) as Record<string, unknown>

    expect(await run(here, { repair: true })).toMatchObject({ repaired: 1 })
    expect((await run(here)).told).toEqual([])
    const after = JSON.parse(await readFile(fileOf(here, recordOf(id)), 'utf8')) as typeof before
    expect(after['nsfw']).toEqual(before['nsfw'])
    expect(after['images']).toEqual(before['images'])
  })

  it('that was repaired is named where it is altered again, or as before', async () => {
    const { here, id } = await archived()
    await alter(here, id, (text) => text.replace('"clear"', '"flagged"'))
    const wrong = await readFile(fileOf(here, recordOf(id)), 'utf8')
    await run(here, { repair: true })

    await alter(here, id, (text) => text.replace('"clear"', '"flagged"'))
    expect((await run(here)).told).toEqual([['altered', recordOf(id)]])
    await alter(here, id, () => wrong)
    expect((await run(here)).told).toEqual([['altered', recordOf(id)]])
  })

  it('stays as it is where no secret is known that could sign another', async () => {
    const { here, id } = await archived()
    await here.deps.objects.delete(recordOf(id))

    const { findings } = await run(here, { repair: true, signRecord: null })

    expect(findings).toMatchObject([
      { repair: { done: false, reason: expect.stringContaining('LINK_SECRETS') as unknown } },
    ])
    expect(await here.deps.objects.head(recordOf(id))).toBeNull()
  })

  it('is not called altered while another is owed, or was written meanwhile', async () => {
    const { here, id } = await archived()
    await here.callback(id, success(id, { tip: 'news', output: [RED, BLUE] }))
    await alter(here, id, () => 'half of the next one')
    expect((await run(here)).told).toEqual([])

    await recordDue(here.deps, 10)
    const { objects } = watched(here, {
      get: async (key) => {
        if (key === recordOf(id)) {
          await here.callback(id, success(id, { tip: `${Math.random()}`, output: [RED, BLUE] }))
          objects.get = (key) => here.deps.objects.get(key)
          await recordDue(here.deps, 10)
        }
        return here.deps.objects.get(key)
      },
    })
    expect((await run(here, { objects })).told).toEqual([])
  })

  it('is unreadable where the store does not give it', async () => {
    const { here, id } = await archived()
    const { objects } = watched(here, {
      get: (key) =>
        key === recordOf(id)
          ? Promise.reject(new Error('connection reset'))
          : here.deps.objects.get(key),
    })

    expect((await run(here, { objects, repair: true })).findings).toMatchObject([
      { finding: 'unreadable', key: recordOf(id), repair: null },
    ])
  })
})
