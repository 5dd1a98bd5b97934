import { request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { createApp } from '../../src/http/app.ts'
import { dump, shown, submitted, type World, world } from '../support/world.ts'
import { problem } from '../support/doors.ts'

const MIB = 1024 * 1024
const NOBODY = '019c13ec-9e00-71b8-a8aa-37a2240d1d20'

const success = { status: 'success', id: 7, output: ['https://cdn.example.net/a.png'] }

/** The path of a generation's callback URL, in its parts. */
function capability({ deps }: World, id: string) {
  const [, , , mac = ''] = new URL(deps.callbackUrl(id)).pathname.split('/')
  return { mac, path: `/callbacks/${id}/${mac}` }
}

const deliver = ({ call }: World, path: string, init: RequestInit = {}) =>
  call(path, { method: 'POST', token: null, body: JSON.stringify(success), ...init })

/** A body that tells whether anybody read it. */
function watched(bytes = 10) {
  let reads = 0
  const stream = new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        reads++
        controller.enqueue(new Uint8Array(bytes))
        controller.close()
      },
    },
    { highWaterMark: 0 },
  )
  return { init: { body: stream, duplex: 'half' } as RequestInit, reads: () => reads }
}

describe('A callback URL that we did not make', () => {
  const forgeries: [string, (parts: { id: string; mac: string }) => string][] = [
    ['another MAC', ({ id }) => `/callbacks/${id}/${'0'.repeat(64)}`],
    [
      'one digit changed',
      ({ id, mac }) => `/callbacks/${id}/${mac.startsWith('0') ? '1' : '0'}${mac.slice(1)}`,
    ],
    ['a truncated MAC', ({ id, mac }) => `/callbacks/${id}/${mac.slice(0, -1)}`],
    ['an extended MAC', ({ id, mac }) => `/callbacks/${id}/${mac}0`],
    ['an upper-case MAC', ({ id, mac }) => `/callbacks/${id}/${mac.toUpperCase()}`],
    ['a MAC with a line end', ({ id, mac }) => `/callbacks/${id}/${mac}%0a`],
    ['a MAC that is no hex', ({ id }) => `/callbacks/${id}/${'z'.repeat(64)}`],
    ['an empty MAC', ({ id }) => `/callbacks/${id}/`],
    ['no MAC', ({ id }) => `/callbacks/${id}`],
    ['the MAC of another id', ({ mac }) => `/callbacks/${NOBODY}/${mac}`],
    ['the id in upper case', ({ id, mac }) => `/callbacks/${id.toUpperCase()}/${mac}`],
    ['an id that is none', ({ mac }) => `/callbacks/1/${mac}`],
    [
      'a UUID of another version',
      ({ mac }) => `/callbacks/019c13ec-9e00-41b8-a8aa-37a2240d1d20/${mac}`,
    ],
    ['a longer path', ({ id, mac }) => `/callbacks/${id}/${mac}/more`],
    ['percent signs', () => '/callbacks/%zz/%'],
  ]

  it.each(forgeries)(
    'with %s is answered the one 404, and changes nothing',
    async (_what, forge) => {
      const here = world()
      const { id } = await submitted(here)
      const unknown = await here.call('/nothing/of/the/kind', { method: 'POST', token: null })

      const response = await deliver(here, forge({ id, mac: capability(here, id).mac }))

      expect(response.status).toBe(404)
      expect(await response.text()).toBe(await unknown.text())
      expect(Object.fromEntries(response.headers)).toEqual(Object.fromEntries(unknown.headers))
      expect(await dump(here, 'callbacks')).toBe('[]')
      expect((await shown(here, id)).status).toBe('processing')
    },
  )

  it('has nobody read its body', async () => {
    const here = world()
    const { id } = await submitted(here)
    const forged = watched()
    const genuine = watched()

    await deliver(here, `/callbacks/${id}/${'0'.repeat(64)}`, forged.init)
    await deliver(here, capability(here, id).path, genuine.init)

    expect(forged.reads()).toBe(0)
    expect(genuine.reads()).toBe(1)
  })

  it('is answered to no other method', async () => {
    const here = world()
    const { path } = capability(here, (await submitted(here)).id)

    const answers = await Promise.all(
      ['GET', 'HEAD', 'PUT', 'DELETE'].map(async (method) => here.call(path, { method })),
    )

    expect(answers.map(({ status }) => status)).toEqual([404, 404, 404, 404])
  })
})

