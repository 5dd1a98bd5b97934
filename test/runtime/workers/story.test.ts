import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { authorshipOf } from '../../../src/json/signed-record.ts'
import { recordCapability } from '../../../src/secrets/links.ts'
import { startSimulator, type Simulator } from '../../../src/simulator/simulator.ts'
import { sha256 } from '../../support/world.ts'
import {
  ask,
  inpaint,
  isSettled,
  type Shown,
  shown,
  submitted,
  timeline,
  untilShown,
} from '../../support/process/client.ts'
import { until } from '../../support/process/program.ts'
import { serve } from '../../support/net/loopback.ts'
import { bundled, type Bundle } from '../../support/bundle.ts'
import {
  type Home,
  LINK_SECRET,
  newHome,
  startWorkerd,
  type Workerd,
} from '../../support/workerd.ts'

let bundle: Bundle
let simulator: Simulator

beforeAll(async () => {
  ;[bundle, simulator] = await Promise.all([bundled(), startSimulator({ knobs: { delay: 0.1 } })])
})
afterAll(async () => {
  await Promise.all([simulator.close(), bundle.remove()])
})

const start = (home: Home, more: { wakes?: boolean; settings?: Record<string, string> } = {}) =>
  startWorkerd({
    script: bundle.script,
    home,
    wakes: more.wakes ?? true,
    settings: {
      MODELSLAB_BASE_URL: simulator.apiUrl,
      ALLOWED_PRIVATE_ORIGINS: `${simulator.outputOrigin},${simulator.proxyOrigin}`,
      ...more.settings,
    },
  })

const webhookOf = (id: string) =>
  simulator.until((all) => all.find(({ trackId }) => trackId === id)?.webhook)

const success = (id: string, output = [`${simulator.outputOrigin}/nothing.png`]) => ({
  status: 'success',
  id: 4711,
  track_id: id,
  output,
  proxy_links: '',
  nsfw_content_detected: false,
})

async function bytes(worker: Workerd, path: string, headers: Record<string, string> = {}) {
  const response = await ask(worker, path, { headers })
  return {
    status: response.status,
    headers: response.headers,
    body: new Uint8Array(await response.arrayBuffer()),
  }
}

