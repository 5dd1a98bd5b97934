import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { crc32, deflateSync } from 'node:zlib'

// The world beside the service, in a process of its own: two image hosts, a host that never
// answers, an object store that takes everything, and one that never answers. `/seen` tells what
// was seen so far.

const seen = { gets: 0, puts: 0, firstGetAt: 0, firstPutAt: 0, lastPutAt: 0 }
const urls = new Set<string>()

/** A PNG of so many bytes; what follows the pixels is noise. */
function picture(bytes: number) {
  const body = Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', Buffer.from([0, 0, 0, 1, 0, 0, 0, 1, 8, 2, 0, 0, 0])),
    chunk('IDAT', deflateSync(Buffer.from([0, 1, 2, 3]))),
  ])
  const end = chunk('IEND', Buffer.alloc(0))
  return Buffer.concat([
    body,
    chunk('noIz', randomBytes(bytes - body.length - end.length - 12)),
    end,
  ])
}

function chunk(type: string, data: Buffer) {
  const typed = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const framed = Buffer.alloc(8)
  framed.writeUInt32BE(data.length, 0)
  framed.writeUInt32BE(crc32(typed), 4)
  return Buffer.concat([framed.subarray(0, 4), typed, framed.subarray(4)])
}

const STAMP_AT = 120
const pictures = new Map<number, Buffer>()

/** `/<bytes>/<number>.png`: every number is a picture of its own. */
function serveImage(request: IncomingMessage, response: ServerResponse) {
  const [, bytes = '0', name = ''] = (request.url ?? '').split('/')
  if (bytes === 'seen') {
    response.end(JSON.stringify({ ...seen, urls: urls.size }))
    return
  }
  const base = pictures.get(Number(bytes)) ?? picture(Number(bytes))
  pictures.set(Number(bytes), base)
  seen.gets++
  urls.add(`${request.headers.host ?? ''}${request.url ?? ''}`)
  seen.firstGetAt ||= Date.now()
  const stamp = Buffer.alloc(24)
  stamp.write(name)
  response.writeHead(200, { 'content-type': 'image/png', 'content-length': base.length })
  response.cork()
  response.write(base.subarray(0, STAMP_AT))
  response.write(stamp)
  response.end(base.subarray(STAMP_AT + stamp.length))
  response.uncork()
}

/** As much of S3 as a PUT needs. */
function takeObject(request: IncomingMessage, response: ServerResponse) {
  request.resume().on('end', () => {
    if (request.method === 'PUT' && request.url?.includes('/sha256/')) {
      seen.puts++
      seen.lastPutAt = Date.now()
      seen.firstPutAt ||= seen.lastPutAt
    }
    response
      .writeHead(request.method === 'PUT' ? 200 : 404, { etag: '"0"', 'content-length': 0 })
      .end()
  })
}

const listen = (server: Server | ReturnType<typeof createTcpServer>) =>
  new Promise<string>((resolve) => {
    server.listen(0, '127.0.0.1', () =>
      resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    )
  })

/** Takes connections and what comes on them, and says nothing. */
const silent = () => createTcpServer((socket) => socket.on('error', () => undefined).resume())

const [first, second, store, deaf, mute] = await Promise.all(
  [
    createServer(serveImage),
    createServer(serveImage),
    createServer(takeObject),
    silent(),
    silent(),
  ].map(listen),
)
process.stdout.write(`${JSON.stringify({ first, second, store, deaf, mute })}\n`)
