import { createHash } from 'node:crypto'
import Database from 'better-sqlite3'
import { v7 as uuidv7 } from 'uuid'
import { describe, expect, it } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { callbacks } from '../../src/ledger/schema.ts'
import { macs } from '../../src/secrets/mac.ts'
import { reconcileDue } from '../../src/work/reconcile.ts'
import { onD1 } from '../support/driver.ts'
import {
  API_KEY,
  decisions,
  dump,
  evidence,
  failure,
  happened,
  LINK,
  MIRROR,
  png,
  SECRET,
  sha256,
  shown,
  submitted,
  success,
  type World,
  world,
} from '../support/world.ts'

const MEBIBYTE = 1024 * 1024

it('archives each image once, however often the callback is delivered', async () => {
  const here = world()
  const red = await png('red')
  here.cdn.pages.set(LINK, red).set(MIRROR, red)
  const { id } = await submitted(here)
  const body = success(id, { proxy_links: [MIRROR] })

  for (let delivery = 0; delivery < 3; delivery++)
    expect((await here.callback(id, body)).status).toBe(200)
  await archiveDue(here.deps, 10)
  await archiveDue(here.deps, 10)

  const generation = await shown(here, id)
  expect(generation).toMatchObject({ status: 'succeeded', archive_status: 'archived' })
  expect(generation.images.map(({ status, sha256 }) => [status, sha256])).toEqual([
    ['archived', sha256(red)],
    ['archived', sha256(red)],
  ])
  expect(here.cdn.gets).toHaveLength(2)
})

