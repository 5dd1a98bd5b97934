import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { createApp } from '../../src/http/app.ts'
import { audit } from '../../src/ledger/audit.ts'
import { createLedger } from '../../src/ledger/ledger.ts'
import { rebuild as rebuildWrites } from '../../src/ledger/rebuild.ts'
import {
  buildSqlite,
  LedgerExists,
  LedgerInUse,
  openSqlite,
  readSqlite,
} from '../../src/ledger/driver/sqlite.node.ts'
import { rebuild, type RebuildProblem, type Rebuilding } from '../../src/audit/rebuild.ts'
import { verify } from '../../src/audit/verify.ts'
import { recordCapability } from '../../src/secrets/links.ts'
import { reconcileDue } from '../../src/work/reconcile.ts'
import { recordDue } from '../../src/work/record.ts'
import {
  ADMIN,
  failure,
  LINK,
  MIRROR,
  OTHER_LINK,
  png,
  submitted,
  success,
  type World,
  world,
} from '../support/world.ts'

/** Makes the ledger of a world again, at `path`. */
async function rebuiltAt(here: World, path: string, more: Partial<Rebuilding> = {}) {
  const problems: RebuildProblem[] = []
  const { finish, abandon, ...driver } = buildSqlite(path)
  const rebuilt = await rebuild({
    ledger: rebuildWrites(driver),
    objects: here.deps.objects,
    verifiesRecord: here.deps.verifiesRecord,
    takesUnproven: false,
    now: () => here.clock.now,
    pause: () => Promise.resolve(),
    found: (problem) => problems.push(problem),
    progress: () => undefined,
    signal: new AbortController().signal,
    ...more,
  })
  return {
    ...rebuilt,
    found: problems.map(({ problem, key, detail }) => ({ problem, key, detail })),
    finish,
    abandon,
  }
}

/** The same world with its ledger made again: same store, same provider, same clock. */
async function rebuilt(here: World, more: Partial<Rebuilding> = {}) {
  const path = join(here.directory, 'again.db')
  const { finish, ...told } = await rebuiltAt(here, path, more)
  finish()
  const sqlite = openSqlite(path)
  onTestFinished(sqlite.close)
  const deps = { ...here.deps, ledger: createLedger(sqlite) }
  const app = createApp(deps, { isDraining: () => false, peerAddress: () => null })
  const call = (path: string, init: RequestInit = {}) =>
    Promise.resolve(
      app.request(path, {
        ...init,
        headers: { authorization: `Bearer ${ADMIN}`, ...(init.headers as Record<string, string>) },
      }),
    )
  const callback = (id: string, body: unknown) =>
    Promise.resolve(
      app.request(new URL(deps.callbackUrl(id)).pathname, {
        method: 'POST',
        body: JSON.stringify(body),
      }),
    )
  return { told, deps, call, callback, sqlite }
}

type Door = Pick<World, 'call'>

const json = async ({ call }: Door, path: string) =>
  (await (await call(path)).json()) as Record<string, unknown>

/** All that the doors tell, but for when a record was written: no record knows that of itself. */
async function everything(door: Door) {
  const list = (await json(door, '/v1/generations?limit=100')) as { data: { id: string }[] }
  const timelines = await Promise.all(
    list.data.map(async ({ id }) => {
      const { data } = (await json(door, `/v1/generations/${id}/timeline`)) as {
        data: { event: string }[]
      }
      return data.filter(({ event }) => event !== 'record_written')
    }),
  )
  return { list, timelines }
}

/**
 * A bit of everything: mirrors, signatures, a lost image, a contradiction, a failure, a silent
 * verdict, a client's key.
 */
