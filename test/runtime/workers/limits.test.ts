import { readdirSync, readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Miniflare } from 'miniflare'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { D1Database } from '../../../src/ledger/driver/d1.ts'
import type { R2Bucket } from '../../../src/objects/r2.ts'
import { newId } from '../../../src/model/uuid.ts'
import worker from '../../../src/worker.ts'
import { D1_WORKER, d1Over } from '../../support/d1.ts'
import { png } from '../../support/world.ts'

// https://developers.cloudflare.com/workers/platform/limits/ and /d1/platform/limits/, paid plan
const MOST_QUERIES = 1000
const MOST_SUBREQUESTS = 10_000
const MOST_CONNECTIONS = 6

/** What one invocation asked of the world. */
class Meter {
  queries = 0
  subrequests = 0
  mostAtOnce = 0
  #now = 0

  async count<T>(work: () => Promise<T>, queries = 0): Promise<T> {
    this.queries += queries
    this.subrequests++
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#now)
    try {
      return await work()
    } finally {
      this.#now--
    }
  }
}

const migrations = join(import.meta.dirname, '../../../migrations')
const picture = await png('red')
let miniflare: Miniflare
let bare: D1Database
let host: Server
let origin: string
let meter: Meter
const objects = new Map<string, Uint8Array>()
const wakes: number[] = []

const metered = <T>(answer: () => T) => meter.count(() => Promise.resolve(answer()))

/** As much of R2 as a turn uses. */
const bucket: R2Bucket = {
  put: (key, bytes) => metered(() => objects.set(key, bytes)),
  get: (key) =>
    metered(() => {
      const bytes = objects.get(key)
      return bytes ? { key, size: bytes.byteLength, body: ReadableStream.from([bytes]) } : null
    }),
  head: () => metered(() => null),
  delete: (key) => metered(() => void objects.delete(key)),
  list: ({ prefix }) =>
    metered(() => ({
      objects: [...objects.keys()]
        .filter((key) => key.startsWith(prefix))
        .map((key) => ({ key, size: 1 })),
      truncated: false as const,
    })),
}

const env = () => ({
  DB: d1,
  OBJECTS: bucket,
  WAKES: {
    send: (_: unknown, { delaySeconds }: { delaySeconds: number }) =>
      metered(() => wakes.push(delaySeconds)),
  },
  MODELSLAB_API_KEY: 'api-key-of-the-limits',
  MODELSLAB_BASE_URL: origin,
  PUBLIC_URL: 'https://images.example.com',
  CALLBACK_SECRETS: 'callback-secret-of-the-limits',
  API_TOKENS: 'tests:admin:token-of-the-limits-0123456789',
  ALLOWED_PRIVATE_ORIGINS: origin,
  LOG_LEVEL: 'error',
})
let d1: D1Database