describe('a callback', () => {
  it('is on disk, and its images due, before it is answered, and nothing is downloaded meanwhile', async () => {
    const here = world()
    const { id } = await submitted(here)

    const { status } = await here.callback(id, success(id))

    expect(status).toBe(200)
    expect(await here.committed('select count(*) as kept from callbacks')).toEqual([{ kept: 1 }])
    expect(await here.committed('select status, due_at from images')).toEqual([
      { status: 'pending', due_at: here.clock.now },
    ])
    expect(here.cdn.gets).toEqual([])
  })

  it.each([
    ['success', (id: string) => success(id), 'accepted', 'succeeded'],
    ['failed', (id: string) => failure(id), 'accepted', 'failed'],
    [
      'error',
      (id: string) => ({ status: 'error', message: 'out of memory', track_id: id }),
      'accepted',
      'failed',
    ],
    [
      'processing',
      (id: string) => ({ status: 'processing', track_id: id }),
      'processing',
      'processing',
    ],
    [
      'success without a URL',
      (id: string) => success(id, { output: [] }),
      'processing',
      'processing',
    ],
    [
      'success without a track_id',
      (id: string) => success(id, { track_id: null }),
      'accepted',
      'succeeded',
    ],
    [
      'success with an empty track_id',
      (id: string) => success(id, { track_id: '' }),
      'accepted',
      'succeeded',
    ],
    [
      'success with TRACK_ID in capitals',
      (id: string) => success(id.toUpperCase()),
      'accepted',
      'succeeded',
    ],
    ['another track_id', () => success(uuidv7()), 'mismatched', 'processing'],
    [
      'a number for a track_id',
      (id: string) => success(id, { track_id: 17 }),
      'mismatched',
      'processing',
    ],
    [
      'an unknown status',
      (id: string) => ({ status: 'done', track_id: id }),
      'unreadable',
      'processing',
    ],
    ['no status', (id: string) => ({ track_id: id, output: [LINK] }), 'unreadable', 'processing'],
    ['not JSON', () => 'status=success', 'unreadable', 'processing'],
    ['a JSON list of one', (id: string) => [success(id)], 'accepted', 'succeeded'],
    ['a JSON list of two', (id: string) => [success(id), success(id)], 'unreadable', 'processing'],
    ['a list in a list', (id: string) => [[success(id)]], 'unreadable', 'processing'],
    ['nothing', () => '', 'unreadable', 'processing'],
    ['JSON nested 100,000 deep', (id: string) => nested(id, 100_000), 'unreadable', 'processing'],
    ['JSON nested 2,000 deep', (id: string) => nested(id, 2000), 'unreadable', 'processing'],
  ])('of %s is kept with its decision', async (_what, body, decision, status) => {
    const here = world()
    const { id } = await submitted(here)

    const response = await here.callback(id, body(id))

    expect(response.status).toBe(200)
    expect(await decisions(here, id)).toEqual([decision])
    expect(await shown(here, id)).toMatchObject({ status })
  })

  it('begins with a byte order mark and is read all the same', async () => {
    const here = world()
    const { id } = await submitted(here)

    await here.callback(id, `\uFEFF${JSON.stringify(success(id))}`)

    expect(await decisions(here, id)).toEqual(['accepted'])
  })

  it.each(['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x'])(
    'is JSON, also where it says %s',
    async (type) => {
      const here = world()
      const { id } = await submitted(here)

      await deliver(here, id, JSON.stringify(success(id)), { 'content-type': type })

      expect(await decisions(here, id)).toEqual(['accepted'])
    },
  )

  it.each([
    ['cannot be read', 'not json'],
    ['names another generation', { status: 'failed', track_id: 'another' }],
    ['is too large', ' '.repeat(MEBIBYTE + 1)],
  ])('that %s makes a fetch due', async (_what, body) => {
    const here = world()
    const { id } = await submitted(here)
    here.provider.knows(success(id))

    await here.callback(id, body)
    await reconcileDue(here.deps, 10)

    expect(here.provider.fetches).toEqual(['1000'])
    expect(await shown(here, id)).toMatchObject({ status: 'succeeded' })
  })

  it('that names another generation changes nothing, NSFW included', async () => {
    const here = world()
    const [one, other] = [await submitted(here), await submitted(here)]

    await here.callback(one.id, success(other.id, { nsfw_content_detected: true }))

    for (const before of [one, other]) {
      const { status, images, nsfw, provider_id } = await shown(here, before.id)
      expect({ status, images, nsfw, provider_id }).toEqual({
        status: 'processing',
        images: [],
        nsfw: before.nsfw,
        provider_id: before.provider_id,
      })
    }
    expect(await evidence(here, other.id)).toEqual([])
  })

  it('over 1 MiB is refused, and its first 4 KiB are kept', async () => {
    const here = world()
    const { id } = await submitted(here)
    const body = JSON.stringify(success(id, { meta: { prompt: 'x'.repeat(MEBIBYTE) } }))

    const response = await here.callback(id, body)

    expect(response.status).toBe(413)
    expect(await evidence(here, id)).toMatchObject([
      { decision: 'too_large', body: body.slice(0, 4096) },
    ])
    expect(await shown(here, id)).toMatchObject({ status: 'processing' })
  })

  it('of exactly 1 MiB is read', async () => {
    const here = world()
    const { id } = await submitted(here)
    const body = JSON.stringify(success(id)).padEnd(MEBIBYTE, ' ')

    expect((await here.callback(id, body)).status).toBe(200)
    expect(await decisions(here, id)).toEqual(['accepted'])
  })

  it('that equals the beginning of one that was too large is taken', async () => {
    const here = world()
    const { id } = await submitted(here)
    const whole = JSON.stringify(success(id)).padEnd(4096, ' ')
    await here.callback(id, whole.padEnd(MEBIBYTE + 1, ' '))

    await here.callback(id, whole)

    expect(await decisions(here, id)).toEqual(['too_large', 'accepted'])
  })
})

