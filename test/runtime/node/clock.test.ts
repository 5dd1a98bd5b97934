import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { archiveDue } from '../../../src/work/archive.ts'
import { createArchiver } from '../../../src/runtime/slots.ts'
import { ImageFailure } from '../../../src/errors.ts'
import { startLoop } from '../../../src/runtime/node/loop.ts'
import { reconcileDue } from '../../../src/work/reconcile.ts'
import { absent, hanging, HOUR, offered } from '../../support/archiving.ts'
import { until } from '../../support/process/program.ts'
import { LINK, png, shown, submitted, type World, world } from '../../support/world.ts'

const SET_BACK = 5 * HOUR

/** The loop of the service, on the world's clock. */
function looping({ deps }: World) {
  const loop = startLoop(deps)
  deps.wake = loop.wake
  onTestFinished(() => loop.stop())
}

describe('a clock that is set back by hours', () => {
  it('does not hold up what waits for its next attempt', async () => {
    const here = world()
    const id = await offered(here, { output: [LINK] })
    await archiveDue(here.deps, 1)
    here.cdn.pages.set(LINK, await png('red'))

    here.clock.advance(-SET_BACK)
    await archiveDue(here.deps, 1)

    expect((await shown(here, id)).archive_status).toBe('archived')
  })

  it('does not hold up what was offered before it', async () => {
    const here = world()
    const id = await offered(here, { output: [LINK] })
    here.cdn.pages.set(LINK, await png('red'))

    here.clock.advance(-SET_BACK)
    await archiveDue(here.deps, 1)

    expect((await shown(here, id)).archive_status).toBe('archived')
  })

  it('does not prolong the lease of a download that hangs', async () => {
    const here = world()
    const stuck = hanging(here, LINK)
    const id = await offered(here, { output: [LINK] })
    const dead = archiveDue(here.deps, 1)
    await stuck.asked
    here.cdn.pages.set(LINK, await png('red'))

    here.clock.advance(-SET_BACK)
    await archiveDue(here.deps, 1)
    stuck.fail(new ImageFailure('timeout', 'too late'))
    await dead

    expect((await shown(here, id)).archive_status).toBe('archived')
  })

  it('does not keep the store from being probed', async () => {
    const here = world()
    const id = await offered(here, { output: [LINK] })
    here.cdn.pages.set(LINK, await png('red'))
    const put = vi.spyOn(here.store, 'put').mockRejectedValue(new Error('away'))
    const archiver = createArchiver(here.deps)
    await archiver.drain(1)
    here.clock.advance(2)
    await archiver.drain(1)
    put.mockRestore()

    here.clock.advance(-SET_BACK)
    await archiver.drain(1)

    expect((await shown(here, id)).archive_status).toBe('archived')
  })

  it('does not hold up requests that were refused for now, nor fetches', async () => {
    const here = world()
    const asked = await submitted(here)
    here.provider.isFull(30)
    const { id } = await submitted(here)
    looping(here)
    await until(async () => (await shown(here, id)).status === 'requested')
    here.provider.knows({ status: 'failed', message: 'Failed, Try Again' })

    here.clock.advance(-SET_BACK)
    await until(() => here.logged.find(({ message }) => message === 'the clock was set back'))
    here.clock.advance(60)

    await until(async () => (await shown(here, asked.id)).status === 'failed')
    await until(async () => (await shown(here, id)).status !== 'requested')
  })
})

it('asks for results, and copies, at once after the clock has jumped ahead', async () => {
  const here = world()
  const asked = await submitted(here)
  const id = await offered(here, { output: [LINK] })
  here.cdn.pages.set(LINK, absent)
  await archiveDue(here.deps, 1)
  here.cdn.pages.set(LINK, await png('red'))

  here.clock.advance(SET_BACK)
  await reconcileDue(here.deps, 10)
  await archiveDue(here.deps, 1)

  expect(here.provider.fetches).toHaveLength(1)
  expect(here.provider.fetches).toEqual([asked.provider_id])
  expect((await shown(here, id)).archive_status).toBe('archived')
})
