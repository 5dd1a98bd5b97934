import { readdirSync, readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Miniflare } from 'miniflare'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { D1Database } from '../../../src/ledger/driver/d1.ts'
import worker from '../../../src/worker.ts'
import { D1_WORKER, d1Over } from '../../support/d1.ts'
import { png } from '../../support/world.ts'

/** What the README reckons a month from: whoever changes a figure here changes it there. */

const GENERATIONS = 20
const TOKEN = 'token-of-the-costs-0123456789'
const MIGRATIONS = join(import.meta.dirname, '../../../migrations')
const pictures = { output: await png('red'), mirror: await png('blue') }

let miniflare: Miniflare
let provider: Server
let origin: string
let submitted: { webhook: string; track_id: string }
let spent = { d1Requests: 0, rowsWritten: 0, wakes: 0, objects: 0 }
let databaseBytes = 0

interface Metered {
  meta: { rows_written: number; size_after: number }
}

/** All that is written comes in batches; D1 tells with each answer what it will be billed as. */
function metered(d1: D1Database): D1Database {
  return {
    prepare: (sql) => d1.prepare(sql),
    batch: async (list) => {
      const answers = await d1.batch(list)
      for (const { meta } of answers as unknown as Metered[]) {
        spent.rowsWritten += meta.rows_written
        databaseBytes = meta.size_after
      }
      return answers
    },
  }
}

let env: { DB: D1Database; [name: string]: unknown }

beforeAll(async () => {
  miniflare = new Miniflare({
    modules: true,
    script: D1_WORKER,
    d1Databases: ['d1'],
    compatibilityDate: '2026-04-01',
  })
  const counted = () => {
    spent.d1Requests++
  }
  const d1 = metered(d1Over(`${(await miniflare.ready).href}d1`, counted))
  const texts = readdirSync(MIGRATIONS).filter((name) => name.endsWith('.sql'))
  for (const name of texts.toSorted()) {
    const statements = readFileSync(join(MIGRATIONS, name), 'utf8').split(
      '--> statement-breakpoint',
    )
    await d1.batch(statements.map((sql) => d1.prepare(sql)))
  }
  provider = createServer(answer)
  await new Promise<void>((resolve) => provider.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(provider.address() as AddressInfo).port}`
  env = {
    DB: d1,
    OBJECTS: { put: () => Promise.resolve(spent.objects++) },
    WAKES: { send: () => Promise.resolve(spent.wakes++) },
    MODELSLAB_API_KEY: 'api-key-of-the-costs',
    MODELSLAB_BASE_URL: origin,
    PUBLIC_URL: 'https://images.example.com',
    CALLBACK_SECRETS: 'callback-secret-of-the-costs',
    API_TOKENS: `tests:admin:${TOKEN}`,
    ALLOWED_PRIVATE_ORIGINS: origin,
    LOG_LEVEL: 'error',
  }
})
afterAll(async () => {
  provider.closeAllConnections()
  provider.close()
  await miniflare.dispose()
})

const answer: Parameters<typeof createServer>[1] = (request, response) => {
  if (request.method === 'GET') {
    response.end(request.url?.includes('mirror') ? pictures.mirror : pictures.output)
    return
  }
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    submitted = JSON.parse(Buffer.concat(chunks).toString()) as typeof submitted
    response.end(JSON.stringify({ status: 'processing', id: submitted.track_id, eta: 10, meta }))
  })
}

const LINK = 'https://uploads.example.com/2026/11/22/bench-photo-0123456789abcdef.png'
const request = {
  model_id: 'pony_realism',
  prompt:
    'a cat sitting on a bench in a park at dawn, soft light, 85mm photograph, shallow depth of field, film grain',
  negative_prompt: 'blurry, low quality, extra limbs, watermark, text',
  init_image: LINK,
  mask_image: LINK,
  width: 512,
  height: 512,
  samples: 1,
  steps: 21,
  guidance_scale: 7.5,
  strength: 0.7,
  scheduler: 'DPMSolverMultistepScheduler',
  safety_checker: 'yes',
}
/** So that a callback's body has the 2 KB of a whole one. */
const meta = { ...request, seed: 4139316548, more: 'x'.repeat(1190) }

async function call(path: string, body: unknown, headers: Record<string, string> = {}) {
  const later: Promise<unknown>[] = []
  const asked = new Request(new URL(path, 'https://images.example.com'), {
    method: 'POST',
    headers,
    body: JSON.stringify(body),
  })
  const { status } = await worker.fetch(asked, env as never, {
    waitUntil: (work) => void later.push(work),
  })
  await Promise.all(later)
  return status
}

const submit = (n: number) =>
  call('/v1/generations', request, {
    authorization: `Bearer ${TOKEN}`,
    'idempotency-key': `order-${n}`,
  })

function callBack() {
  const { webhook, track_id } = submitted
  const output = [`${origin}/generations/0-${track_id}.png`]
  const proxy_links = [`${origin}/mirror/0-${track_id}.png`]
  return call(webhook, {
    status: 'success',
    track_id,
    output,
    proxy_links,
    nsfw_content_detected: false,
    meta,
  })
}

/** What `work` spends. */
async function cost(work: () => Promise<unknown>) {
  spent = { d1Requests: 0, rowsWritten: 0, wakes: 0, objects: 0 }
  await work()
  return spent
}

it('costs what the README says for a generation with an output, its mirror and its record', async () => {
  expect(await cost(() => submit(0))).toEqual({
    d1Requests: 6,
    rowsWritten: 16,
    wakes: 1,
    objects: 0,
  })
  expect(await cost(callBack)).toEqual({ d1Requests: 2, rowsWritten: 19, wakes: 1, objects: 0 })
  const turn = await cost(() => worker.queue({}, env as never))
  expect(turn).toMatchObject({ rowsWritten: 21, wakes: 0, objects: 3 })
  expect(turn.d1Requests).toBeLessThanOrEqual(30)

  const bytesBefore = databaseBytes
  for (let n = 1; n <= GENERATIONS; n++) {
    expect([await submit(n), await callBack()]).toEqual([202, 200])
    await worker.queue({}, env as never)
  }
  expect((databaseBytes - bytesBefore) / GENERATIONS).toBeGreaterThan(11_000)
  expect((databaseBytes - bytesBefore) / GENERATIONS).toBeLessThan(12_000)
})