describe('the whole story inside workerd', () => {
  let home: Home
  let worker: Workerd
  let flagged: Shown

  beforeAll(async () => {
    home = await newHome()
    worker = await start(home)
  })
  afterAll(async () => {
    await worker.kill()
    await home.remove()
  })

  it('archives what a callback offers, woken through the queue', async () => {
    const { id } = await submitted(worker, { prompt: 'a lighthouse [nsfw=flagged]' })
    flagged = await untilShown(worker, id, isSettled)
    expect(flagged).toMatchObject({ status: 'succeeded', archive_status: 'archived' })
  })

  it('serves the bytes that are in the bucket, whole and in part', async () => {
    const [image] = flagged.images
    const path = `/v1/generations/${flagged.id}/images/0`
    const whole = await bytes(worker, path)
    expect(whole.status).toBe(200)
    expect(sha256(whole.body)).toBe(image?.sha256)
    expect(whole.headers.get('content-length')).toBe(String(whole.body.byteLength))
    expect(await worker.keys('sha256/')).toContain(image?.object_key)

    const part = await bytes(worker, path, { range: 'bytes=100-199' })
    expect(part.status).toBe(206)
    expect(part.headers.get('content-range')).toBe(`bytes 100-199/${whole.body.byteLength}`)
    expect(part.body).toEqual(whole.body.slice(100, 200))
  })

  it('leaves a record in the bucket', async () => {
    const [key] = await until(async () => {
      const keys = await worker.keys('generations/')
      return keys.length > 0 && keys
    })
    expect(key).toMatch(new RegExp(`^generations/\\d{4}/\\d\\d/\\d\\d/${flagged.id}\\.json$`, 'u'))
    expect(await worker.object(key ?? '')).toMatchObject({
      id: flagged.id,
      nsfw: { verdict: 'flagged' },
    })
  })

  it('signs that record, and knows its hash', async () => {
    const [key = ''] = await worker.keys('generations/')
    const textNow = async () => `${JSON.stringify(await worker.object(key), null, 2)}\n`
    const hashInLedger = async () => {
      const [row] = await worker.sql(
        `select record_sha256 from generations
         where id = '${flagged.id}' and record_due_at is null`,
      )
      return row?.['record_sha256']
    }

    const text = await until(async () => {
      const found = await textNow()
      return sha256(Buffer.from(found)) === (await hashInLedger()) && found
    })
    const { verifiesRecord } = recordCapability({ linkSecrets: [LINK_SECRET] })
    expect(authorshipOf(text, { schema_version: 2 }, verifiesRecord)).toBe('ours')
  })

  it('finds a generation by its verdict', async () => {
    const { id } = await submitted(worker, { prompt: 'a meadow [nsfw=clear]' })
    await untilShown(worker, id, isSettled)
    const found = (await (await ask(worker, '/v1/generations?nsfw=flagged')).json()) as {
      data: Shown[]
    }
    expect(found.data.map((one) => one.id)).toEqual([flagged.id])
  })

  it('refuses a forged callback, and changes nothing for it', async () => {
    const { id } = await submitted(worker, { prompt: 'a harbour [result=never callback=lost]' })
    const forged = new URL(await webhookOf(id))
    forged.pathname = forged.pathname.replace(/.{64}$/u, '0'.repeat(64))
    const response = await fetch(forged, { method: 'POST', body: JSON.stringify(success(id)) })
    expect(response.status).toBe(404)
    expect(await shown(worker, id)).toMatchObject({ status: 'processing', images: [] })
  })

  it.each(['away', 'slow'] as const)(
    'keeps a callback while D1 is %s, and settles it once',
    async (mood) => {
      const { id } = await submitted(worker, { prompt: 'a harbour [result=never callback=lost]' })
      const webhook = await webhookOf(id)
      worker.d1.mood = mood
      const askedAt = performance.now()
      const response = await fetch(webhook, { method: 'POST', body: JSON.stringify(success(id)) })
      const tookMs = performance.now() - askedAt
      worker.d1.mood = 'well'
      expect({ status: response.status, inTime: tookMs < 2000 }).toEqual({
        status: 200,
        inTime: true,
      })
      expect(await worker.keys('spool/')).toHaveLength(1)

      await until(async () => {
        await worker.strike()
        return (await worker.keys('spool/')).length === 0
      })
      expect((await shown(worker, id)).status).toBe('succeeded')
      expect(await timeline(worker, id, 'callback')).toMatchObject([
        { detail: { decision: 'accepted', count: 1 } },
      ])
    },
  )

  it('logs no callback URL and no error', () => {
    expect(JSON.stringify(worker.logged)).not.toMatch(/callbacks\/[0-9a-f-]+\/[0-9a-f]{8}/u)
    const errors = worker.logged.filter(
      ({ level, error }) =>
        level === 'error' && !/Network connection lost|within/u.test(JSON.stringify(error)),
    )
    expect(errors).toEqual([])
  })
})

describe('the clock alone, where every wake is lost', () => {
  let home: Home
  let worker: Workerd

  beforeAll(async () => {
    home = await newHome()
    worker = await start(home, { wakes: false })
  })
  afterAll(async () => {
    await worker.kill()
    await home.remove()
  })

  it('archives what a callback offered', async () => {
    const { id } = await submitted(worker)
    await untilShown(worker, id, ({ status }) => status === 'succeeded')
    expect((await shown(worker, id)).images.map(({ status }) => status)).toEqual([
      'pending',
      'pending',
    ])
    await worker.strike()
    expect((await shown(worker, id)).archive_status).toBe('archived')
  })

  it('finds the result of a callback that was lost', async () => {
    const { id } = await submitted(worker, { prompt: 'a lighthouse [callback=lost]' })
    const generation = await until(async () => {
      await worker.strike()
      const now = await shown(worker, id)
      return isSettled(now) && now
    })
    expect(generation).toMatchObject({ status: 'succeeded', archive_status: 'archived' })
    expect(await timeline(worker, id, 'callback')).toEqual([])
  })
})

