import { describe, expect, it } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { expireOverdue, reconcileDue } from '../../src/work/reconcile.ts'
import {
  failure,
  happened,
  LINK,
  MIRROR,
  OTHER_LINK,
  png,
  shown,
  submitted,
  success,
  type GenerationJson,
  type World,
  world,
} from '../support/world.ts'

const DAY = 24 * 3600
const DEAD = '?Expires=1500000000'

describe('a retry of lost images', () => {
  it('makes them due again, and only them', async () => {
    const here = world()
    here.cdn.pages.set(OTHER_LINK, await png('blue'))
    const { id, lost } = await withLostImages(here, { output: [`${LINK}${DEAD}`, OTHER_LINK] })
    here.cdn.pages.set(`${LINK}${DEAD}`, await png('red'))
    here.cdn.gets.length = 0

    const response = await retry(here, id)
    const pending = (await response.json()) as GenerationJson
    here.clock.advance(5)
    await archiveDue(here.deps, 10)

    expect([response.status, pending.archive_status, pending.archived_at]).toEqual([
      202,
      'pending',
      null,
    ])
    expect(lost).toMatchObject({ archive_status: 'partial' })
    expect(here.cdn.gets).toEqual([`${LINK}${DEAD}`])
    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'archived',
      archived_at: new Date(here.clock.now).toISOString(),
    })
  })

  it('tries every place again, and asks for fresh links once more', async () => {
    const here = world()
    const { id } = await withLostImages(here, { output: [`${LINK}${DEAD}`] })
    here.provider.fetches.length = here.cdn.gets.length = 0

    await retry(here, id)
    here.provider.knows(success(id))
    here.cdn.pages.set(LINK, await png('red'))
    for (let turn = 0; turn < 3; turn++) await here.turn()

    expect(here.cdn.gets).toEqual([`${LINK}${DEAD}`, LINK])
    expect(here.provider.fetches).toHaveLength(1)
    expect(await shown(here, id)).toMatchObject({ archive_status: 'archived' })
  })

  it('knows the links that were offered when it was too late', async () => {
    const here = world()
    const { id } = await withLostImages(here, { output: [`${LINK}${DEAD}`] })
    here.cdn.pages.set(LINK, await png('red'))
    await here.callback(id, success(id))
    await here.turn()
    const meanwhile = await shown(here, id)

    await retry(here, id)
    await here.turn()
    await here.turn()

    expect(meanwhile).toMatchObject({ archive_status: 'lost' })
    expect(await shown(here, id)).toMatchObject({ archive_status: 'archived' })
  })

  it('ends as lost again where nothing has changed', async () => {
    const here = world()
    const { id } = await withLostImages(here, {
      output: [`${LINK}${DEAD}`],
      proxy_links: [`${MIRROR}${DEAD}`],
    })

    await retry(here, id)
    here.provider.knows(failure(id))
    for (let turn = 0; turn < 5; turn++) await here.turn()

    expect(await shown(here, id)).toMatchObject({ status: 'succeeded', archive_status: 'lost' })
  })

  it('is told in the timeline', async () => {
    const here = world()
    const { id } = await withLostImages(here, { output: [`${LINK}${DEAD}`] })

    await retry(here, id)

    expect(await happened(here, id, 'retried')).toMatchObject([
      { images: [{ source: 'output', position: 0 }], fetch: false },
    ])
  })
})

describe('a retry of a result that never came', () => {
  it('asks for it once more', async () => {
    const here = world()
    const { id } = await submitted(here)
    here.clock.advance(DAY + 1)
    await expireOverdue(here.deps)
    here.provider.knows(success(id))

    const response = await retry(here, id)
    await reconcileDue(here.deps, 10)

    expect(response.status).toBe(202)
    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'pending',
      failure: null,
    })
    expect(await happened(here, id, 'retried')).toMatchObject([{ images: [], fetch: true }])
  })

  it('leaves it failed where the provider says so', async () => {
    const here = world()
    const { id } = await submitted(here)
    here.clock.advance(DAY + 1)
    await expireOverdue(here.deps)
    here.provider.knows(failure(id))

    await retry(here, id)
    await reconcileDue(here.deps, 10)
    here.clock.advance(DAY)

    expect(await reconcileDue(here.deps, 10)).toBe(0)
    expect(await shown(here, id)).toMatchObject({
      status: 'failed',
      failure: { code: 'no_result' },
    })
  })
})

describe('a retry changes nothing', () => {
  const cases: [string, (here: World) => Promise<string>][] = [
    ['that is running', async (here) => (await submitted(here)).id],
    [
      'that the provider refused',
      async (here) => {
        here.provider.answers({ status: 'error', message: 'Invalid model' })
        return (await submitted(here)).id
      },
    ],
    [
      'that is unconfirmed and past its deadline',
      async (here) => {
        here.provider.losesItsAnswer()
        const { id } = await submitted(here)
        here.clock.advance(DAY + 1)
        await expireOverdue(here.deps)
        return id
      },
    ],
    [
      'that is archived',
      async (here) => {
        here.cdn.pages.set(LINK, await png('red'))
        const { id } = await submitted(here)
        await here.callback(id, success(id))
        await archiveDue(here.deps, 10)
        return id
      },
    ],
  ]

  it.each(cases)('of a generation %s, and submits nothing', async (_what, make) => {
    const here = world()
    const id = await make(here)
    const before = await shown(here, id)

    const response = await retry(here, id)
    await here.turn()

    expect(response.status).toBe(202)
    expect(await response.json()).toEqual(before)
    expect(await happened(here, id, 'retried')).toEqual([])
    expect(here.provider.submissions).toHaveLength(1)
  })

  it('of a generation that does not exist: 404', async () => {
    const here = world()

    expect((await retry(here, '019c13ec-9e00-7000-8000-000000000000')).status).toBe(404)
  })
})

const retry = ({ call }: World, id: string) =>
  call(`/v1/generations/${id}/retry`, { method: 'POST' })

/** A generation whose links were dead, and for which the provider had no fresh ones. */
async function withLostImages(here: World, links: Record<string, unknown>) {
  const { id } = await submitted(here)
  await here.callback(id, success(id, links))
  for (let turn = 0; turn < 3; turn++) {
    here.provider.knows({ status: 'failed', id: '', message: 'Failed, Try Again', output: '' })
    await here.turn()
  }
  here.provider.results.length = 0
  return { id, lost: await shown(here, id) }
}
