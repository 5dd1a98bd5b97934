import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createSecureServer as createHttp2Server } from 'node:http2'
import { createServer as createHttpsServer, type ServerOptions } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import { createServer as createTcpServer } from 'node:net'
import { onTestFinished } from 'vitest'

/** A server on loopback for one test, with the number of connections it was ever sent. */
export interface Loopback {
  origin: string
  port: number
  connections: () => number
  /** Resolves once every connection that it was sent so far is closed. */
  closed: () => Promise<unknown>
}

export function serve(listener: RequestListener, host = '127.0.0.1') {
  return open(createHttpServer(listener), 'http', host)
}

export function serveTls(options: ServerOptions, listener: RequestListener) {
  return open(createHttpsServer(options, listener), 'https', '127.0.0.1')
}

/** HTTP/2 for who asks for it, and else HTTP/1.1. */
export function serveTls2(options: ServerOptions, answer: (httpVersion: string) => string) {
  const server = createHttp2Server({ ...options, allowHTTP1: true }, ({ httpVersion }, response) =>
    response.end(answer(httpVersion)),
  )
  return open(server, 'https', '127.0.0.1')
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

/**
 * Answers with `begin`, and then with `again` a hundred times a second for as long as somebody
 * listens.
 */
export function serveTrickle(begin: string, again: string) {
  const server = createTcpServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => {
      socket.write(begin)
      const trickle = setInterval(() => socket.write(again), 10)
      socket.once('close', () => clearInterval(trickle))
    })
  })
  return open(server, 'http', '127.0.0.1')
}

async function open(server: Server, scheme: string, host: string): Promise<Loopback> {
  let connections = 0
  const closings: Promise<unknown>[] = []
  server.on('connection', (socket) => {
    connections++
    closings.push(new Promise((resolve) => socket.once('close', resolve)))
    onTestFinished(() => void socket.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  onTestFinished(() => void server.close())
  const { port } = server.address() as AddressInfo
  const authority = host.includes(':') ? `[${host}]` : host
  return {
    origin: `${scheme}://${authority}:${port}`,
    port,
    connections: () => connections,
    closed: () => Promise.all(closings),
  }
}