describe('the MAC', () => {
  it.each([
    [
      'of another generation',
      (here: World) => macs('callback', [SECRET]).sign(`${here.clock.now}`),
    ],
    [
      'by another secret',
      (_here: World, id: string) => macs('callback', ['not-our-secret']).sign(id),
    ],
    [
      'in capitals',
      (_here: World, id: string) => macs('callback', [SECRET]).sign(id).toUpperCase(),
    ],
    ['cut short', (_here: World, id: string) => macs('callback', [SECRET]).sign(id).slice(0, 63)],
    ['with a tail', (_here: World, id: string) => `${macs('callback', [SECRET]).sign(id)}0`],
    ['of 64 characters that are no hex', () => 'z'.repeat(64)],
  ])('%s is answered 404 and leaves no trace', async (_what, forge) => {
    const here = world()
    const { id } = await submitted(here)

    const response = await here.call(`/callbacks/${id}/${forge(here, id)}`, {
      method: 'POST',
      body: JSON.stringify(success(id)),
      token: null,
    })

    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ title: 'There is nothing here.' })
    expect(await evidence(here, id)).toEqual([])
    expect(await shown(here, id)).toMatchObject({ status: 'processing', images: [] })
  })

  it.each([0, 1])('by accepted secret number %i opens the door', async (n) => {
    const secrets = ['the-newer-secret', 'the-older-secret']
    const here = world({ CALLBACK_SECRETS: secrets.join(',') })
    const { id } = await submitted(here)
    const mac = macs('callback', [secrets[n] ?? '']).sign(id)

    const response = await here.call(`/callbacks/${id}/${mac}`, {
      method: 'POST',
      body: JSON.stringify(success(id)),
    })

    expect(response.status).toBe(200)
  })
})

describe('the same callback again', () => {
  it('is one row with a count', async () => {
    const here = world()
    const { id } = await submitted(here)

    for (let delivery = 0; delivery < 3; delivery++) {
      await here.callback(id, success(id))
      here.clock.advance(60)
    }

    const firstAt = Date.UTC(2026, 0, 31, 12)
    expect(await evidence(here, id)).toMatchObject([
      { decision: 'accepted', count: 3, receivedAt: firstAt, lastReceivedAt: firstAt + 120_000 },
    ])
    expect((await shown(here, id)).nsfw.reports).toHaveLength(1)
  })

  it.each([
    ['a success', (id: string) => success(id)],
    ['a failure', (id: string) => failure(id)],
    ['nonsense', () => 'nonsense'],
  ])('is one row, also where twenty deliveries of %s arrive together', async (_what, body) => {
    const here = world()
    const { id } = await submitted(here)

    const responses = await Promise.all(
      Array.from({ length: 20 }, () => here.callback(id, body(id))),
    )

    expect(responses.map(({ status }) => status)).toEqual(Array(20).fill(200))
    expect(await evidence(here, id)).toMatchObject([{ count: 20 }])
  })

  it('in other words is a duplicate of its own', async () => {
    const here = world()
    const { id } = await submitted(here)

    await here.callback(id, success(id))
    await here.callback(id, success(id, { webhook_status: 'sent' }))

    expect(await decisions(here, id)).toEqual(['accepted', 'duplicate'])
  })

  it('in twenty different words that arrive together loses none', async () => {
    const here = world()
    const { id } = await submitted(here)

    const bodies = Array.from({ length: 20 }, (_, n) => success(id, { generationTime: n }))
    const responses = await Promise.all(bodies.map((body) => here.callback(id, body)))

    expect(responses.map(({ status }) => status)).toEqual(Array(20).fill(200))
    expect((await decisions(here, id)).toSorted()).toEqual([
      'accepted',
      ...Array<string>(19).fill('duplicate'),
    ])
  })

  it('is kept without its body from the 21st different one on', async () => {
    const here = world()
    const { id } = await submitted(here)

    for (let n = 0; n < 23; n++) await here.callback(id, success(id, { generationTime: n }))

    const kept = await evidence(here, id)
    expect(kept.map(({ body }) => body !== null)).toEqual([
      ...Array<boolean>(20).fill(true),
      false,
      false,
      false,
    ])
    expect(kept.at(-1)?.bodySha256).toBe(
      hashOf(JSON.stringify(success(id, { generationTime: 22 }))),
    )
  })
})

