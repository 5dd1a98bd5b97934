import Database from 'better-sqlite3'
import { describe, expect, it, vi } from 'vitest'
import { watchHealth } from '../../src/observe/health.ts'
import { archiveDue } from '../../src/work/archive.ts'
import { png, submitted, world } from '../support/world.ts'
import { draining, succeeded } from '../support/doors.ts'

describe('GET /livez', () => {
  it('answers 200 without a token, even when nothing can be written', async () => {
    const here = world()
    here.sqlite.db.$client.pragma('query_only = on')

    const response = await here.call('/livez', { token: null })

    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({ status: 'ok' })
  })
})

describe('GET /readyz', () => {
  it('answers 200 without a token while a callback would be kept', async () => {
    const response = await world().call('/readyz', { token: null })

    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({
      status: 'ready',
      ledger: 'ok',
      objects: 'ok',
      provider: 'ok',
    })
  })

  it('answers 503 once the ledger cannot be written, and 200 again after', async () => {
    const here = world()
    here.sqlite.db.$client.pragma('query_only = on')

    const response = await here.call('/readyz', { token: null })

    expect(response.status).toBe(503)
    expect(await response.json()).toMatchObject({ status: 'not_ready', ledger: 'not writable' })
    here.sqlite.db.$client.pragma('query_only = off')
    expect((await here.call('/readyz', { token: null })).status).toBe(200)
  })

  it('says once a minute that the ledger cannot be written, however often it is asked, and once that it can again', async () => {
    const here = world()
    const said = () =>
      here.logged
        .map(({ message }) => message)
        .filter((message) => message.includes('the ledger can'))
    const writeAgain = here.refuseWrites()
    for (let n = 0; n < 5; n++) await here.call('/readyz', { token: null })
    here.clock.advance(60)
    await here.call('/readyz', { token: null })
    writeAgain()

    for (let n = 0; n < 2; n++) await here.call('/readyz', { token: null })

    const cannot = 'the ledger cannot be written'
    expect(said()).toEqual([cannot, cannot, 'the ledger can be written again'])
  })

  it('answers 503 while another process holds the ledger', async () => {
    const here = world()
    const intruder = new Database(here.config.databasePath)
    intruder.exec('begin immediate')

    expect((await here.call('/readyz')).status).toBe(503)
    intruder.close()
  })

  it('answers 503 while draining, when livez still says 200', async () => {
    const app = draining(world())

    const response = await app.request('/readyz')

    expect(response.status).toBe(503)
    expect(await response.json()).toMatchObject({ status: 'not_ready', ledger: 'draining' })
    expect((await app.request('/livez')).status).toBe(200)
  })

  it('answers 200 with the time since when the store is away', async () => {
    const here = world()
    const put = vi.spyOn(here.store, 'put').mockRejectedValue(new Error('away'))
    const image = 'https://cdn.example.net/a.png'
    await succeeded(here, { output: [image] }, { [image]: await png('red') })
    here.clock.advance(90)

    const response = await here.call('/readyz')

    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject({
      status: 'ready',
      objects: 'down since 2026-01-31T12:00:00.000Z',
    })
    put.mockRestore()
    await archiveDue(here.deps, 10)
    expect(await (await here.call('/readyz')).json()).toMatchObject({ objects: 'ok' })
  })

  it.each([
    ['a timeout', { status: 'unreadable', reason: 'timeout' } as const],
    [
      'nobody listening',
      { status: 'held', retryAfterSeconds: null, full: false, reason: 'refused' } as const,
    ],
  ])('answers 200 with the time since when the provider is away: %s', async (_what, reply) => {
    const here = world()
    here.provider.replies.push(() => reply)
    await submitted(here)

    expect(await (await here.call('/readyz')).json()).toMatchObject({
      status: 'ready',
      provider: 'down since 2026-01-31T12:00:00.000Z',
    })
  })

  it('counts a refusal as an answer of the provider', async () => {
    const here = world()
    here.provider.answers({ status: 'error', message: 'Rate limit exceeded.', retry_after: 30 })
    await submitted(here)

    expect(await (await here.call('/readyz')).json()).toMatchObject({ provider: 'ok' })
  })
})

describe('watchHealth', () => {
  const watch = () => {
    const clock = { now: Date.UTC(2026, 0, 31, 12) }
    const lines: string[] = []
    const health = watchHealth(
      (level, message) => lines.push(`${level}: ${message}`),
      () => clock.now,
    )
    return { health, lines, clock }
  }

  it('says that a part is away once a minute, however often it fails, and once that it is back', () => {
    const { health, lines, clock } = watch()

    for (let second = 0; second < 121; second++, clock.now += 1000) health.objects(false)
    health.objects(true)
    health.objects(true)

    expect(lines).toEqual([
      'error: the object store does not answer',
      'error: the object store does not answer',
      'error: the object store does not answer',
      'info: the object store answers again',
    ])
  })

  it('says no more of a part that comes and goes within the minute', () => {
    const { health, lines, clock } = watch()

    for (let second = 0; second < 30; second++, clock.now += 1000) health.objects(second % 2 === 1)

    expect(lines).toEqual([
      'error: the object store does not answer',
      'info: the object store answers again',
    ])
    expect(health.read().objects).toBe('ok')
  })

  it('keeps the parts apart, and the first moment of a failure', () => {
    const { health, clock } = watch()

    health.provider(false)
    clock.now += 5000
    health.provider(false)

    expect(health.read()).toEqual({
      objects: 'ok',
      provider: 'down since 2026-01-31T12:00:00.000Z',
    })
  })
})
