import { connect, type AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { createApp } from '../../../src/http/app.ts'
import { httpServer } from '../../../src/http/plumbing/server.node.ts'
import { decisions, submitted, type World, world } from '../../support/world.ts'

/** The doors of a world behind the server of the Node runtime, which loses patience soon. */
async function listening(
  { deps }: World,
  patience = { headersMs: 150, requestMs: 60_000, checkMs: 20 },
) {
  const server = httpServer(createApp(deps, { isDraining: () => false }).fetch, deps.log, patience)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

/** Everything that a raw connection hears until it is closed, after it said `text`. */
async function say(port: number, text: string, { end = false } = {}) {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.write(text, 'latin1')
  if (end) socket.end()
  let heard = ''
  for await (const chunk of socket) heard += String(chunk)
  return heard
}

const head = (path: string, ...headers: string[]) =>
  [`POST ${path} HTTP/1.1`, 'Host: a', ...headers, '', ''].join('\r\n')
const whole = (path: string, body: string, ...headers: string[]) =>
  head(path, `Content-Length: ${body.length}`, ...headers) + body
const statuses = (heard: string) =>
  [...heard.matchAll(/HTTP\/1\.1 (\d+)/gu)].map(([, status]) => Number(status))
const retryAfter = (heard: string) => /^retry-after: (\d+)\r$/imu.exec(heard)?.[1]

async function atTheDoor(settings: Record<string, string> = {}) {
  const here = world(settings)
  const { id } = await submitted(here)
  return {
    here,
    id,
    path: new URL(here.deps.callbackUrl(id)).pathname,
    port: await listening(here),
  }
}

const PROCESSING = '{"status":"processing"}'

describe('A callback whose body lies about its length', () => {
  it.each<[string, string[], string, boolean]>([
    ['is shorter than it said', ['Content-Length: 100'], PROCESSING, true],
    ['is cut in the middle of a chunk', ['Transfer-Encoding: chunked'], '99\r\n{', true],
    ['is cut between two chunks', ['Transfer-Encoding: chunked'], '2\r\n{}\r\n', true],
    ['has no chunk sizes', ['Transfer-Encoding: chunked'], 'zz\r\n{}\r\n', false],
    ['breaks its chunks later', ['Transfer-Encoding: chunked'], '2\r\n{}\r\nzz\r\n', false],
    [
      'has endless chunk extensions',
      ['Transfer-Encoding: chunked'],
      `2;${'x'.repeat(20_000)}\r\n{}\r\n0\r\n\r\n`,
      false,
    ],
    [
      'has ten thousand trailers',
      ['Transfer-Encoding: chunked'],
      `2\r\n{}\r\n0\r\n${'a: b\r\n'.repeat(10_000)}\r\n`,
      false,
    ],
    ['is coded in a way that HTTP cannot read', ['Transfer-Encoding: gzip'], '{}', false],
  ])(
    'that %s is answered 503 with Retry-After, and is not kept',
    async (_how, headers, body, end) => {
      const { here, id, path, port } = await atTheDoor()

      const heard = await say(port, head(path, ...headers) + body, { end })

      expect(statuses(heard)).toEqual([503])
      expect(retryAfter(heard)).toBe('5')
      expect(heard).toMatch(/^x-content-type-options: nosniff\r$/imu)
      expect(await decisions(here, id)).toEqual([])
    },
  )

  it.each<[string, string[]]>([
    ['two lengths', ['Content-Length: 2', 'Content-Length: 7']],
    ['a length and chunks', ['Content-Length: 2', 'Transfer-Encoding: chunked']],
    ['a length below zero', ['Content-Length: -1']],
    ['a length that no number holds', [`Content-Length: 1${'0'.repeat(30)}`]],
  ])('in its head, by %s, is refused before any door', async (_how, headers) => {
    const { here, id, path, port } = await atTheDoor()

    expect(statuses(await say(port, `${head(path, ...headers)}{}`))).toEqual([400])
    expect(await decisions(here, id)).toEqual([])
  })

  it('that goes on longer than it said is kept as it said, and the rest opens nothing', async () => {
    const { here, id, path, port } = await atTheDoor()

    const heard = await say(port, `${whole(path, PROCESSING)} and more\r\n\r\n`)

    expect(statuses(heard)).toEqual([200])
    expect(heard).toMatch(/^connection: close\r$/imu)
    expect(await decisions(here, id)).toEqual(['processing'])
  })

  it('is answered where several were sent at once, although garbage follows', async () => {
    const { here, id, path, port } = await atTheDoor()
    const three = ['{"n":1}', '{"n":2}', '{"n":3}'].map((body) => whole(path, body))

    expect(statuses(await say(port, `${three.join('')}\0\0\0\r\n\r\n`))).toEqual([200, 200, 200])
    expect(await decisions(here, id)).toHaveLength(3)
  })
})

describe('A callback that takes its time', () => {
  it('is answered 503, never 408, when its body is not there within 20 s', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => void vi.useRealTimers())
    const { here, id, path, port } = await atTheDoor()
    const heard = say(port, `${head(path, 'Content-Length: 100')}{`)

    while (vi.getTimerCount() === 0) await new Promise((resolve) => setImmediate(resolve))
    await vi.advanceTimersByTimeAsync(19_999)
    expect(await Promise.race([heard, Promise.resolve('nothing yet')])).toBe('nothing yet')
    await vi.advanceTimersByTimeAsync(1)
    await vi.advanceTimersByTimeAsync(1000)

    expect(statuses(await heard)).toEqual([503])
    expect(retryAfter(await heard)).toBe('5')
    expect(await heard).toMatch(/^connection: close\r$/imu)
    expect(await decisions(here, id)).toEqual([])
  })

  it('is answered 503 by the server itself, should no door lose patience before', async () => {
    const { here, path } = await atTheDoor()
    const port = await listening(here, { headersMs: 100, requestMs: 150, checkMs: 20 })

    const heard = await say(port, `${head(path, 'Content-Length: 100')}{`)

    expect([statuses(heard), retryAfter(heard)]).toEqual([[503], '5'])
  })

  it('is answered 503, never 408, when its head does not end', async () => {
    const { path, port } = await atTheDoor()

    const heard = await say(port, `POST ${path} HTTP/1.1\r\nHost: a\r\n`)

    expect([statuses(heard), retryAfter(heard)]).toEqual([[503], '5'])
  })
})