describe('a callback for a generation that our ledger does not know', () => {
  it('is kept, and the generation adopted', async () => {
    const here = world()
    const id = uuidv7({ msecs: Date.UTC(2026, 0, 31, 11) })

    const response = await here.callback(id, success(id))

    expect(response.status).toBe(200)
    expect(await decisions(here, id)).toEqual(['recovered'])
    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'pending',
      provider_id: '134712448',
      requested_at: '2026-01-31T11:00:00.000Z',
      model_id: null,
    })
  })

  it.each([
    ['cannot be read', 'not json', 'unreadable'],
    ['names another', { status: 'success', track_id: 'another' }, 'mismatched'],
  ])('is kept, and the generation adopted, although it %s', async (_what, body, decision) => {
    const here = world()
    const id = uuidv7({ msecs: here.clock.now })

    await here.callback(id, body)

    expect(await decisions(here, id)).toEqual([decision])
    expect(await shown(here, id)).toMatchObject({ status: 'unconfirmed' })
  })

  it('is adopted once, however many arrive together', async () => {
    const here = world()
    const id = uuidv7({ msecs: here.clock.now })

    const responses = await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        here.callback(id, success(id, { generationTime: n % 2 })),
      ),
    )

    expect(responses.map(({ status }) => status)).toEqual(Array(10).fill(200))
    expect((await evidence(here, id)).map(({ count }) => count)).toEqual([5, 5])
    expect((await shown(here, id)).images).toHaveLength(1)
  })
})

describe('what is kept of a body', () => {
  const secrets = ['the-newer-secret', 'the-older-secret']
  const key = 'key/of+the"provider'

  it.each([
    ['as they are', (text: string) => text],
    ['with escaped slashes', (text: string) => text.replaceAll('/', '\\/')],
    ['in text that is not JSON', (text: string) => `{${text}`],
  ])('has no MAC that opens the door, and no API key: %s', async (_how, spell) => {
    const here = world({ CALLBACK_SECRETS: secrets.join(','), MODELSLAB_API_KEY: key })
    const { id } = await submitted(here)
    const accepted = macs('callback', secrets).accepted(id)
    const meta = {
      webhook: here.deps.callbackUrl(id),
      old: `/callbacks/${id}/${accepted[1] ?? ''}`,
      key,
    }
    const text = spell(JSON.stringify(success(id, { meta })))

    await here.callback(id, text)

    const [kept] = await evidence(here, id)
    for (const secret of [...accepted, spell(JSON.stringify(key).slice(1, -1))])
      expect(kept?.body).not.toContain(secret)
    expect(kept?.body).toContain('***')
    expect(kept?.bodySha256).toBe(hashOf(text))
    expect(JSON.stringify(await shown(here, id))).not.toMatch(new RegExp(accepted.join('|'), 'u'))
  })

  it('has no beginning of a MAC where it was cut at 4 KiB', async () => {
    const here = world()
    const { id } = await submitted(here)
    const url = here.deps.callbackUrl(id)
    const body = `${'x'.repeat(4096 - url.length + 4)}${url}${'x'.repeat(MEBIBYTE)}`

    await here.callback(id, body)

    const [kept] = await evidence(here, id)
    expect(kept?.body).not.toContain(url.slice(-64, -56))
    expect(kept?.body).toContain(`/callbacks/${id}/***`)
  })

  it('is byte for byte what came, where it has no secret', async () => {
    const here = world()
    const { id } = await submitted(here)
    const bytes = new Uint8Array([0xff, 0x00, 0x7b, 0xc3, 0x28, 0x80])

    await deliver(here, id, bytes)

    const [row] = await here.db.select().from(callbacks)
    expect(row).toMatchObject({ body: Buffer.from(bytes), bodySha256: sha256(bytes) })
  })

  it('is told without its secrets in the timeline and in the log', async () => {
    const here = world({ LOG_LEVEL: 'debug' })
    const { id } = await submitted(here)

    await here.callback(
      id,
      failure(id, { message: `cannot call ${here.deps.callbackUrl(id)} with ${API_KEY}` }),
    )

    const [told] = await happened(here, id, 'failed')
    expect(told).toMatchObject({
      message: expect.stringContaining(`/callbacks/${id}/*** with ***`) as string,
    })
    expect(JSON.stringify(here.logged)).not.toContain(here.deps.callbackUrl(id).slice(-64))
  })
})

