import { expect, it } from 'vitest'
import { callbacks, download, fetchResult, inpaint, start, webhook } from '../support/simulator.ts'

it('tells the webhook what a fetch tells, and the track_id', async () => {
  const [simulator, hook] = [await start(), await webhook()]
  const { id } = await inpaint(simulator, '[nsfw=flagged]', {
    webhook: hook.url,
    track_id: 'mine',
    samples: 2,
  })
  const sent = await callbacks(simulator, 1)
  expect(hook.received).toEqual([{ ...(await fetchResult(simulator, id)), track_id: 'mine' }])
  expect(hook.received).toMatchObject([
    { status: 'success', id, nsfw_content_detected: true, meta: { webhook: hook.url } },
  ])
  expect(sent).toMatchObject([{ status: 'success', answer: 200, problem: null }])
})

it('sends no callback before its own reply is out, however short the delay', async () => {
  const [simulator, hook] = [await start(), await webhook()]
  await inpaint(simulator, '[reply_delay=0.2]', { webhook: hook.url })
  const [sent] = await callbacks(simulator, 1)
  const [{ receivedAt } = { receivedAt: 0 }] = simulator.submissions()
  expect((sent?.at ?? 0) - receivedAt).toBeGreaterThanOrEqual(195)
})

it('early: the callback is answered before the submission is', async () => {
  const [simulator, hook] = [await start(), await webhook()]
  const body = await inpaint(simulator, '[callback=early delay=0.05]', { webhook: hook.url })
  expect(hook.received).toMatchObject([{ status: 'success', id: body.id }])
  expect(body.status).toBe('processing')
})

it('doubled: the same callback comes twice', async () => {
  const [simulator, hook] = [await start(), await webhook()]
  await inpaint(simulator, '[callback=doubled]', { webhook: hook.url })
  await callbacks(simulator, 2)
  expect(hook.received).toHaveLength(2)
  expect(hook.received[1]).toEqual(hook.received[0])
})

it('lost, or after an immediate success: none comes, and the result can be fetched', async () => {
  const [simulator, hook] = [await start(), await webhook()]
  const lost = await inpaint(simulator, '[callback=lost]', { webhook: hook.url })
  await inpaint(simulator, '[reply=success]', { webhook: hook.url })
  await inpaint(simulator, 'a witness that comes after them', { webhook: hook.url })
  await simulator.until((all) => all[2]?.callbacks.length)
  expect(simulator.submissions().map((each) => each.callbacks.length)).toEqual([0, 0, 1])
  expect(hook.received).toHaveLength(1)
  expect(await fetchResult(simulator, lost.id)).toMatchObject({ status: 'success' })
})

it('sent: one comes after an immediate success too', async () => {
  const [simulator, hook] = [await start(), await webhook()]
  const { id } = await inpaint(simulator, '[reply=success callback=sent]', { webhook: hook.url })
  await callbacks(simulator, 1)
  expect(hook.received).toMatchObject([{ status: 'success', id }])
})

it('failed: the callback contradicts what a fetch says', async () => {
  const [simulator, hook] = [await start(), await webhook()]
  const { id } = await inpaint(simulator, '[callback=failed]', {
    webhook: hook.url,
    track_id: 'mine',
  })
  await callbacks(simulator, 1)
  expect(hook.received).toMatchObject([{ status: 'failed', id, track_id: 'mine' }])
  expect(await fetchResult(simulator, id)).toMatchObject({ status: 'success' })
})

it('short: the callback leaves out mirrors and verdict, and a fetch has them', async () => {
  const [simulator, hook] = [await start(), await webhook()]
  const { id } = await inpaint(simulator, '[callback_body=short nsfw=flagged]', {
    webhook: hook.url,
    track_id: 'mine',
  })
  await callbacks(simulator, 1)
  expect(Object.keys(hook.received[0] ?? {})).toEqual([
    'status',
    'id',
    'output',
    'generationTime',
    'track_id',
    'meta',
  ])
  expect(await fetchResult(simulator, id)).toHaveProperty('nsfw_content_detected', true)
})

it('bare: the callback does not say whose it is', async () => {
  const [simulator, hook] = [await start(), await webhook()]
  const { future_links } = await inpaint(simulator, '[callback_body=bare]', {
    webhook: hook.url,
    track_id: 'mine',
  })
  await callbacks(simulator, 1)
  expect(hook.received).toEqual([{ status: 'success', output: future_links }])
})

