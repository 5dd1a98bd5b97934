import { beforeEach, describe, expect, it } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import type { Reply } from '../../src/model/outcome.ts'
import { sendHeld } from '../../src/work/held.ts'
import { reconcileDue } from '../../src/work/reconcile.ts'
import { recordDue } from '../../src/work/record.ts'
import { HOUR, offered } from '../support/archiving.ts'
import { until } from '../support/process/program.ts'
import { happened, LINK, png, shown, submitted, type World, world } from '../support/world.ts'

describe('a clock that ran ahead, and was set right', () => {
  /** Whether the process was down meanwhile, or saw nothing of it in time. */
  const MEANWHILE: [string, (here: World) => Promise<void>][] = [
    ['while the service was down', (here) => here.restart()],
    ['under it', () => Promise.resolve()],
  ]
  /** A clock that may be ahead by years: a machine that woke without knowing the time. */
  const AHEAD = [HOUR, 2 * HOUR, 24 * 365 * HOUR]
  const CASES = MEANWHILE.flatMap(([when, pass]) =>
    AHEAD.map((ahead): [number, string, World['restart']] => [ahead, when, () => pass(here)]),
  )
  let here: World

  beforeEach(() => {
    here = world({ MAX_IN_FLIGHT: '2' })
  })

  it.each(CASES)('by %i s holds nothing back after a refusal: %s', async (ahead, _when, pass) => {
    here.clock.advance(ahead)
    here.provider.isFull(60)
    const { id } = await submitted(here)
    here.clock.advance(-ahead)
    await pass()

    expect(await sendHeld(here.deps)).toBe(1)
    await here.idle()

    expect((await shown(here, id)).status).toBe('processing')
  })

  it.each(CASES)('by %i s lets a refusal count from now on: %s', async (ahead, _when, pass) => {
    here.clock.advance(ahead)
    here.provider.isFull(60)
    await submitted(here)
    here.clock.advance(-ahead)
    await pass()
    here.provider.isFull(30)
    await sendHeld(here.deps)
    await here.idle()

    expect(await sendHeld(here.deps)).toBe(0)
    here.clock.advance(31)
    expect(await sendHeld(here.deps)).toBe(1)
  })

  it.each(CASES)('by %i s leaves room for others: %s', async (ahead, _when, pass) => {
    here.clock.advance(ahead)
    for (let n = 0; n < 2; n++) {
      here.provider.losesItsAnswer()
      await submitted(here)
    }
    here.clock.advance(-ahead)
    await pass()

    expect((await submitted(here)).status).toBe('processing')
  })

  it.each(CASES)('by %i s asks for results at once: %s', async (ahead, _when, pass) => {
    here.clock.advance(ahead)
    const { provider_id } = await submitted(here)
    here.clock.advance(-ahead)
    await pass()

    await reconcileDue(here.deps, 10)
    await reconcileDue(here.deps, 10)

    expect(here.provider.fetches).toEqual([provider_id])
  })

  it.each(CASES)('by %i s writes records at once: %s', async (ahead, _when, pass) => {
    here.clock.advance(ahead)
    here.provider.answers({ status: 'error', message: 'no' })
    const { id } = await submitted(here)
    here.clock.advance(-ahead)
    await pass()

    expect(await recordDue(here.deps, 10)).toBe(1)
    expect(await recordDue(here.deps, 10)).toBe(0)
    expect(await happened(here, id, 'record_written')).toHaveLength(1)
  })

  it.each(CASES)('by %i s copies at once what had failed: %s', async (ahead, _when, pass) => {
    here.clock.advance(ahead)
    const id = await offered(here, { output: [LINK] })
    await archiveDue(here.deps, 1)
    here.cdn.pages.set(LINK, await png('red'))
    here.clock.advance(-ahead)
    await pass()

    await archiveDue(here.deps, 1)

    expect((await shown(here, id)).archive_status).toBe('archived')
  })

  it.each(AHEAD)('by %i s prolongs no lease of a fetch that is not heard of', async (ahead) => {
    here.clock.advance(ahead)
    const { provider_id } = await submitted(here)
    here.clock.advance(600)
    here.provider.results.push(() => new Promise<Reply>(() => undefined))
    void reconcileDue(here.deps, 1)
    await until(() => here.provider.fetches.length === 1)
    here.clock.advance(-ahead)

    await reconcileDue(here.deps, 1)

    expect(here.provider.fetches).toEqual([provider_id, provider_id])
  })
})

it('is asked to wait for a year, and waits for a quarter of an hour', async () => {
  const here = world()
  here.provider.isFull(31_536_000)
  await submitted(here)
  const asked = await submitted(here)
  await here.idle()

  here.clock.advance(15 * 60 - 1)
  expect(await sendHeld(here.deps)).toBe(0)
  here.clock.advance(1)
  expect(await sendHeld(here.deps)).toBe(1)
  expect(asked.status).toBe('requested')
})
