import { connect, type AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { createApp } from '../../../src/http/app.ts'
import { httpServer } from '../../../src/http/plumbing/server.node.ts'
import { until } from '../../support/process/program.ts'
import { ADMIN, decisions, sampleBody, submitted, type World, world } from '../../support/world.ts'

const PATIENCE = {
  headersMs: 150,
  requestMs: 60_000,
  checkMs: 20,
  idleMs: 800,
  crowdedMs: 50,
  crowd: 10,
}

/** The doors of a world behind the server of the Node runtime, which loses patience soon. */
async function serving({ deps }: World, patience = PATIENCE) {
  const app = createApp(deps, { isDraining: () => false })
  const { server, close } = httpServer(app.fetch, deps.log, patience)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    server.closeAllConnections()
    await close()
  })
  return { port: (server.address() as AddressInfo).port, close }
}

const listening = async (...world: Parameters<typeof serving>) => (await serving(...world)).port

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
    const port = await listening(here, { ...PATIENCE, headersMs: 100, requestMs: 150 })

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
    ['a target that is none', 'POST a/b HTTP/1.1\r\nConnection: close\r\n\r\n', 400],
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
    [
      'a whole URL with a dot segment',
      'GET http://a/x/../livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
      404,
    ],
  ])('because it has %s is refused, and nobody is disturbed', async (_what, text, status) => {
    const here = world()
    const port = await listening(here, { ...PATIENCE, headersMs: 60_000 })

    const heard = await say(port, text)

    expect(statuses(heard)).toEqual([status])
    expect(heard).toMatch(/^x-content-type-options: nosniff\r$/imu)
    expect((await fetch(`http://127.0.0.1:${port}/livez`)).status).toBe(200)
    expect(here.logged.filter(({ level }) => level === 'error')).toEqual([])
  })
})

describe('Whoever names no host, or a strange one,', () => {
  const hosts = {
    'no Host': [],
    'an empty one': ['Host:'],
    'one that is no name': ['Host: a b@c'],
    'one with half an address': ['Host: [::1'],
    'one with a port that is none': ['Host: a:99999'],
    'one in Chinese': ['Host: \xe4\xbe\x8b'],
    'one that is a URL': ['Host: http://a/b?c#d'],
    'one of a thousand letters': [`Host: ${'a'.repeat(1000)}`],
    'two of them': ['Host: a', 'Host: b'],
  }
  const versions = ['1.0', '1.1']
  const ways = Object.entries(hosts).flatMap(([what, headers]) =>
    versions.map((version): [string, string, string[]] => [what, version, headers]),
  )
  const asked = (first: string, headers: string[], body = '') =>
    [first, ...headers, `Content-Length: ${body.length}`, 'Connection: close', '', body].join(
      '\r\n',
    )

  it.each(ways)('is answered: %s, HTTP/%s', async (_what, version, headers) => {
    const { here, id, path, port } = await atTheDoor()

    const live = await say(port, asked(`GET /livez HTTP/${version}`, headers))
    const called = await say(port, asked(`POST ${path} HTTP/${version}`, headers, PROCESSING))

    expect([statuses(live), statuses(called)]).toEqual([[200], [200]])
    expect(await decisions(here, id)).toEqual(['processing'])
  })

  it.each(['http://other.example', 'HTTP://[::1', 'https://a:99999', 'http://'])(
    'or asks as of a proxy, is answered: %s',
    async (origin) => {
      const { here, id, path, port } = await atTheDoor()

      const live = await say(port, asked(`GET ${origin}/livez?at=all HTTP/1.1`, ['Host: a']))
      const called = await say(port, asked(`POST ${origin}${path} HTTP/1.1`, [], PROCESSING))

      expect([statuses(live), statuses(called)]).toEqual([[200], [200]])
      expect(await decisions(here, id)).toEqual(['processing'])
    },
  )

  it('is told of our own address alone', async () => {
    const here = world()
    for (let n = 0; n < 2; n++) await submitted(here)
    const port = await listening(here)
    const headers = ['Host: evil.example', `Authorization: Bearer ${ADMIN}`]

    const heard = await say(port, asked('GET /v1/generations?limit=1 HTTP/1.1', headers))

    expect(heard).toContain(`<${here.config.publicUrl}/v1/generations?`)
    expect(heard).not.toContain('evil.example')
  })
})