it('says one thing after the other, in the order of callback_says', async () => {
  const [simulator, hook] = [await start(), await webhook()]
  const words = '[callback_says=processing+result+failed+processing]'
  const { id } = await inpaint(simulator, words, { webhook: hook.url, track_id: 'mine' })
  const sent = await callbacks(simulator, 4)
  expect(sent.map(({ status }) => status)).toEqual([
    'processing',
    'success',
    'failed',
    'processing',
  ])
  expect(hook.received.map(({ status }) => status)).toEqual([
    'processing',
    'success',
    'failed',
    'processing',
  ])
  expect(hook.received).toMatchObject(Array.from({ length: 4 }, () => ({ id, track_id: 'mine' })))
  expect(await fetchResult(simulator, id)).toMatchObject({ status: 'success' })
})

it('other: a callback names other pictures than the one before, as alive as those', async () => {
  const [simulator, hook] = [await start(), await webhook()]
  const { future_links } = await inpaint(simulator, '[callback_says=result+other]', {
    webhook: hook.url,
    samples: 2,
  })
  await callbacks(simulator, 2)
  const [first = [], second = []] = hook.received.map(({ output }) => output)
  expect(first).toEqual(future_links)
  expect(second).toHaveLength(2)
  expect(first).not.toContain(second[0])
  const [one, other] = await Promise.all([download(first[0]), download(second[0])])
  expect(one.equals(other)).toBe(false)
})

it('doubled: so is each of several callbacks, also where links are signed anew by every message', async () => {
  const [simulator, hook] = [await start(), await webhook()]
  await inpaint(simulator, '[callback=doubled callback_says=failed+result signed=amz]', {
    webhook: hook.url,
  })
  await callbacks(simulator, 4)
  expect(hook.received.map(({ status }) => status)).toEqual([
    'failed',
    'failed',
    'success',
    'success',
  ])
  expect(hook.received[3]).toEqual(hook.received[2])
})

it('waits for callback_delay before the first callback, and for callback_gap before the next', async () => {
  const [simulator, hook] = [await start(), await webhook()]
  const words = '[callback_says=processing+result callback_delay=0.1 callback_gap=0.2]'
  await inpaint(simulator, words, { webhook: hook.url })
  const [first, second] = await callbacks(simulator, 2)
  const endedAt = simulator.submissions()[0]?.endedAt ?? 0
  expect((first?.at ?? 0) - endedAt).toBeGreaterThanOrEqual(95)
  expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(195)
})

it('calls itself JSON, or text/plain where callback_type asks for it', async () => {
  const [simulator, hook] = [await start(), await webhook()]
  await inpaint(simulator, null, { webhook: hook.url })
  await callbacks(simulator, 1)
  await inpaint(simulator, '[callback_type=text]', { webhook: hook.url })
  await simulator.until((all) => all[1]?.callbacks.length)
  expect(hook.types).toEqual(['application/json', 'text/plain'])
})

it('delivers once whatever the answer, and again until a 2xx where callback_tries asks for it', async () => {
  const [simulator, hook] = [await start(), await webhook([503, 503, 200])]
  await inpaint(simulator, '[callback_tries=1]', { webhook: hook.url })
  await callbacks(simulator, 1)
  await inpaint(simulator, '[callback_tries=5]', { webhook: hook.url })
  const sent = await simulator.until((all) => all[1]?.callbacks.length === 2 && all[1].callbacks)
  expect(sent.map((each) => each.answer)).toEqual([503, 200])
  expect(simulator.submissions()[0]?.callbacks).toHaveLength(1)
})

it('writes down why a callback could not be delivered', async () => {
  const simulator = await start()
  await inpaint(simulator, null, { webhook: 'http://127.0.0.1:1/hook' })
  const sent = await callbacks(simulator, 1)
  expect(sent).toMatchObject([{ answer: null, problem: expect.any(String) as string }])
})

it.each([
  'http://192.0.2.1/hook',
  'https://127.0.0.1.example.com/hook',
  'http://[2001:db8::1]/hook',
  'http://0.0.0.0/hook',
])('never calls %s, which is not on loopback', async (url) => {
  const lines: string[] = []
  const simulator = await start({ log: (line) => lines.push(line) })
  await inpaint(simulator, null, { webhook: url })
  expect(await callbacks(simulator, 1)).toMatchObject([
    { answer: null, problem: 'not sent: the simulator calls loopback addresses only' },
  ])
  expect(lines.join('\n')).toContain('loopback addresses only')
})

it('does not follow a redirect, which could lead away from loopback', async () => {
  const [simulator, elsewhere] = [await start(), await webhook()]
  const hook = await webhook([307], { location: elsewhere.url })
  await inpaint(simulator, null, { webhook: hook.url })
  expect(await callbacks(simulator, 1)).toMatchObject([{ answer: 307 }])
  expect(elsewhere.received).toEqual([])
})