describe('What is no request', () => {
  it.each([
    ['ten thousand headers', `POST / HTTP/1.1\r\nHost: a\r\n${'a: b\r\n'.repeat(10_000)}\r\n`, 431],
    [
      'one header of a megabyte',
      `POST / HTTP/1.1\r\nHost: a\r\na: ${'b'.repeat(1_000_000)}\r\n\r\n`,
      431,
    ],
    ['no HTTP', '\x16\x03\x01\x02\x00\x01\x00\r\n\r\n', 400],
    ['no Host', 'POST / HTTP/1.1\r\nConnection: close\r\n\r\n', 400],
    ['a Host that is none', 'POST / HTTP/1.1\r\nHost: a b@c\r\nConnection: close\r\n\r\n', 400],
    ['a path with a backslash', 'POST /a\\b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', 404],
    [
      'a path with a dot segment',
      'GET /x/../livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
      404,
    ],
    [
      'a path with an encoded one',
      'GET /%2E%2e/livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
      404,
    ],
  ])('because it has %s is refused, and nobody is disturbed', async (_what, text, status) => {
    const here = world()
    const port = await listening(here)

    const heard = await say(port, text)

    expect(statuses(heard)).toEqual([status])
    expect(heard).toMatch(/^x-content-type-options: nosniff\r$/imu)
    expect((await fetch(`http://127.0.0.1:${port}/livez`)).status).toBe(200)
    expect(here.logged.filter(({ level }) => level === 'error')).toEqual([])
  })

  it('because it says nothing is closed', async () => {
    const port = await listening(world())

    await say(port, '')

    expect((await fetch(`http://127.0.0.1:${port}/livez`)).status).toBe(200)
  })
})

it('serves whoever expects something that HTTP does not know', async () => {
  const { path, port } = await atTheDoor()

  expect(
    statuses(await say(port, whole(path, '{}', 'Expect: a miracle', 'Connection: close'))),
  ).toEqual([200])
})
