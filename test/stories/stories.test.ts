import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import { it } from '../support/process/bench.ts'
import {
  ask,
  bothCopies,
  inpaint,
  isArchived,
  isSettled,
  shown,
  submitted,
  timeline,
  untilShown,
} from '../support/process/client.ts'
import { until } from '../support/process/program.ts'
import { sha256, usual } from '../support/process/stand-in.ts'

it.concurrent(
  'keeps every image of a generation, byte by byte, and submits it once with a webhook of ours',
  async ({ bench }) => {
    const { here, provider, program } = await bench.service()

    const { id, status } = await submitted(program, { samples: 2, track_id: 'mine' })
    const generation = await untilShown(program, id, (now) => isArchived(now) && isSettled(now))

    const [job] = provider.submissions
    expect(status).toBe('processing')
    expect(job).toMatchObject({
      trackId: id,
      body: { key: here.settings['MODELSLAB_API_KEY'], samples: 2 },
    })
    expect(job?.webhook).toMatch(
      new RegExp(`^${here.settings['PUBLIC_URL'] ?? ''}/callbacks/${id}/[0-9a-f]{64}$`, 'u'),
    )
    expect(provider.deliveries.map(({ status }) => status)).toEqual([200])
    expect(generation).toMatchObject({
      status: 'succeeded',
      client_track_id: 'mine',
      nsfw: { verdict: 'clear' },
    })
    expect(generation.images).toHaveLength(4)
    for (const [n, image] of generation.images.entries()) {
      const expected = sha256(job?.pictures[image.position] ?? '')
      const { door, file } = await bothCopies(program, here, generation, n)
      expect([image.sha256, sha256(door), sha256(file)]).toEqual([expected, expected, expected])
    }
    expect(provider.submissions).toHaveLength(1)
  },
)

it.concurrent('finds a result by asking when its callback never comes', async ({ bench }) => {
  const { provider, program } = await bench.service(async (job, answer, provider) => {
    answer.json(provider.processing(job))
    await delay(300)
    job.fetched = provider.success(job)
  })

  const { id } = await submitted(program)
  await untilShown(program, id, isArchived)

  expect(provider.deliveries).toEqual([])
  expect(provider.fetches.length).toBeGreaterThan(0)
})

it.concurrent(
  'answers 200 to thirty equal callbacks of one instant, counts them all, and archives each image once',
  async ({ bench }) => {
    const { provider, program } = await bench.service((job, answer, provider) =>
      answer.json(provider.processing(job)),
    )
    for (let round = 0; round < 5; round++) {
      const { id } = await submitted(program)
      const job = provider.submissions[round]
      const statuses = job && (await provider.callAtOnce(job, provider.success(job), 30))
      await untilShown(program, id, isSettled)

      expect(statuses).toEqual(Array.from({ length: 30 }, () => 200))
      expect(await timeline(program, id, 'callback')).toMatchObject([
        { detail: { decision: 'accepted', count: 30 } },
      ])
      expect(await timeline(program, id, 'archived')).toHaveLength(2)
    }
    expect(provider.gets).toHaveLength(10)
  },
)

it.concurrent('keeps the reply although the client that asked has gone', async ({ bench }) => {
  const { provider, program } = await bench.service(async (job, answer, provider) => {
    await until(() => left)
    answer.json(provider.processing(job))
  })
  let left = false
  const impatient = new AbortController()
  const asked = ask(program, '/v1/generations', {
    method: 'POST',
    body: JSON.stringify(inpaint()),
    signal: impatient.signal,
  }).catch(() => (left = true))
  const job = await until(() => provider.submissions[0])
  impatient.abort()
  await asked

  await untilShown(program, job.trackId, ({ status }) => status === 'processing')
})

it.concurrent(
  'keeps the beginning of a callback of a megabyte and one byte, and answers 413',
  async ({ bench }) => {
    const { provider, program } = await bench.service((job, answer, provider) =>
      answer.json(provider.processing(job)),
    )
    const { id } = await submitted(program)
    const [job] = provider.submissions

    const { status } = await provider.call(
      job ?? { trackId: '', webhook: '' },
      'x'.repeat(1024 * 1024 + 1),
    )

    expect(status).toBe(413)
    expect(await timeline(program, id, 'callback')).toMatchObject([
      { detail: { decision: 'too_large' } },
    ])
  },
)

it.concurrent(
  'takes a callback that comes before the reply, and the reply changes nothing',
  async ({ bench }) => {
    const { provider, program } = await bench.service(async (job, answer, provider) => {
      await provider.finish(job)
      answer.json(provider.processing(job))
    })

    const { id, status } = await submitted(program)
    await untilShown(program, id, isArchived)

    expect(status).toBe('succeeded')
    expect((await shown(program, id)).status).toBe('succeeded')
    expect(provider.submissions).toHaveLength(1)
  },
)

it.concurrent('shows why a generation failed', async ({ bench }) => {
  const { program } = await bench.service(async (job, answer, provider) => {
    answer.json(provider.processing(job))
    await provider.finish(job, {
      status: 'failed',
      id: job.id,
      message: 'Processing failed',
      track_id: job.trackId,
    })
  })

  const { id } = await submitted(program)

  expect(await untilShown(program, id, ({ status }) => status === 'failed')).toMatchObject({
    archive_status: 'none',
    failure: { code: 'provider_failed', message: 'Processing failed' },
    nsfw: { verdict: 'unknown' },
  })
})