/** A connection that stays open: what it heard so far, and when it was closed. */
function kept(port: number) {
  const socket = connect({ port, host: '127.0.0.1' })
  const heard = { text: '', isClosed: false }
  socket.setEncoding('latin1').on('data', (text: string) => (heard.text += text))
  socket.on('error', () => undefined).on('close', () => (heard.isClosed = true))
  onTestFinished(() => void socket.destroy())
  return { heard, say: (text: string) => socket.write(text, 'latin1') }
}

describe('A connection that proxies keep', () => {
  it('is answered although nothing was said on it for longer than a head may take', async () => {
    const { here, id, path, port } = await atTheDoor()
    const { heard, say } = kept(port)

    for (let n = 1; n <= 3; n++) {
      say(whole(path, `{"n":${n}}`))
      await until(() => statuses(heard.text).length === n)
      await delay(300)
    }

    expect(statuses(heard.text)).toEqual([200, 200, 200])
    expect(await decisions(here, id)).toHaveLength(3)
  })

  it('is answered although it was opened long before anything was said', async () => {
    const { path, port } = await atTheDoor()
    const { heard, say } = kept(port)

    await delay(400)
    const before = { ...heard }
    say(whole(path, PROCESSING))
    await until(() => heard.text !== '')

    expect(before).toEqual({ text: '', isClosed: false })
    expect(statuses(heard.text)).toEqual([200])
  })

  it('stays open for longer than nginx, Amazon, Google and Cloudflare keep it', async () => {
    const here = world()
    const { server, close } = httpServer(
      createApp(here.deps, { isDraining: () => false }).fetch,
      here.deps.log,
    )
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(close)

    const { headers } = await fetch(
      `http://127.0.0.1:${(server.address() as AddressInfo).port}/livez`,
    )

    const promised = /timeout=(\d+)/u.exec(headers.get('keep-alive') ?? '')?.[1]
    expect(Number(promised)).toBeGreaterThan(900)
  })

  it.each([
    ['was used', 'GET /livez HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['was never used', ''],
  ])('and that %s is closed in the end, without a word', async (_what, text) => {
    const { heard, say } = kept(await listening(world()))
    say(text)
    if (text !== '') await until(() => heard.text !== '')
    const answered = heard.text

    await until(() => heard.isClosed)

    expect(heard.text).toBe(answered)
  })

  it.each([
    ['was used', 'GET /livez HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['was never used', ''],
  ])('and that %s is closed at once at a stop', async (_what, text) => {
    const { port, close } = await serving(world(), { ...PATIENCE, idleMs: 60_000 })
    const { heard, say } = kept(port)
    say(text)
    await until(() => text === '' || heard.text !== '')
    await delay(50)

    const asked = performance.now()
    await close()

    expect(performance.now() - asked).toBeLessThan(1000)
    await until(() => heard.isClosed)
  })

  it('has the answers that are under way at a stop, and is closed with the last', async () => {
    const here = world()
    const answers = [here.provider.hesitates(), here.provider.hesitates()]
    const { port, close } = await serving(here, { ...PATIENCE, idleMs: 60_000 })
    const { heard, say } = kept(port)
    const body = JSON.stringify(sampleBody)
    const submission = whole('/v1/generations', body, `Authorization: Bearer ${ADMIN}`)
    say(submission + submission)
    await until(() => here.provider.submissions.length > 0)

    const closed = close()
    for (const answer of answers) answer({ status: 'processing', id: 1, eta: 2, output: [] })
    const asked = performance.now()
    await closed

    expect(statuses(heard.text)).toEqual([202, 202])
    expect(performance.now() - asked).toBeLessThan(1500)
  })

  it('makes room in a crowd', async () => {
    const patience = { ...PATIENCE, headersMs: 10_000, idleMs: 60_000 }
    const { port } = await serving(world(), patience)
    const served = async () => {
      const { heard, say } = kept(port)
      say('GET /livez HTTP/1.1\r\nHost: a\r\n\r\n')
      await until(() => heard.text !== '')
      return heard
    }
    const first = []
    for (let n = 0; n < PATIENCE.crowd; n++) first.push(await served())

    const last = await served()
    await until(() => last.isClosed)

    expect(first.map(({ isClosed }) => isClosed)).not.toContain(true)
  })
})

it('serves whoever expects something that HTTP does not know', async () => {
  const { path, port } = await atTheDoor()

  expect(
    statuses(await say(port, whole(path, '{}', 'Expect: a miracle', 'Connection: close'))),
  ).toEqual([200])
})