async function eventful() {
  const here = world()
  const signed = `${LINK}?Expires=1769900000&Signature=s3cret`
  here.cdn.pages.set(signed, await png('red')).set(MIRROR, await png('blue'))
  const first = await submitted(
    here,
    { track_id: 'mine', seed: 7, init_image: 'https://u:p@example.com/i.png?sig=x' },
    {
      'idempotency-key': 'order-17',
    },
  )
  here.clock.advance(2.5)
  const body = success(first.id, {
    output: [signed, OTHER_LINK],
    proxy_links: [MIRROR],
    nsfw_content_detected: true,
  })
  await here.callback(first.id, { ...body, tip: `see ${signed} – “quoted”` })
  await here.callback(first.id, failure(first.id))
  await here.callback(first.id, failure(first.id))
  const failed = await submitted(here, { prompt: null })
  here.clock.advance(0.123)
  await here.callback(failed.id, failure(failed.id))
  const silent = await submitted(here)
  await here.callback(silent.id, {
    status: 'success',
    track_id: silent.id,
    output: [MIRROR],
    id: 9,
  })
  here.provider.knows(success(silent.id, { output: [MIRROR], id: 9, nsfw_content_detected: null }))
  for (let round = 0; round < 40; round++) {
    while ((await archiveDue(here.deps, 10)) > 0);
    await reconcileDue(here.deps, 10)
    here.clock.advance(3600)
  }
  while ((await recordDue(here.deps, 10)) > 0);
  return { here, first, failed, silent }
}

it('makes a ledger again whose doors tell the same', async () => {
  const { here } = await eventful()
  const before = await everything(here)

  const again = await rebuilt(here)

  expect(before.list.data).toHaveLength(3)
  expect(JSON.stringify(before)).toMatch(/"contradicts"[^]*"lost"|"lost"[^]*"contradicts"/u)
  expect(again.told).toMatchObject({ generations: 3, found: [] })
  expect(await everything(again)).toEqual(before)
})

it('restores every column that says something of what ended', async () => {
  const { here } = await eventful()
  const again = await rebuilt(here)

  const rows = (sqlite: World['sqlite'], table: string, but: string[]) =>
    (
      sqlite.db.$client
        .prepare(
          `select * from ${table} order by ${table === 'nsfw_reports' ? 'generation_id, id' : '1, 2, 3'}`,
        )
        .all() as Record<string, unknown>[]
    ).map((row) => Object.fromEntries(Object.entries(row).filter(([name]) => !but.includes(name))))
  // What redaction cuts, what only counts tries that are over, and what is owed at once now.
  for (const [table, but] of [
    ['generations', ['version', 'parameters', 'tip', 'meta', 'fetches', 'fetch_due_at']],
    ['images', ['fresh_links_asked', 'waiting']],
    ['offers', []],
    ['callbacks', ['body']],
    ['nsfw_reports', ['id', 'value']],
  ] as const)
    expect([table, rows(again.sqlite, table, [...but])]).toEqual([
      table,
      rows(here.sqlite, table, [...but]),
    ])
})

it('still knows whose Idempotency-Key it was, and submits nothing again', async () => {
  const { here, first } = await eventful()
  const again = await rebuilt(here)
  const sent = here.provider.submissions.length
  const body = { track_id: 'mine', seed: 7, init_image: 'https://u:p@example.com/i.png?sig=x' }

  const replay = await submitted({ ...here, ...again }, body, { 'idempotency-key': 'order-17' })

  expect([replay.id, here.provider.submissions.length]).toEqual([first.id, sent])
})

it('serves the bytes of every image', async () => {
  const { here, first } = await eventful()
  const again = await rebuilt(here)

  const path = `/v1/generations/${first.id}/images/0?source=output`
  const bytes = await (await again.call(path)).arrayBuffer()
  expect(new Uint8Array(bytes)).toEqual(await png('red'))
})

it('adopts what was under way when its callback comes', async () => {
  const { here } = await eventful()
  const { id } = await submitted(here)
  const again = await rebuilt(here)
  expect((await again.call(`/v1/generations/${id}`)).status).toBe(404)

  expect((await again.callback(id, success(id, { output: [MIRROR] }))).status).toBe(200)
  await archiveDue(again.deps, 10)

  expect(await json(again, `/v1/generations/${id}`)).toMatchObject({
    status: 'succeeded',
    archive_status: 'archived',
  })
  const { data } = (await json(again, `/v1/generations/${id}/timeline`)) as { data: unknown[] }
  expect(data).toContainEqual(
    expect.objectContaining({
      event: 'callback',
      detail: expect.objectContaining({ decision: 'recovered' }) as unknown,
    }),
  )
})