describe('POST /callbacks/{id}/{mac}', () => {
  it('needs no token', async () => {
    const here = world()
    const { id } = await submitted(here)

    const response = await deliver(here, capability(here, id).path)

    expect(response.status).toBe(200)
    expect(await shown(here, id)).toMatchObject({ status: 'succeeded', archive_status: 'pending' })
  })

  it.each([
    'application/json',
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data',
    'nonsense',
  ])('reads the body as JSON although it is called %s', async (type) => {
    const here = world()
    const { id } = await submitted(here)

    await deliver(here, capability(here, id).path, { headers: { 'content-type': type } })

    expect((await shown(here, id)).status).toBe('succeeded')
  })

  it('takes a query string that a sender adds', async () => {
    const here = world()
    const { id } = await submitted(here)

    expect((await deliver(here, `${capability(here, id).path}?attempt=2`)).status).toBe(200)
  })

  it.each([
    ['empty', '', 'unreadable'],
    ['no JSON', '<html>', 'unreadable'],
    ['an array', '[]', 'unreadable'],
    ['null', 'null', 'unreadable'],
    ['of an unknown status', '{"status":"done"}', 'unreadable'],
    ['of another track_id', '{"status":"success","track_id":"other"}', 'mismatched'],
    ['processing', '{"status":"processing"}', 'processing'],
    ['failed', '{"status":"failed","message":"no"}', 'accepted'],
  ])('answers 200 to a body that is %s, and keeps it', async (_what, body, decision) => {
    const here = world()
    const { id } = await submitted(here)

    const response = await deliver(here, capability(here, id).path, { body })

    expect(response.status).toBe(200)
    expect(await dump(here, 'callbacks')).toContain(`"decision":"${decision}"`)
  })

  it('answers 200 to an id that the ledger does not know, and adopts it', async () => {
    const here = world()

    const response = await deliver(here, capability(here, NOBODY).path)

    expect(response.status).toBe(200)
    expect(await shown(here, NOBODY)).toMatchObject({
      status: 'succeeded',
      submitted_by: null,
      parameters: null,
    })
  })

  it('accepts what any of the secrets signed, and signs with the first', async () => {
    const before = world({ CALLBACK_SECRETS: 'the-secret-of-last-year' })
    const after = world({ CALLBACK_SECRETS: 'the-secret-of-this-year, the-secret-of-last-year' })
    const retired = world({ CALLBACK_SECRETS: 'the-secret-of-this-year' })
    const { path } = capability(before, NOBODY)

    expect((await deliver(after, path)).status).toBe(200)
    expect((await deliver(retired, path)).status).toBe(404)
    expect(capability(after, NOBODY)).toEqual(capability(retired, NOBODY))
  })

  it.each([
    [
      'says its length',
      (body: Uint8Array) => ({ body, headers: { 'content-length': String(body.byteLength) } }),
    ],
    ['does not say its length', (body: Uint8Array) => ({ body })],
    [
      'lies about its length',
      (body: Uint8Array) => ({ body, headers: { 'content-length': 'many' } }),
    ],
  ])('answers 413 to a body over 1 MiB that %s, and keeps its first 4 KiB', async (_how, init) => {
    const here = world()
    const { id } = await submitted(here)
    const body = new Uint8Array(MIB + 1).fill(0x61)

    const response = await deliver(here, capability(here, id).path, init(body))

    expect(response.status).toBe(413)
    expect(await problem(response)).toMatchObject({ code: 'body_too_large' })
    const [row] = here.sqlite.db.$client
      .prepare('select decision, length(body) as bytes from callbacks')
      .all()
    expect(row).toEqual({ decision: 'too_large', bytes: 4096 })
  })

  it('takes a body of exactly 1 MiB', async () => {
    const here = world()
    const { id } = await submitted(here)
    const body = JSON.stringify({ ...success, tip: '' })
    const padded = body.replace('"tip":""', `"tip":"${'x'.repeat(MIB - body.length)}"`)

    const response = await deliver(here, capability(here, id).path, { body: padded })

    expect(padded).toHaveLength(MIB)
    expect(response.status).toBe(200)
    expect((await shown(here, id)).status).toBe('succeeded')
  })

  it('answers 503 with Retry-After within 2 s while another process writes, and takes the callback after', async () => {
    const here = world()
    const { id } = await submitted(here)
    const intruder = new Database(here.config.databasePath)
    intruder.exec('begin immediate')
    const startedAt = performance.now()

    const response = await deliver(here, capability(here, id).path)

    expect(performance.now() - startedAt).toBeLessThan(2000)
    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('5')
    expect(await dump(here, 'callbacks')).toBe('[]')
    intruder.exec('rollback')
    intruder.close()
    expect((await deliver(here, capability(here, id).path)).status).toBe(200)
  })

  const breakages: [string, (here: World) => void][] = [
    ['cannot be written', ({ refuseWrites }) => void refuseWrites()],
    ['cannot be read', ({ sqlite }) => sqlite.db.$client.exec('drop table callbacks')],
    [
      'has a bug',
      ({ deps }) =>
        void vi.spyOn(deps.ledger, 'known').mockImplementation(() => {
          throw new TypeError('undefined is not a function')
        }),
    ],
  ]

  it.each(breakages)('answers 503 with Retry-After when the ledger %s', async (_how, breakIt) => {
    const here = world()
    const { path } = capability(here, (await submitted(here)).id)
    breakIt(here)

    const response = await deliver(here, path)

    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('5')
    expect(here.logged.some(({ level }) => level === 'error')).toBe(true)
  })

  it('answers 503 when the body breaks off', async () => {
    const here = world()
    const { path } = capability(here, (await submitted(here)).id)
    const body = new ReadableStream({
      pull: (controller) => controller.error(new Error('aborted')),
    })

    const response = await deliver(here, path, { body, duplex: 'half' })

    expect(response.status).toBe(503)
  })

  it('never logs the MAC', async () => {
    const here = world()
    const { mac, path } = capability(here, (await submitted(here)).id)
    await deliver(here, path)
    await deliver(here, `/prefix${path}`)
    await deliver(here, `${path}/more`)
    await deliver(here, path.replace('callbacks', '%63allbacks'))
    here.sqlite.db.$client.exec('drop table callbacks')
    await deliver(here, path)

    expect(JSON.stringify(here.logged)).toContain('/***')
    expect(JSON.stringify(here.logged)).not.toContain(mac)
  })

  it('keeps no MAC and no API key that the body repeats', async () => {
    const here = world()
    const { id } = await submitted(here)
    const { mac, path } = capability(here, id)
    const meta = { webhook: here.deps.callbackUrl(id), key: here.config.modelsLab.apiKey }
    const body = JSON.stringify({ ...success, meta }).replaceAll('/', '\\/')

    await deliver(here, path, { body })

    const stored = here.sqlite.db.$client
      .prepare('select cast(body as text) as body from callbacks')
      .all()
    const everything =
      JSON.stringify([stored, await shown(here, id)]) + (await dump(here, 'generations'))
    expect(everything).toContain('***')
    expect(everything).not.toContain(mac)
    expect(everything).not.toContain(here.config.modelsLab.apiKey)
  })
})