describe('a submission inside workerd', () => {
  it('is inflated, keeps every digit of its numbers, and held where a page answers', async () => {
    const asked: string[] = []
    const wall = await serve((request, response) => {
      request.setEncoding('utf8').on('data', (text: string) => asked.push(text))
      request.on('end', () => response.writeHead(404).end('<h1>Not Found</h1>'))
    })
    const home = await newHome()
    const worker = await start(home, {
      wakes: false,
      settings: { MODELSLAB_BASE_URL: `${wall.origin}/api/v6` },
    })
    const body = JSON.stringify({ ...inpaint(), seed: 0, track_id: 0 })
      .replace('"seed":0', '"seed":18446744073709551615')
      .replace('"track_id":0', '"track_id":1187654321098765432')

    const response = await ask(worker, '/v1/generations', {
      method: 'POST',
      headers: { 'content-encoding': 'gzip' },
      body: gzipSync(body),
    })
    const readyz = (await (await ask(worker, '/readyz')).json()) as { provider: string }

    expect(response.status).toBe(202)
    expect(await response.json()).toMatchObject({
      status: 'requested',
      client_track_id: '1187654321098765432',
      parameters: { seed: '18446744073709551615' },
    })
    expect(asked.join('')).toContain('"seed":18446744073709551615')
    expect(readyz.provider).toMatch(
      /^down since .*: HTTP 404 at \/api\/v6\/api\/v6\/images\/inpaint$/u,
    )
    await worker.kill()
    await home.remove()
  })
})

describe('a callback that names hostile links', () => {
  it('gets nothing copied, and nobody reached who may not be', async () => {
    let reached = 0
    const forbidden = await serve((_, response) => {
      reached++
      response.end('secret')
    })
    const { origin } = await serve((request, response) => {
      if (request.url === '/away')
        response.writeHead(302, { location: `${forbidden.origin}/a.png` }).end()
      else if (request.url === '/zipped')
        response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('a'))
      else if (request.url === '/huge')
        // workerd tells of an answer once a packet of it is full.
        response.writeHead(200, { 'content-length': 26 * 1024 * 1024 }).write('a'.repeat(65_536))
      else response.end('<svg xmlns="http://www.w3.org/2000/svg"/>')
    })
    const refused = {
      'https://127.0.0.1/a.png': 'refused_address',
      'https://[::1]/a.png': 'refused_address',
      'https://localhost/a.png': 'refused_address',
      [`${forbidden.origin}/a.png`]: 'refused_url',
      [`${origin}/away`]: 'refused_redirect',
      [`${origin}/huge`]: 'too_large',
      [`${origin}/zipped`]: 'not_an_image',
      [`${origin}/a.svg`]: 'not_an_image',
    }
    const home = await newHome()
    const worker = await start(home, {
      wakes: false,
      settings: { ALLOWED_PRIVATE_ORIGINS: origin },
    })
    const { id } = await submitted(worker, { prompt: 'a harbour [result=never callback=lost]' })
    await fetch(await webhookOf(id), {
      method: 'POST',
      body: JSON.stringify(success(id, Object.keys(refused))),
    })

    const attempts = await until(async () => {
      await worker.strike()
      const all = await timeline(worker, id, 'attempt')
      return (
        new Set(all.map(({ detail }) => detail['url'])).size === Object.keys(refused).length && all
      )
    })
    expect(
      Object.fromEntries(attempts.map(({ detail }) => [detail['url'], detail['code']])),
    ).toEqual(refused)
    expect(reached).toBe(0)
    expect(await worker.keys('sha256/')).toEqual([])
    await worker.kill()
    await home.remove()
  })
})

describe('a consumer that is killed half way', () => {
  it('leaves leases that expire, and its images are taken up', async () => {
    const home = await newHome()
    const settings = { LEASE_SECONDS: '8', DOWNLOAD_TIMEOUT_SECONDS: '60' }
    const first = await start(home, { settings })
    const { id } = await submitted(first, { prompt: 'a lighthouse [slow=5]' })
    await simulator.until((all) =>
      all.find(({ trackId }) => trackId === id)?.links.some(({ gets }) => gets.length > 0),
    )
    await first.kill()

    const second = await start(home, { settings, wakes: false })
    expect((await shown(second, id)).archive_status).toBe('pending')
    await until(async () => {
      await second.strike()
      return isSettled(await shown(second, id))
    })
    expect(await shown(second, id)).toMatchObject({ archive_status: 'archived' })
    expect(await timeline(second, id, 'archived')).toHaveLength(2)
    await second.kill()
    await home.remove()
  })
})