it('asks once more for what was owed, and tries again what was pending', async () => {
  const here = world()
  here.cdn.pages.set(LINK, await png('red'))
  const { id } = await submitted(here)
  await here.callback(id, success(id, { output: [LINK], proxy_links: [MIRROR] }))
  await archiveDue(here.deps, 10)
  await here.callback(id, failure(id))
  await recordDue(here.deps, 10)

  const again = await rebuilt(here)
  here.provider.knows(success(id, { output: [LINK], proxy_links: [MIRROR] }))
  here.cdn.pages.set(MIRROR, await png('blue'))

  expect(await reconcileDue(again.deps, 10)).toBe(1)
  expect(await archiveDue(again.deps, 10)).toBe(1)
  const { images } = (await json(again, `/v1/generations/${id}`)) as { images: unknown[] }
  expect(images).toMatchObject([{ status: 'archived' }, { source: 'proxy', status: 'archived' }])
})

/** Changes a record behind our back. Returns its key. */
async function altered(here: World, id: string, alter: (text: string) => string) {
  const key = `generations/2026/01/31/${id}.json`
  const text = await new Response((await here.deps.objects.get(key))?.body).text()
  await writeFile(join(here.config.objectsDir, key), alter(text))
  return key
}

/** As the release wrote it that signed nothing. */
function asUnsigned(text: string) {
  const { hmac, ...record } = JSON.parse(text) as Record<string, unknown>
  return `${JSON.stringify({ ...record, schema_version: 1 }, null, 2)}\n`
}