/** The same doors behind a real socket. */
async function listening({ deps }: World) {
  const server = createAdaptorServer({ fetch: createApp(deps, { isDraining: () => false }).fetch })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return (server.address() as AddressInfo).port
}

/** What a sender sees that writes its whole body before it looks for an answer. */
function send(port: number, path: string, body: Uint8Array, headers: Record<string, string>) {
  return new Promise<number | undefined>((resolve, reject) => {
    const request = httpRequest({ port, path, method: 'POST', headers }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
    request.on('error', reject)
    request.end(body)
  })
}

describe('Over a real connection', () => {
  it.each([
    ['with Content-Length', { 'content-length': String(8 * MIB) }],
    ['chunked', { 'transfer-encoding': 'chunked' }],
  ])('a sender of 8 MiB %s gets its 413', async (_how, headers) => {
    const here = world()
    const { id } = await submitted(here)
    const port = await listening(here)

    const status = await send(port, capability(here, id).path, new Uint8Array(8 * MIB), headers)

    expect(status).toBe(413)
    expect(await dump(here, 'callbacks')).toContain('too_large')
  })

  it('a sender of 8 MiB to a wrong URL gets its 404', async () => {
    const port = await listening(world())

    expect(await send(port, `/callbacks/${NOBODY}/x`, new Uint8Array(8 * MIB), {})).toBe(404)
  })
})