it.concurrent('archives what a reply already holds, without any callback', async ({ bench }) => {
  const { provider, program } = await bench.service((job, answer, provider) =>
    answer.json(provider.success(job)),
  )

  const { id, status } = await submitted(program)
  await untilShown(program, id, isArchived)

  expect(status).toBe('succeeded')
  expect(provider.deliveries).toEqual([])
})

it.concurrent(
  'holds what the provider refuses for now, waits as long as it was told, then sends one to see',
  async ({ bench }) => {
    const full = { status: 'error', message: 'Rate limit exceeded.', retry_after: 1 }
    const { provider, program } = await bench.service(async (job, answer, provider) => {
      if (provider.submissions.length === 1) answer.json(full, 429)
      else await usual(job, answer, provider)
    })

    const first = await submitted(program)
    const refusedAt = Date.now()
    const second = await submitted(program)
    expect([first.status, second.status]).toEqual(['requested', 'requested'])
    for (const { id } of [first, second]) await untilShown(program, id, isArchived)

    const [, probe, next] = provider.submissions
    expect(provider.submissions.map(({ trackId }) => trackId)).toEqual([
      first.id,
      first.id,
      second.id,
    ])
    expect((probe?.at ?? 0) - refusedAt).toBeGreaterThan(900)
    expect(next?.at).toBeGreaterThanOrEqual(probe?.at ?? Infinity)
  },
)

it.concurrent(
  'never submits twice when the reply was cut off, and takes the callback as the answer',
  async ({ bench }) => {
    const { provider, program } = await bench.service(async (job, answer, provider) => {
      answer.cut()
      await until(async () => (await shown(program, job.trackId)).status === 'unconfirmed')
      await provider.finish(job)
    })

    const { id, status } = await submitted(program)
    await untilShown(program, id, isArchived)

    expect(status).toBe('unconfirmed')
    expect(provider.submissions).toHaveLength(1)
  },
)

it.concurrent(
  'holds requests while nobody listens at the provider, and sends them when it is back',
  async ({ bench }) => {
    const { provider, program } = await bench.service()
    await provider.goAway()

    const held = [await submitted(program), await submitted(program), await submitted(program)]
    const ready = await ask(program, '/readyz')
    await provider.answerAgain()
    for (const { id } of held) await untilShown(program, id, isArchived)

    expect(held.map(({ status }) => status)).toEqual(['requested', 'requested', 'requested'])
    expect(ready.status).toBe(200)
    expect(await ready.json()).toMatchObject({
      provider: expect.stringMatching(/^down since \d{4}-/u) as unknown,
    })
    expect(provider.submissions.map(({ trackId }) => trackId)).toEqual(held.map(({ id }) => id))
  },
)

it.concurrent('comes back for links that work a little late', async ({ bench }) => {
  const { program } = await bench.service(async (job, answer, provider) => {
    for (const host of [0, 1]) provider.late.set(provider.origin(host) + (job.paths[0] ?? ''), 3)
    await usual(job, answer, provider)
  })

  const { id } = await submitted(program)
  const { images } = await untilShown(program, id, isSettled)

  expect(images).toMatchObject([
    { source: 'output', status: 'archived', attempts: 4, failure: null },
    { source: 'proxy', status: 'archived', attempts: 4, failure: null },
  ])
})

it.concurrent(
  'says that an image is lost and why, and serves its mirror in its place',
  async ({ bench }) => {
    const { here, provider, program } = await bench.service(
      async (job, answer, provider) => {
        provider.late.set(provider.origin(0) + (job.paths[1] ?? ''), Infinity)
        await usual(job, answer, provider)
      },
      { LINK_LIFETIME_HOURS: String(1 / 3600) },
    )

    const { id } = await submitted(program, { samples: 2 })
    const generation = await untilShown(
      program,
      id,
      ({ archive_status }) => archive_status === 'partial',
    )

    expect(generation.images.find(({ status }) => status === 'lost')).toMatchObject({
      source: 'output',
      position: 1,
      failure: { code: 'not_found' },
    })
    const door = await ask(program, `/v1/generations/${id}/images/1`)
    expect(sha256(new Uint8Array(await door.arrayBuffer()))).toBe(
      sha256(provider.submissions[0]?.pictures[1] ?? ''),
    )
    expect((await ask(program, `/v1/generations/${id}/images/1?source=output`)).status).toBe(410)
    expect(sha256((await bothCopies(program, here, generation, 0)).file)).toBe(
      generation.images[0]?.sha256,
    )
  },
)

it.concurrent('answers a forged callback with 404 and changes nothing', async ({ bench }) => {
  const { provider, program } = await bench.service((job, answer, provider) =>
    answer.json(provider.processing(job)),
  )
  const { id } = await submitted(program)
  const before = await timeline(program, id)
  const [job] = provider.submissions
  const webhook = job?.webhook ?? ''
  const lastDigit = webhook.endsWith('0') ? '1' : '0'
  const stolen = (await submitted(program)).id

  const forgeries = [
    webhook.slice(0, -1) + lastDigit,
    webhook.slice(0, -1),
    webhook.replace(id, stolen),
    webhook.replace(/[0-9a-f]{64}$/u, (mac) => mac.toUpperCase()),
    `${webhook}/more`,
  ]
  const body = job && provider.success(job)
  for (const forged of forgeries) await provider.call({ trackId: id, webhook: forged }, body)

  expect(provider.deliveries.map(({ status }) => status)).toEqual(forgeries.map(() => 404))
  expect(await timeline(program, id, 'callback')).toEqual([])
  expect((await timeline(program, id)).slice(0, before.length)).toEqual(before)
  expect((await shown(program, id)).images).toEqual([])
})
