import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { ObjectStore, StoredObject } from '../../src/deps.ts'
import { patientStore } from '../../src/objects/patient.ts'
import { watchHealth } from '../../src/observe/health.ts'
import { bytes, put } from '../conformance/object-store.ts'

const MINUTE = 60_000

const stored = (): StoredObject => ({ bytes: 1, body: ReadableStream.from([bytes('a')]) })
const away = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
const denied = Object.assign(new Error('AccessDenied'), { $metadata: { httpStatusCode: 403 } })

/** A store of which each answer is said here, seen through our patience. */
function watched() {
  const clock = { now: Date.UTC(2026, 0, 31, 12) }
  const logged: { message: string; fields: Record<string, unknown> }[] = []
  const log = (_level: string, message: string, fields: Record<string, unknown> = {}) =>
    logged.push({ message, fields })
  const behind = {
    put: vi.fn<ObjectStore['put']>().mockResolvedValue(null),
    get: vi.fn<ObjectStore['get']>(() => Promise.resolve(stored())),
    head: vi.fn<ObjectStore['head']>().mockResolvedValue(null),
    delete: vi.fn<ObjectStore['delete']>().mockResolvedValue(),
    list: vi.fn<ObjectStore['list']>(),
  }
  const now = () => clock.now
  const health = watchHealth(log, now)
  const cameBack = vi.fn()
  const store = patientStore(behind, { health, cameBack, log, now })
  return { store, behind, health: () => health.read().objects, cameBack, logged, clock }
}

const DOWN = /^down since/u

describe('whether the store is away', () => {
  it('is told by a put that it did not take, and by the next one that it does', async () => {
    const { store, behind, health, cameBack } = watched()
    behind.put.mockRejectedValueOnce(denied)
    await expect(put(store, 'a', bytes('a'))).rejects.toBe(denied)
    expect(health()).toMatch(DOWN)
    expect(cameBack).not.toHaveBeenCalled()

    await put(store, 'a', bytes('a'))
    await put(store, 'a', bytes('a'))
    expect(health()).toBe('ok')
    expect(cameBack).toHaveBeenCalledOnce()
  })

  it.each([
    denied,
    new Error('the store did not say how long the object is'),
    Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' }),
    Object.assign(new Error('25 s'), { name: 'TimeoutError', code: 'ETIMEDOUT' }),
  ])('is nothing that one object tells which cannot be read (%s)', async (error) => {
    const { store, behind, health } = watched()
    behind.get.mockRejectedValue(error)
    await expect(store.get('a')).rejects.toBe(error)
    expect(health()).toBe('ok')
  })

  it('is told by a reader who finds nobody there, and by the next who does', async () => {
    const { store, behind, health, cameBack } = watched()
    behind.get.mockRejectedValueOnce(away)
    await expect(store.get('a')).rejects.toBe(away)
    expect(health()).toMatch(DOWN)

    await store.get('a')
    expect(health()).toBe('ok')
    expect(cameBack).toHaveBeenCalledOnce()
  })

  it('is not decided by readers where it takes nothing and can be read', async () => {
    const { store, behind, health, cameBack } = watched()
    behind.put.mockRejectedValue(denied)
    await expect(put(store, 'a', bytes('a'))).rejects.toBe(denied)
    for (let n = 0; n < 3; n++) await store.get('a')
    expect(health()).toMatch(DOWN)
    expect(cameBack).not.toHaveBeenCalled()
  })
})

it('says which object cannot be read, once a minute however many ask', async () => {
  const { store, behind, logged, clock } = watched()
  behind.get.mockRejectedValue(denied)
  for (let second = 0; second <= 120; second++, clock.now += 1000)
    await expect(store.get('a')).rejects.toBe(denied)
  expect(logged).toHaveLength(3)
  expect(logged[0]).toEqual({
    message: 'an object cannot be read',
    fields: { key: 'a', error: denied },
  })
})

it('hands on all else as it is, and signs only where the store does', async () => {
  const { store, behind } = watched()
  await store.head('a')
  await store.delete('b')
  store.list('c')
  expect(behind.head).toHaveBeenCalledWith('a')
  expect(behind.delete).toHaveBeenCalledWith('b')
  expect(behind.list).toHaveBeenCalledWith('c')
  expect(store).not.toHaveProperty('presign')
})

describe('a store that hangs', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  const hanging = () => new Promise<never>(() => undefined)

  it('is given up once it has answered nobody for as long as the put may last', async () => {
    const { store, behind, health } = watched()
    behind.put.mockImplementation(hanging)
    const waited = put(store, 'a', new Uint8Array(1024 * 1000), { sha256: 'of no interest' })
    const failed = expect(waited).rejects.toThrow('answered nobody for 11 s')
    await vi.advanceTimersByTimeAsync(10_999)
    expect(health()).toBe('ok')
    await vi.advanceTimersByTimeAsync(1)
    await failed
    expect(health()).toMatch(DOWN)
  })

  it('is waited for as long as it takes something of others', async () => {
    const { store, behind, health } = watched()
    behind.put.mockImplementationOnce(hanging)
    const waited = put(store, 'a', bytes('a'))
    const failed = expect(waited).rejects.toThrow('answered nobody')
    for (let n = 0; n < 6; n++) {
      await vi.advanceTimersByTimeAsync(9_000)
      await put(store, 'b', bytes('b'))
    }
    expect(health()).toBe('ok')
    await vi.advanceTimersByTimeAsync(MINUTE)
    await failed
  })

  it('is not waited for because it lets itself be read', async () => {
    const { store, behind } = watched()
    behind.put.mockImplementation(hanging)
    const failed = expect(put(store, 'a', bytes('a'))).rejects.toThrow('answered nobody')
    for (let n = 0; n < 4; n++) {
      await vi.advanceTimersByTimeAsync(5_000)
      await store.get('b')
    }
    await failed
  })

  it('leaves no timer behind', async () => {
    const { store } = watched()
    await put(store, 'a', bytes('a'))
    expect(vi.getTimerCount()).toBe(0)
  })
})
