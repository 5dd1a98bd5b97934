import { beforeEach, describe, expect, it, vi } from 'vitest'
import worker from '../../../src/worker.ts'

const lines: string[] = []
beforeEach(() => {
  lines.length = 0
  const spy = vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.push(line))
  return () => spy.mockRestore()
})

const away = () => Promise.reject(new Error('D1_ERROR: Network connection lost.'))
const statement = { bind: () => statement, all: away, raw: away, run: away }
const bindings = {
  DB: { prepare: () => statement, batch: away },
  OBJECTS: { put: away, get: away, head: away, delete: away, list: away },
  WAKES: { send: away },
}
const complete = {
  MODELSLAB_API_KEY: 'api-key-of-the-settings',
  PUBLIC_URL: 'https://images.example.com',
  CALLBACK_SECRETS: 'callback-secret-of-the-settings',
}

async function ask(settings: Record<string, unknown>, path: string) {
  const background: Promise<unknown>[] = []
  const response = await worker.fetch(
    new Request(`https://images.example.com${path}`),
    { ...bindings, ...settings },
    { waitUntil: (work) => background.push(work) },
  )
  await Promise.all(background)
  return response
}

describe('a Worker whose settings are not complete', () => {
  it.each([
    ['MODELSLAB_API_KEY', { ...complete, MODELSLAB_API_KEY: undefined }],
    ['PUBLIC_URL', { ...complete, PUBLIC_URL: '' }],
    ['CALLBACK_SECRETS', { ...complete, CALLBACK_SECRETS: ' ' }],
  ])('answers 503 everywhere, and its log names %s', async (name, settings) => {
    for (const path of ['/livez', '/v1/generations', '/callbacks/a/b']) {
      const response = await ask(settings, path)
      expect(response.status).toBe(503)
      expect(await response.json()).toMatchObject({ code: 'unavailable' })
    }
    await worker.queue({}, { ...bindings, ...settings })
    await worker.scheduled({}, { ...bindings, ...settings })
    expect(lines).toHaveLength(5)
    for (const line of lines)
      expect(JSON.parse(line)).toMatchObject({
        level: 'error',
        settings: [{ pointer: name, message: expect.any(String) as string }],
      })
    expect(lines.join()).not.toContain(complete.CALLBACK_SECRETS)
  })

  it('lets nobody in while no token is set', async () => {
    expect((await ask(complete, '/v1/generations')).status).toBe(503)
    expect((await ask(complete, '/livez')).status).toBe(200)
  })

  it('takes numbers and truths of wrangler.toml as they stand there', async () => {
    expect(
      (await ask({ ...complete, LEASE_SECONDS: 90, S3_FORCE_PATH_STYLE: true }, '/livez')).status,
    ).toBe(200)
    expect((await ask({ ...complete, LEASE_SECONDS: -1 }, '/livez')).status).toBe(503)
  })

  it('works without LINK_SECRETS, and says once that records are not signed', async () => {
    const saying = () => lines.filter((line) => line.includes('LINK_SECRETS'))
    const here = { ...bindings, ...complete }
    for (let n = 0; n < 3; n++) await worker.scheduled({}, here)
    expect(saying()).toHaveLength(1)

    await ask({ ...complete, LINK_SECRETS: 'link-secret-of-the-settings' }, '/livez')
    expect(saying()).toHaveLength(1)
    expect(lines.join()).not.toContain('link-secret-of-the-settings')
  })

  it('survives a clock that strikes while everything is away', async () => {
    const here = { ...bindings, ...complete }
    await worker.scheduled({}, here)
    await worker.queue({}, here)
    expect(lines.map((line) => (JSON.parse(line) as { message: string }).message)).toEqual(
      expect.arrayContaining(['emptying the spool failed', 'the ledger cannot be written']),
    )
  })
})

describe('a request whose client hangs up', () => {
  it('is worked on to its end: Cloudflare is told of it before it is answered', async () => {
    const happened: string[] = []
    const answered = worker.fetch(
      new Request('https://images.example.com/readyz'),
      { ...bindings, ...complete },
      { waitUntil: (work) => void work.then(() => happened.push('ended')) },
    )
    expect(happened).toEqual([])
    expect((await answered).status).toBe(503)
    happened.push('answered')
    await vi.waitFor(() => expect(happened).toEqual(['answered', 'ended']))
  })
})
