import { describe, expect, it } from 'vitest'
import { archiveDue } from '../../src/work/archive.ts'
import { expireOverdue } from '../../src/work/expire.ts'
import { firstIdAt } from '../../src/model/uuid.ts'
import {
  dump,
  failure,
  happened,
  LINK,
  OTHER_LINK,
  png,
  shown,
  submitted,
  success,
  type World,
  world,
} from '../support/world.ts'

const HOUR = 3600
const DAY = 24 * HOUR
const red = await png('red')
const blue = await png('blue')

const processing = { status: 'processing', id: 7, output: [], future_links: [LINK] }
const successOfNothing = { ...processing, status: 'success' }

async function promised(here: World, body: Record<string, unknown> = processing) {
  here.provider.answers(body)
  return (await submitted(here)).id
}

/** Until the time for a result is up, and all is done that is due then. */
async function untilDeadline(here: World) {
  here.clock.advance(DAY + 1)
  await here.turn()
}

/** Whatever there is to try is tried. */
async function untilAllIsTried(here: World) {
  for (let turn = 0; turn < 30; turn++) {
    here.clock.advance(400)
    await here.turn()
  }
}

describe('links that a success names in future_links alone', () => {
  it('are tried at once, and what they show is the result', async () => {
    const here = world()
    here.cdn.pages.set(LINK, red)
    const id = await promised(here, successOfNothing)
    const before = await shown(here, id)

    await archiveDue(here.deps, 10)

    expect(before).toMatchObject({ status: 'processing', images: [{ status: 'pending' }] })
    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'archived',
      finished_at: '2026-01-31T12:00:00.000Z',
      failure: null,
      images: [{ source: 'output', position: 0, status: 'archived', source_url: LINK }],
    })
  })

  it.each([
    ['a reply', () => Promise.resolve()],
    ['a callback', (here: World, id: string) => here.callback(id, successOfNothing)],
    [
      'a fetch',
      async (here: World) => {
        here.provider.knows(successOfNothing)
        here.clock.advance(HOUR)
        await here.turn()
      },
    ],
  ])('are tried whether they came by %s', async (what, tell) => {
    const here = world()
    here.cdn.pages.set(LINK, red)
    const id = await promised(
      here,
      what === 'a reply' ? successOfNothing : { ...processing, future_links: [] },
    )

    await tell(here, id)
    await archiveDue(here.deps, 10)

    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'archived',
    })
  })

  it('are tried again until they show something', async () => {
    const here = world()
    const id = await promised(here, successOfNothing)
    await here.turn()
    here.cdn.pages.set(LINK, red)

    here.clock.advance(5)
    await here.turn()

    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      images: [{ attempts: 2, status: 'archived' }],
    })
  })

  it('are a success with the first picture, while the others are still tried', async () => {
    const here = world()
    here.cdn.pages.set(OTHER_LINK, blue)
    const id = await promised(here, { ...successOfNothing, future_links: [LINK, OTHER_LINK] })

    await archiveDue(here.deps, 10)

    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'pending',
      images: [{ status: 'pending' }, { status: 'archived' }],
    })
  })

  it('owe a fetch once they were the result: its verdict was never told', async () => {
    const here = world()
    here.cdn.pages.set(LINK, red)
    const id = await promised(here, successOfNothing)
    await archiveDue(here.deps, 10)
    here.provider.knows(success(id, { nsfw_content_detected: true }))

    here.clock.advance(HOUR)
    await here.turn()

    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      nsfw: { verdict: 'flagged' },
    })
  })

  it('change nothing of a generation that has ended', async () => {
    const here = world()
    const id = await promised(here)
    await here.callback(id, failure(id))

    await here.callback(id, successOfNothing)
    await archiveDue(here.deps, 10)

    expect(here.cdn.gets).toEqual([])
    expect(await shown(here, id)).toMatchObject({ status: 'failed', images: [] })
  })
})