it.each([
  ['is cut short', (text: string) => text.slice(0, -20), 'no record of a generation'],
  [
    'is of a later program',
    (text: string) => text.replace('"schema_version": 2', '"schema_version": 3'),
    'schema_version',
  ],
  [
    'has a status that nothing ends in',
    (text: string) => text.replace('"status": "failed"', '"status": "processing"'),
    'status',
  ],
  [
    'has a time that is none',
    (text: string) => text.replace(/"requested_at": "[^"]+"/u, '"requested_at": "then"'),
    'requested_at',
  ],
  [
    'lies under the wrong name',
    (text: string) => text.replace(/"requested_at": "2026/u, '"requested_at": "2025'),
    'it belongs under generations/2025',
  ],
])('names a record that %s, and restores the others', async (_how, alter, detail) => {
  const { here, failed } = await eventful()
  const key = await altered(here, failed.id, alter)

  const { told } = await rebuilt(here)

  expect(told).toMatchObject({
    generations: 2,
    found: [{ problem: 'broken', key, detail: expect.stringContaining(detail) as unknown }],
  })
})

it('names what is no record at all', async () => {
  const { here } = await eventful()
  const stray = join(here.config.objectsDir, 'generations/README.txt')
  await mkdir(dirname(stray), { recursive: true })
  await writeFile(stray, 'not mine')

  expect((await rebuilt(here)).told.found).toMatchObject([
    { problem: 'broken', key: 'generations/README.txt' },
  ])
})

it('takes one of two records that claim the same Idempotency-Key, and names the other', async () => {
  const { here, first, silent } = await eventful()
  await altered(here, silent.id, (text) =>
    asUnsigned(text).replace('"idempotency_key": null', '"idempotency_key": "order-17"'),
  )

  const { told } = await rebuilt(here, { takesUnproven: true })

  expect(told.generations).toBe(2)
  expect(told.found).toMatchObject([
    { problem: 'clashing', key: expect.stringMatching(`${first.id}|${silent.id}`) as unknown },
  ])
})

describe('a record that is not as it was written', () => {
  it.each<[string, (text: string) => string]>([
    ['says another verdict', (text) => text.replace('"verdict": "flagged"', '"verdict": "clear"')],
    [
      'says other verdicts everywhere',
      (text) =>
        text.replaceAll('"flagged"', '"clear"').replaceAll('"value": true', '"value": false'),
    ],
    ['has another text', (text) => text.replace('a cat sitting', 'a dog sitting')],
    ['has one space more', (text) => text.replace('{', '{ ')],
    ['was written as other JSON', (text) => JSON.stringify(JSON.parse(text))],
    ['has another HMAC', (text) => text.replace(/"hmac": "../u, '"hmac": "00')],
    [
      'has the HMAC in capitals',
      (text) => text.replace(/"hmac": ".+"/u, (mac) => mac.toUpperCase().replace('HMAC', 'hmac')),
    ],
    ['lost its HMAC', (text) => text.replace(/,\n {2}"hmac": "\w+"/u, '')],
    [
      'has its HMAC in another place',
      (text) => {
        const { hmac, ...rest } = JSON.parse(text) as Record<string, unknown>
        return `${JSON.stringify({ hmac, ...rest }, null, 2)}\n`
      },
    ],
    [
      'calls itself older, and kept its HMAC',
      (text) => text.replace('"schema_version": 2', '"schema_version": 1'),
    ],
    [
      'hides what it says behind a second field',
      (text) => text.replace('"nsfw"', '"nsfw":{"verdict":"clear","disputed":false},"nsfw"'),
    ],
  ])('is named and left out where it %s', async (_how, alter) => {
    const { here, first } = await eventful()
    const key = await altered(here, first.id, alter)

    const { told } = await rebuilt(here)

    expect(told).toMatchObject({ generations: 2, refused: 1, unsigned: 0 })
    expect(told.found.map(({ problem, key }) => [problem, key])).toEqual([['altered', key]])
  })

  it('is taken where that is asked for, named all the same, and signed again', async () => {
    const { here, first } = await eventful()
    await altered(here, first.id, (text) =>
      text.replace('"verdict": "flagged"', '"verdict": "clear"'),
    )

    const again = await rebuilt(here, { takesUnproven: true })

    expect(again.told).toMatchObject({
      generations: 3,
      refused: 0,
      found: [{ problem: 'altered' }],
    })
    expect(await json(again, `/v1/generations/${first.id}`)).toMatchObject({
      nsfw: { verdict: 'clear' },
    })
    expect(await recordDue(again.deps, 10)).toBe(1)
    expect((await rebuiltAt(here, join(here.directory, 'third.db'))).found).toEqual([])
  })

  it('is every record where no secret is known, and each of another secret', async () => {
    const { here } = await eventful()
    const { verifiesRecord } = recordCapability({ linkSecrets: ['another-secret-altogether'] })

    expect((await rebuiltAt(here, join(here.directory, 'a.db'), { verifiesRecord })).refused).toBe(
      3,
    )
    const none = recordCapability({ linkSecrets: [] })
    expect((await rebuiltAt(here, join(here.directory, 'b.db'), none)).refused).toBe(3)
  })

  it('is none that an older secret signed, as long as that is among ours', async () => {
    const { here } = await eventful()
    const { verifiesRecord } = recordCapability({
      linkSecrets: ['a-newer-secret-of-ours', ...here.config.linkSecrets],
    })

    expect((await rebuilt(here, { verifiesRecord })).told).toMatchObject({
      generations: 3,
      found: [],
    })
  })

  it('is named and left out where it calls itself older than signatures are', async () => {
    const { here, first } = await eventful()
    const key = await altered(here, first.id, (text) =>
      asUnsigned(text).replaceAll('"flagged"', '"clear"'),
    )

    const { told } = await rebuilt(here)

    expect(told).toMatchObject({ generations: 2, refused: 1, unsigned: 0 })
    expect(told.found.map(({ problem, key }) => [problem, key])).toEqual([['unsigned', key]])
  })

  it('is taken, counted and signed where unsigned ones are asked for', async () => {
    const { here, failed } = await eventful()
    const before = await everything(here)
    await altered(here, failed.id, asUnsigned)

    const again = await rebuilt(here, { takesUnproven: true })

    expect(again.told).toMatchObject({ generations: 3, unsigned: 1, refused: 0, found: [] })
    expect(await everything(again)).toEqual(before)
    expect(await recordDue(again.deps, 10)).toBe(1)
    expect((await rebuiltAt(here, join(here.directory, 'third.db'))).found).toEqual([])
  })
})

it('knows the hash of each record that it was made from', async () => {
  const { here } = await eventful()
  const again = await rebuilt(here)

  const driver = readSqlite(join(here.directory, 'again.db'))
  onTestFinished(driver.close)
  const verified = await verify({
    ledger: createLedger(driver),
    audit: audit(driver),
    objects: here.deps.objects,
    get: here.deps.get,
    signRecord: null,
    verifiesRecord: () => false,
    config: here.config,
    repair: false,
    pause: () => Promise.resolve(),
    found: () => undefined,
    progress: () => undefined,
    signal: new AbortController().signal,
  })
  expect(again.told.generations).toBe(3)
  expect(verified).toMatchObject({ records: 3, unsigned: 0, findings: { altered: 0, missing: 0 } })
})

it('names an object that an image shows and the store does not have, and restores the image', async () => {
  const { here } = await eventful()
  const before = await everything(here)
  const [key = ''] = readdirSync(join(here.config.objectsDir, 'sha256'), {
    recursive: true,
    encoding: 'utf8',
  }).filter((name) => name.endsWith('.png'))
  await rm(join(here.config.objectsDir, 'sha256', key))

  const again = await rebuilt(here)

  expect(again.told.found.map(({ problem, key }) => [problem, key])).toContainEqual([
    'missing',
    `sha256/${key}`,
  ])
  expect(await everything(again)).toEqual(before)
})

it('leaves nothing behind when it is given up, and begins anew over what a crash left', async () => {
  const { here } = await eventful()
  const path = join(here.directory, 'new', 'again.db')
  const ctrlC = new AbortController()
  const { abandon, generations } = await rebuiltAt(here, path, {
    signal: ctrlC.signal,
    progress: () => ctrlC.abort(),
  })
  abandon()
  expect(generations).toBeLessThan(4)
  expect(readdirSync(dirname(path))).toEqual([])

  writeFileSync(`${path}.draft`, 'half of a ledger')
  const { finish } = await rebuiltAt(here, path)
  expect(existsSync(path)).toBe(false)
  finish()
  expect(readdirSync(dirname(path))).toEqual(['again.db'])
})

it('replaces no ledger, and none that only its log is left of', async () => {
  const { here } = await eventful()
  const path = join(here.directory, 'again.db')
  for (const left of [path, `${path}-wal`]) {
    writeFileSync(left, 'left')
    expect(() => buildSqlite(path)).toThrow(LedgerExists)
    await rm(left)
  }
})

it('keeps a service from starting where it makes a ledger, and makes none where a service runs', async () => {
  const { here } = await eventful()
  const path = join(here.directory, 'again.db')
  const { abandon } = buildSqlite(path)

  expect(() => openSqlite(path)).toThrow(LedgerInUse)
  abandon()
  expect(() => buildSqlite(here.config.databasePath)).toThrow(LedgerInUse)
})

it('makes a seed beyond 2^53 again with every digit', async () => {
  const here = world()
  const { id } = await submitted(here, { seed: '18446744073709551615' })
  const text = JSON.stringify(failure(id, { seed: 0 }))
  await here.callback(id, text.replace('"seed":0', '"seed":1187654321098765432'))
  await recordDue(here.deps, 10)

  const again = await rebuilt(here)

  expect(again.told.found).toEqual([])
  expect(await json(again, `/v1/generations/${id}`)).toMatchObject({
    seed: '1187654321098765432',
    parameters: { seed: '18446744073709551615' },
  })
})
