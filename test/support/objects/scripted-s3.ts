import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'

/** One request as the server saw it, its body read to the end. */
interface Seen {
  method: string
  headers: IncomingMessage['headers']
  bytes: number
}

export type Script = (request: Seen, response: ServerResponse) => void

/**
 * A loopback server that misbehaves as `script` says: for answers that radosgw never gives. It
 * checks nothing.
 */
export async function scriptedS3(script: Script) {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    void buffer(request).then((body) => {
      const { method = '', headers } = request
      seen.push({ method, headers, bytes: body.byteLength })
      script({ method, headers, bytes: body.byteLength }, response)
    })
  })
  let connections = 0
  server.on('connection', () => connections++)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    seen,
    connections: () => connections,
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

/** An error as S3 words it. */
export function refuse(response: ServerResponse, status: number, code: string) {
  response.writeHead(status, { 'content-type': 'application/xml' })
  response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`)
}
