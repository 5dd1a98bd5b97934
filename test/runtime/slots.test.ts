import { expect, it } from 'vitest'
import { createArchiver } from '../../src/runtime/slots.ts'
import { createVisits } from '../../src/runtime/visits.ts'
import type { Get } from '../../src/deps.ts'
import { keys, offered } from '../support/archiving.ts'
import { happened, png, shown, world } from '../support/world.ts'

const HANGS = 'https://hangs.example.net/a.png'
const GOOD = 'https://good.example.net/a.png'

/** Two archivers that share three slots, as two invocations of a Worker do. */
async function twoArchivers(hangs: 'at once' | 'within its picture' = 'at once') {
  const here = world({ ARCHIVE_CONCURRENCY: '3' })
  const picture = await png('red')
  const brokenOff: string[] = []
  let wasAsked = () => {}
  const asked = new Promise<void>((resolve) => (wasAsked = resolve))
  let close = () => {}
  const closed = new Promise<void>((resolve) => (close = resolve))
  here.cdn.pages.set(GOOD, picture)
  const hang = (signal: AbortSignal) =>
    new Promise<never>((_, reject) => {
      wasAsked()
      signal.addEventListener('abort', () => {
        brokenOff.push(HANGS)
        void closed.then(() => reject(new Error('aborted')))
      })
    })
  async function* halfOfIt(signal: AbortSignal) {
    yield picture.subarray(0, picture.length / 2)
    await hang(signal)
  }
  const get: Get = async (url, signal) => {
    if (url.href !== HANGS) return here.cdn.get(url, signal)
    if (hangs === 'at once') return hang(signal)
    const body = halfOfIt(signal)
    return { status: 200, header: () => undefined, body, discard: () => undefined }
  }
  const deps = { ...here.deps, get }
  const visits = createVisits(deps)
  const archiver = () => createArchiver(deps, { visits })
  return { here, asked, brokenOff, close, first: archiver(), second: archiver() }
}

it('keeps nothing of a picture that it broke off itself', async () => {
  const { here, asked, close, first, second } = await twoArchivers('within its picture')
  const stuck = await offered(here, { output: [HANGS] })
  const drained = first.drain(10)
  await asked
  here.clock.advance(2)
  await drained
  const ended = first.idle()
  await offered(here, { output: [GOOD] })

  await second.drain(10)
  close()
  await ended

  expect((await shown(here, stuck)).images).toMatchObject([{ status: 'pending', attempts: 1 }])
  expect(await happened(here, stuck, 'attempt')).toEqual([])
  expect((await keys(here)).filter((key) => key.startsWith('sha256/'))).toHaveLength(1)
})

it('ends its drain while a host hangs, and gives way to what another archiver finds', async () => {
  const { here, asked, brokenOff, close, first, second } = await twoArchivers()
  const stuck = await offered(here, { output: [HANGS] })
  const drained = first.drain(10)
  await asked
  here.clock.advance(2)
  expect(await drained).toBe(1)
  const ended = first.idle()
  const id = await offered(here, { output: [GOOD] })

  expect(await second.drain(10)).toBe(1)
  close()
  await ended

  expect(brokenOff).toEqual([HANGS])
  expect((await shown(here, id)).archive_status).toBe('archived')
  expect((await shown(here, stuck)).images).toMatchObject([{ status: 'pending', attempts: 1 }])
})

it('waits no longer than a lease for those of an invocation that was cut off', async () => {
  const here = world({ ARCHIVE_CONCURRENCY: '1' })
  const visits = createVisits(here.deps, here.config.leaseMs)
  const cutOff = createArchiver(here.deps, {
    visits,
    copy: (_deps, _image, slot) => {
      slot?.heard('bytes')
      return new Promise(() => undefined)
    },
  })
  await offered(here, { output: ['https://cut-off.example.net/a.png'] })
  await cutOff.fill(1)
  here.cdn.pages.set(GOOD, await png('red'))
  const id = await offered(here, { output: [GOOD] })
  const next = createArchiver(here.deps, { visits })

  expect(await next.fill(1)).toBe(0)
  here.clock.advance(here.config.leaseMs / 1000)
  await next.drain(10)

  expect((await shown(here, id)).archive_status).toBe('archived')
})

it('begins nothing any more once it is stopped', async () => {
  const here = world()
  here.cdn.pages.set(GOOD, await png('red'))
  await offered(here, { output: [GOOD] })
  const archiver = createArchiver(here.deps)
  archiver.stop()

  expect(await archiver.fill(10)).toBe(0)
})