describe('links that were only promised while the provider worked', () => {
  it('are left alone until the deadline', async () => {
    const here = world()
    const id = await promised(here)

    here.clock.advance(DAY - 1)
    await here.turn()

    expect(here.cdn.gets).toEqual([])
    expect(await shown(here, id)).toMatchObject({ status: 'processing', images: [] })
  })

  it('are tried before no_result, and what they show is the result', async () => {
    const here = world()
    here.cdn.pages.set(LINK, red)
    const id = await promised(here)

    await untilDeadline(here)

    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'archived',
      failure: null,
      images: [{ status: 'archived' }],
    })
  })

  it('are tried for an hour, and then it is no_result without an image', async () => {
    const here = world()
    const id = await promised(here)
    await untilDeadline(here)
    const meanwhile = await shown(here, id)

    await untilAllIsTried(here)

    expect(meanwhile).toMatchObject({ status: 'processing', images: [{ status: 'pending' }] })
    expect(here.cdn.gets.length).toBeGreaterThan(5)
    expect(await shown(here, id)).toMatchObject({
      status: 'failed',
      archive_status: 'none',
      archived_at: null,
      failure: { code: 'no_result' },
      images: [],
    })
    expect(await happened(here, id, 'lost')).toHaveLength(1)
  })

  it('are those of the last message that named any', async () => {
    const here = world()
    here.cdn.pages.set(OTHER_LINK, blue)
    const id = await promised(here)
    await here.callback(id, { ...processing, future_links: [OTHER_LINK] })
    await here.callback(id, { ...processing, future_links: '' })

    await untilDeadline(here)

    expect(here.cdn.gets).toEqual([OTHER_LINK])
    expect(await shown(here, id)).toMatchObject({ status: 'succeeded' })
  })

  it('are tried after a restart at the deadline', async () => {
    const here = world()
    here.cdn.pages.set(LINK, red)
    const id = await promised(here)
    here.clock.advance(DAY + 1)
    await expireOverdue(here.deps)

    await here.restart()
    await here.turn()

    expect(await shown(here, id)).toMatchObject({ status: 'succeeded' })
  })

  it('are not tried where a success named others, and are forgotten then', async () => {
    const here = world()
    here.cdn.pages.set(OTHER_LINK, blue)
    const id = await promised(here)

    await here.callback(id, success(id, { output: [OTHER_LINK] }))
    await untilDeadline(here)

    expect(here.cdn.gets).toEqual([OTHER_LINK])
    expect(await dump(here, 'generations')).not.toContain(LINK)
    expect(await shown(here, id)).toMatchObject({ archive_status: 'archived' })
  })

  it('are not given up before they were tried, however many others are overdue', async () => {
    const here = world()
    const id = await promised(here)
    const before = firstIdAt(here.clock.now + 1)

    const ended = await here.deps.ledger.expire.writeExpired(before, here.clock.now)

    expect(ended).toEqual([])
    expect(await shown(here, id)).toMatchObject({ status: 'processing' })
  })

  it('are as hostile as any other', async () => {
    const here = world()
    const inside = ['https://127.0.0.1/a.png', 'http://10.0.0.1/a.png']
    const id = await promised(here, { ...processing, future_links: [...inside, 'file:///etc/x'] })

    await untilDeadline(here)
    await here.turn()

    expect(here.cdn.gets).toEqual([])
    expect(await shown(here, id)).toMatchObject({ failure: { code: 'no_result' } })
  })
})

describe('what was promised, tried and not brought', () => {
  it('gives way to the links of a success that comes meanwhile', async () => {
    const here = world()
    here.cdn.pages.set(OTHER_LINK, blue)
    const id = await promised(here, successOfNothing)
    await here.turn()

    await here.callback(id, success(id, { output: [OTHER_LINK], proxy_links: [] }))
    await here.turn()

    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'archived',
      images: [{ position: 0, source_url: OTHER_LINK, status: 'archived' }],
    })
    expect(await happened(here, id, 'offered')).toHaveLength(1)
  })

  it('is tried anew where a success names the very same links, though they were lost', async () => {
    const here = world()
    const dead = `${LINK}?Expires=1500000000`
    const id = await promised(here, { ...successOfNothing, future_links: [dead] })
    await here.turn()
    const lost = await shown(here, id)
    here.cdn.pages.set(dead, red)

    await here.callback(id, success(id, { output: [dead], proxy_links: [] }))
    await here.turn()

    expect(lost).toMatchObject({ status: 'processing', archive_status: 'lost' })
    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'archived',
    })
  })

  it('is no part of a failure', async () => {
    const here = world()
    const id = await promised(here, successOfNothing)
    await here.turn()

    await here.callback(id, failure(id))

    expect(await shown(here, id)).toMatchObject({
      status: 'failed',
      archive_status: 'none',
      images: [],
    })
  })

  it('is no part of a success without pictures', async () => {
    const here = world()
    const id = await promised(here, successOfNothing)
    await here.turn()

    await here.callback(id, success(id, { output: [], nsfw_content_detected: true }))

    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'none',
      images: [],
    })
  })

  it('is followed by a success after the deadline all the same', async () => {
    const here = world()
    here.cdn.pages.set(OTHER_LINK, blue)
    const id = await promised(here)
    await untilDeadline(here)
    await untilAllIsTried(here)

    await here.callback(id, success(id, { output: [OTHER_LINK] }))
    await archiveDue(here.deps, 10)

    expect(await shown(here, id)).toMatchObject({
      status: 'succeeded',
      archive_status: 'archived',
      images: [{ position: 0, source_url: OTHER_LINK }],
    })
  })

  it('ends at the deadline, also where somebody asked for a retry of what was lost', async () => {
    const here = world()
    const dead = `${LINK}?Expires=1500000000`
    const id = await promised(here, { ...successOfNothing, future_links: [dead] })
    await here.turn()
    await here.call(`/v1/generations/${id}/retry`, { method: 'POST' })

    await untilDeadline(here)
    await here.turn()

    expect(await shown(here, id)).toMatchObject({
      status: 'failed',
      failure: { code: 'no_result' },
      images: [],
    })
  })
})
