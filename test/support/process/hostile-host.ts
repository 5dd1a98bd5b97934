import { createServer, type RequestListener, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net'
import { gzipSync } from 'node:zlib'
import type { Bench } from './bench.ts'
import { picture } from './picture.ts'

/** Whoever connects here was led to it: nobody may. */
export interface Victim {
  host: string
  port: number
  connections: () => number
}

const ALIASES = [2, 3, 4, 5, 6, 7, 8, 9].map((n) => `127.0.0.${n}`)

/**
 * A listener on each alias of loopback, on IPv6 loopback, and where we may on the port of https.
 */
export async function victims({ after }: Pick<Bench, 'after'>): Promise<Victim[]> {
  const open = async (host: string, port: number) => {
    let connections = 0
    const server = createTcpServer((socket) => {
      connections++
      socket.on('error', () => undefined).end()
    })
    const listening = await listens(server, host, port)
    if (listening === null) return []
    after(() => void server.close())
    return [{ host, port: listening, connections: () => connections }]
  }
  const opened = [...ALIASES, '127.0.0.1', '::1'].map((host) => open(host, 0))
  return (await Promise.all([...opened, ...ALIASES.map((host) => open(host, 443))])).flat()
}

/**
 * The port, or null where it is not ours to take: somebody has it, or it needs rights that we lack.
 */
function listens(server: Server, host: string, port: number) {
  return new Promise<number | null>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (port !== 0 && ['EACCES', 'EADDRINUSE'].includes(error.code ?? '')) resolve(null)
      else reject(error)
    })
    server.listen(port, host, () => resolve((server.address() as AddressInfo).port))
  })
}

export interface Host {
  origin: string
  /** Bytes of bodies that were taken off our hands, by path. */
  sent: Map<string, number>
}

/**
 * An image host on loopback that answers by path: a redirect below `/to/`, and else as `answers`
 * says.
 */
export async function hostileHost(
  { after }: Pick<Bench, 'after'>,
  answers: Record<string, RequestListener>,
): Promise<Host> {
  const sent = new Map<string, number>()
  const server = createServer((request, response) => {
    const path = request.url ?? ''
    response.on('close', () =>
      sent.set(path, Math.max(sent.get(path) ?? 0, request.socket.bytesWritten)),
    )
    const location = path.startsWith('/to/')
      ? Buffer.from(path.slice(4), 'base64url').toString()
      : undefined
    if (location !== undefined) response.writeHead(302, { location }).end()
    else (answers[path.slice(1)] ?? notFound)(request, response)
  })
  server.on('connection', (socket) => socket.on('error', () => undefined))
  const port = await listens(server, '127.0.0.1', 0)
  after(() => {
    server.close()
    server.closeAllConnections()
  })
  return { origin: `http://127.0.0.1:${port}`, sent }
}

/** The URL on `origin` that leads to `target`. */
export const leadingTo = (origin: string, target: string) =>
  `${origin}/to/${Buffer.from(target).toString('base64url')}`

const notFound: RequestListener = (_, response) => void response.writeHead(404).end()

const GIGABYTE = 1_000_000_000
const PNG = picture(77)
const BLOCK = Buffer.concat([PNG, Buffer.alloc(65_536)])

function pour(response: ServerResponse, bytes: number) {
  let left = bytes
  const more = () => {
    while (left > 0 && !response.destroyed) {
      left -= BLOCK.length
      if (!response.write(BLOCK)) return
    }
    if (left <= 0) response.end()
  }
  response.on('drain', more)
  more()
}

const with200 =
  (headers: Record<string, string | number>, body: Uint8Array | string): RequestListener =>
  (_, response) =>
    void response.writeHead(200, headers).end(body)

function trickle(response: ServerResponse) {
  const timer = setInterval(() => response.write('a'), 1000)
  response.once('close', () => clearInterval(timer))
}

/**
 * Every body that a stranger may send, and what becomes of its image: the code of its loss, or how
 * it is kept.
 */
export const BODIES: Record<string, { answer: RequestListener; becomes: string }> = {
  'a gigabyte in chunks': {
    answer: (_, response) => pour(response, GIGABYTE),
    becomes: 'too_large',
  },
  'a gigabyte that is declared': {
    answer: (_, response) =>
      pour(response.writeHead(200, { 'content-length': GIGABYTE }), GIGABYTE),
    becomes: 'too_large',
  },
  'a gigabyte until the end of the connection': {
    answer: (_, response) => {
      response.shouldKeepAlive = response.useChunkedEncodingByDefault = false
      pour(response, GIGABYTE)
    },
    becomes: 'too_large',
  },
  gzip: { answer: with200({ 'content-encoding': 'gzip' }, gzipSync(PNG)), becomes: 'not_an_image' },
  'a bomb': {
    answer: with200(
      { 'content-encoding': 'gzip', 'content-type': 'image/png' },
      gzipSync(Buffer.alloc(50_000_000)),
    ),
    becomes: 'not_an_image',
  },
  'gzip that is not mentioned': { answer: with200({}, gzipSync(PNG)), becomes: 'not_an_image' },
  'one byte a second': {
    answer: (_, response) => trickle(response.writeHead(200)),
    becomes: 'timeout',
  },
  'no answer': { answer: () => undefined, becomes: 'timeout' },
  'headers of 64 KiB': {
    answer: with200({ 'x-a': 'a'.repeat(65_536) }, PNG),
    becomes: 'unreachable',
  },
  'no content': {
    answer: (_, response) => void response.writeHead(204).end(),
    becomes: 'unreachable',
  },
  'a part': {
    answer: (_, response) => void response.writeHead(206).end(PNG),
    becomes: 'unreachable',
  },
  'a broken server': {
    answer: (_, response) => void response.writeHead(500).end(PNG),
    becomes: 'unreachable',
  },
  'a picture that is missing': {
    answer: (_, response) => void response.writeHead(404).end(PNG),
    becomes: 'not_found',
  },
  nothing: { answer: with200({}, ''), becomes: 'not_an_image' },
  'a web page called PNG': {
    answer: with200({ 'content-type': 'image/png' }, '<html>'),
    becomes: 'not_an_image',
  },
  'SVG called PNG': {
    answer: with200({ 'content-type': 'image/png' }, '<svg onload="alert(1)"/>'),
    becomes: 'not_an_image',
  },
  'an executable called PNG': {
    answer: with200({ 'content-type': 'image/png' }, '\x7fELF\x02\x01\x01'),
    becomes: 'not_an_image',
  },
  'a PNG called a web page': {
    answer: with200({ 'content-type': 'text/html' }, PNG),
    becomes: 'archived',
  },
  'a PNG that is cut short': {
    answer: with200({}, PNG.subarray(0, -10)),
    becomes: 'archived, truncated',
  },
  'a PNG shorter than it declares': {
    answer: (_, response) => {
      response.writeHead(200, { 'content-length': PNG.length + 100 })
      response.write(PNG, () => response.destroy())
    },
    becomes: 'archived, truncated',
  },
}