describe('a callback that cannot be kept', () => {
  it.skipIf(onD1)(
    'because the disk is full is answered 503, and taken when it comes again',
    async () => {
      const here = world()
      const { id } = await submitted(here)
      const client = here.sqlite.db.$client
      const body = success(id, { meta: { prompt: 'x'.repeat(500_000) } })
      client.pragma(`max_page_count = ${String(client.pragma('page_count', { simple: true }))}`)

      const refused = await here.callback(id, body)
      client.pragma('max_page_count = 1000000')
      const taken = await here.callback(id, body)

      expect([refused.status, refused.headers.get('retry-after'), taken.status]).toEqual([
        503,
        '5',
        200,
      ])
      expect(await decisions(here, id)).toEqual(['accepted'])
    },
  )

  it.skipIf(onD1)(
    'because the database is locked is answered 503 within 2 s, and nothing of it is kept',
    async () => {
      const here = world()
      const [known, unknown] = [(await submitted(here)).id, uuidv7()]
      const other = new Database(here.config.databasePath)
      other.exec('begin immediate')
      const startedAt = performance.now()

      const refused = await Promise.all(
        [known, unknown].map((id) => here.callback(id, success(id))),
      )

      expect(performance.now() - startedAt).toBeLessThan(2000)
      expect(refused.map(({ status }) => status)).toEqual([503, 503])
      other.exec('rollback')
      other.close()
      expect(await evidence(here, known)).toEqual([])
      expect((await here.callback(known, success(known))).status).toBe(200)
    },
  )
})

const hashOf = (text: string) => createHash('sha256').update(text).digest('hex')

const nested = (id: string, depth: number) =>
  `{"status":"success","track_id":"${id}","output":["${LINK}"],"meta":{"a":${'['.repeat(depth)}${']'.repeat(depth)}}}`

const deliver = (
  here: World,
  id: string,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Record<string, string> = {},
) =>
  here.call(new URL(here.deps.callbackUrl(id)).pathname, {
    method: 'POST',
    body,
    headers,
    token: null,
  })

describe('A link in which our own secrets stand', () => {
  it.each([
    ['the callback URL', (url: string) => url],
    [
      'the callback URL in a query',
      (url: string) => `https://cdn.example.com/a.png?webhook=${encodeURIComponent(url)}`,
    ],
    [
      'the MAC in its path',
      (url: string) => `https://cdn.example.com/${url.split('/').at(-1) ?? ''}/a.png`,
    ],
    ['the API key', () => `https://cdn.example.com/a.png?key=${API_KEY}`],
  ])('such as %s is kept and shown without them', async (_what, link) => {
    const here = world()
    const { id } = await submitted(here)
    const url = here.deps.callbackUrl(id)

    await here.callback(id, {
      status: 'success',
      id: 1000,
      track_id: id,
      output: [link(url)],
      proxy_links: [link(url)],
    })
    await archiveDue(here.deps, 10)

    const everything = [
      await (await here.call(`/v1/generations/${id}`)).text(),
      await (await here.call(`/v1/generations/${id}/timeline`)).text(),
      ...(await Promise.all(
        ['generations', 'images', 'offers', 'events', 'callbacks'].map((table) =>
          dump(here, table),
        ),
      )),
    ].join('\n')
    expect(everything).toContain('***')
    for (const secret of [url.split('/').at(-1) ?? '', API_KEY])
      expect(everything).not.toContain(secret)
  })
})
