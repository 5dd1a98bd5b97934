import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer as createHttpsServer, type ServerOptions } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import { createServer as createTcpServer } from 'node:net'
import { onTestFinished } from 'vitest'

/** A server on loopback for one test, with the number of connections it was ever sent. */
export interface Loopback {
  origin: string
  port: number
  connections: () => number
}

export function serve(listener: RequestListener, host = '127.0.0.1') {
  return open(createHttpServer(listener), 'http', host)
}

export function serveTls(options: ServerOptions, listener: RequestListener) {
  return open(createHttpsServer(options, listener), 'https', '127.0.0.1')
}

/** Answers every request with these very bytes, then closes the connection or leaves it open. */
export function serveRaw(answer: Uint8Array | string, { close = true } = {}) {
  const server = createTcpServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => (close ? socket.end(answer) : socket.write(answer)))
    onTestFinished(() => void socket.destroy())
  })
  return open(server, 'http', '127.0.0.1')
}

async function open(server: Server, scheme: string, host: string): Promise<Loopback> {
  let connections = 0
  server.on('connection', (socket) => {
    connections++
    onTestFinished(() => void socket.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  onTestFinished(() => void server.close())
  const { port } = server.address() as AddressInfo
  const authority = host.includes(':') ? `[${host}]` : host
  return { origin: `${scheme}://${authority}:${port}`, port, connections: () => connections }
}
