import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { onTestFinished, vi } from 'vitest'
import { s3Store } from '../../../src/objects/s3.node.ts'
import type { S3Options } from '../../../src/objects/s3-requests.node.ts'

/** One request as the server saw it, its body read to the end. */
export interface Seen {
  method: string
  /** Its path, the bucket included, and its query. */
  url: string
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
      const { method = '', url = '', headers } = request
      const one = { method, url, headers, bytes: body.byteLength }
      seen.push(one)
      script(one, response)
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
export function refuse(response: ServerResponse, status: number, code: string, message = code) {
  response.writeHead(status, { 'content-type': 'application/xml' })
  response.end(
    `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`,
  )
}

/** Our store over such a server, until the test has finished. */
export async function storeOver(script: Script, more: Partial<S3Options> = {}) {
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'anyone')
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'anything')
  const server = await scriptedS3(script)
  const store = s3Store({
    bucket: 'images',
    endpoint: server.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    ...more,
  })
  onTestFinished(() => {
    vi.unstubAllEnvs()
    store.close()
    server.stop()
  })
  const requests = () =>
    server.seen.map(({ method, headers }) => method + (headers['if-none-match'] ?? ''))
  return { server, store, requests }
}