beforeAll(async () => {
  miniflare = new Miniflare({
    modules: true,
    script: D1_WORKER,
    d1Databases: ['d1'],
    compatibilityDate: '2026-04-01',
  })
  const url = `${(await miniflare.ready).href}d1`
  bare = d1Over(url, () => undefined)
  const inner = d1Over(url, () => undefined)
  d1 = {
    prepare: (sql) => meteredStatement(inner.prepare(sql)),
    batch: (list) =>
      meter.count(() => inner.batch(list.map((one) => bareOf.get(one) ?? one)), list.length),
  }
  const texts = readdirSync(migrations).filter((name) => name.endsWith('.sql'))
  for (const name of texts.toSorted())
    await bare.batch(
      readFileSync(join(migrations, name), 'utf8')
        .split('--> statement-breakpoint')
        .map((sql) => bare.prepare(sql)),
    )
  host = createServer(answer)
  await new Promise<void>((resolve) => host.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(host.address() as AddressInfo).port}`
  const real = globalThis.fetch
  vi.stubGlobal('fetch', (input: URL | string, init?: RequestInit) =>
    String(input).startsWith(origin) ? meter.count(() => real(input, init)) : real(input, init),
  )
})
afterAll(async () => {
  vi.unstubAllGlobals()
  host.closeAllConnections()
  host.close()
  await miniflare.dispose()
})

type Statement = ReturnType<D1Database['prepare']>
const bareOf = new Map<unknown, Statement>()

function meteredStatement(statement: Statement): Statement {
  const counted: Statement = {
    bind: (...values) => meteredStatement(statement.bind(...values)),
    all: () => meter.count(() => statement.all(), 1),
    raw: () => meter.count(() => statement.raw(), 1),
    run: () => meter.count(() => statement.run(), 1),
  }
  bareOf.set(counted, statement)
  return counted
}

/**
 * Pictures behind as many redirects as are followed, and a provider whose results have other
 * pictures.
 */
const answer: Parameters<typeof createServer>[1] = (request, response) => {
  const { pathname } = new URL(request.url ?? '', origin)
  const hops = Number(/^\/hop(\d)/u.exec(pathname)?.[1] ?? 0)
  if (hops > 0)
    response.writeHead(302, { location: pathname.replace(/\d/u, String(hops - 1)) }).end()
  else if (pathname.startsWith('/hop')) response.end(picture)
  else if (pathname.includes('/inpaint'))
    response.end(JSON.stringify({ status: 'processing', id: newId(0), eta: 1 }))
  else
    response.end(
      JSON.stringify({
        status: 'success',
        id: 1,
        output: [`${origin}${pathname.replace('/api', '/hop0')}`],
      }),
    )
}

const many = 100
const ids = (count: number) => Array.from({ length: count }, (_, n) => newId(Date.now() + n))
const parameters = JSON.stringify({
  init_image: 'https://e.com/a.png',
  mask_image: 'https://e.com/b.png',
})

/** More of every kind of work than one turn does. */
async function oweEverything() {
  const now = Date.now()
  const list = (values: unknown) => `json_each('${JSON.stringify(values)}')`
  const images = ids(many).map((id) => ({
    id,
    url: `${origin}/hop3/${id}.png`,
    host: new URL(origin).host,
  }))
  const statements = [
    `insert into generations (id, status, archive_status, requested_at, provider_id) select value ->> 'id', 'succeeded', 'pending', ${now}, 'x' from ${list(images)}`,
    `insert into images (generation_id, source, position, source_url, host, expires_at, due_at, waiting) select value ->> 'id', 'output', 0, value ->> 'url', value ->> 'host', ${now + 3_600_000}, ${now}, 0 from ${list(images)}`,
    `insert into offers (generation_id, source, position, url, "by", expires_at, offered_at) select value ->> 'id', 'output', 0, value ->> 'url', 'callback', ${now + 3_600_000}, ${now} from ${list(images)}`,
    `insert into generations (id, status, requested_at, model_id, parameters) select value, 'requested', ${now}, 'm', '${parameters}' from ${list(ids(many))}`,
    `insert into generations (id, status, requested_at, submission_started_at, provider_id, fetch_due_at) select value, 'processing', ${now}, ${now}, value, ${now} from ${list(ids(many))}`,
    `insert into generations (id, status, requested_at, record_due_at) select value, 'failed', ${now}, ${now} from ${list(ids(many))}`,
    `insert into generations (id, status, requested_at, submission_started_at) select value, 'requested', ${now - 3_600_000}, ${now - 3_600_000} from ${list(ids(many))}`,
    `insert into generations (id, status, requested_at, provider_id) select value, 'processing', 0, 'x' from ${list(Array.from({ length: many }, (_, n) => newId(n + 1)))}`,
  ]
  await bare.batch(statements.map((sql) => bare.prepare(sql)))
  for (const id of ids(many)) {
    const spooled = {
      id,
      generation_id: newId(now),
      received_at: now,
      body_base64: Buffer.from(
        JSON.stringify({ status: 'success', id: 7, output: [`${origin}/hop0/${id}.png`] }),
      ).toString('base64'),
      body_sha256: id,
      too_large: false,
    }
    objects.set(`spool/${id}`, new TextEncoder().encode(JSON.stringify(spooled)))
  }
}

const count = async (what: string) => {
  const { results } = (await bare.prepare(`select count(*) as n from ${what}`).all()) as {
    results: { n: number }[]
  }
  return results[0]?.n ?? 0
}

describe('an invocation that finds more work than it may do', () => {
  it('stays within every limit of Cloudflare, does some of each kind, and wakes the next', async () => {
    await oweEverything()
    meter = new Meter()
    await worker.scheduled({}, env())

    expect(meter.queries).toBeGreaterThan(MOST_QUERIES / 4)
    expect(meter.queries).toBeLessThanOrEqual(MOST_QUERIES)
    expect(meter.subrequests).toBeLessThanOrEqual(MOST_SUBREQUESTS)
    expect(meter.mostAtOnce).toBeLessThanOrEqual(MOST_CONNECTIONS)
    expect(wakes).toEqual([0])

    expect(await count(`images where status = 'archived'`)).toBeGreaterThan(10)
    expect(await count('callbacks')).toBeGreaterThan(0)
    expect(await count(`events where event = 'replied'`)).toBeGreaterThan(0)
    expect(await count(`events where event = 'fetched'`)).toBeGreaterThan(0)
    expect(await count(`events where event = 'record_written'`)).toBeGreaterThan(0)
    expect(await count(`generations where status = 'unconfirmed'`)).toBeGreaterThan(0)
    expect(await count(`generations where failure_code = 'no_result'`)).toBeGreaterThan(0)
  })
})
