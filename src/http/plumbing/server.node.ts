import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { getRequestListener, RequestError } from '@hono/node-server'
import { AppError } from '../../errors.ts'
import type { Log } from '../../deps.ts'
import { problem } from './problem.ts'

type Fetch = Parameters<typeof getRequestListener>[0]

interface Patience {
  /** How long the head of a request may take, from its first byte. */
  headersMs: number
  /**
   * How long a whole request may take: more than a door gives to a body, so that the door answers.
   */
  requestMs: number
  /** How often both are looked at. */
  checkMs: number
  /**
   * How long a connection may say nothing. A proxy that keeps it longer sends into one that we
   * have closed, and must not send a POST again: nginx keeps 75 s, Google 600, Cloudflare 900.
   */
  idleMs: number
  /** The same while there are more connections than `crowd`: more than proxies need. */
  crowdedMs: number
  crowd: number
}

const PATIENCE: Patience = {
  headersMs: 10_000,
  requestMs: 60_000,
  checkMs: 1000,
  idleMs: 920_000,
  crowdedMs: 5000,
  crowd: 1000,
}

/**
 * How long a connection that we close is still read from: closing with unread bytes would take our
 * answer back.
 */
const LINGER_MS = 500
/** How long a stop waits for what has begun. */
const LAST_ANSWERS_MS = 2000

export interface HttpServer {
  server: Server
  /** Answers what has been asked. Connections on which nothing is under way are closed at once. */
  close: () => Promise<void>
}

/**
 * The HTTP server of a Node process. What never becomes a request is answered here, without a word
 * from the app.
 */
export function httpServer(fetch: Fetch, log: Log, patience: Patience = PATIENCE): HttpServer {
  const listener = getRequestListener(fetch, { errorHandler: (error) => unreadable(log, error) })
  const open = new Map<Socket, Set<Exchange>>()
  const givenUp = new WeakSet<Socket>()
  const take = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    remember(open.get(incoming.socket), { incoming, outgoing })
    ownTarget(incoming)
    void listener(incoming, outgoing)
  }
  const server = createServer({
    headersTimeout: patience.headersMs,
    requestTimeout: patience.requestMs,
    connectionsCheckingInterval: patience.checkMs,
    keepAliveTimeout: patience.idleMs,
    // Of these Node would answer a bare 400 and 417 by itself.
    requireHostHeader: false,
  })
  const counted = () => {
    const { crowd, crowdedMs, idleMs } = patience
    server.keepAliveTimeout = open.size > crowd ? crowdedMs : idleMs
  }
  server
    .on('connection', (socket) => {
      open.set(socket, new Set())
      socket.once('close', () => {
        open.delete(socket)
        counted()
      })
      counted()
    })
    .on('request', take)
    .on('checkExpectation', take)
    .on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      // Whatever is still read while we linger is one more error: the first one has been answered.
      if (givenUp.has(socket)) return
      // Opened in advance: what is not yet asked can be neither late nor wrong.
      if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && socket.bytesRead === 0) {
        socket.setTimeout(server.keepAliveTimeout)
        return
      }
      givenUp.add(socket)
      giveUp(error, socket, [...(open.get(socket) ?? [])])
    })
  return { server, close: () => close(server, open) }
}

function close(server: Server, open: ReadonlyMap<Socket, ReadonlySet<Exchange>>) {
  return new Promise<void>((resolve) => {
    server.close(() => resolve())
    server.closeIdleConnections()
    for (const [socket, exchanges] of open) {
      if (socket.bytesRead === 0) socket.destroy()
      const endWithLast = () => exchanges.size === 0 && socket.end()
      for (const { outgoing } of exchanges) outgoing.once('close', endWithLast)
    }
    setTimeout(() => server.closeAllConnections(), LAST_ANSWERS_MS).unref()
  })
}

/** Nothing depends on it, and not everybody names one: health checks speak HTTP/1.0. */
const HOST = 'afterimage'
/** A path with a backslash, or with a segment `.` or `..`, however it is written. */
const ROUNDABOUT = /^[^?#]*(?:\\|\/(?:\.|%2e){1,2}(?:[/?#]|$))/iu

/** Leaves of what a request is for only what counts here: its path and its query. */
function ownTarget(incoming: IncomingMessage) {
  incoming.headers.host = HOST
  const target = (incoming.url ?? '').replace(/^https?:\/\/[^/?#\\]*/iu, '')
  // Read as a URL, it would be another path than the one that a proxy before us saw.
  incoming.url = ROUNDABOUT.test(target) ? '/-' : target.replace(/^(?=\?|$)/u, '/')
}

interface Exchange {
  incoming: IncomingMessage
  outgoing: ServerResponse
}

function remember(exchanges: Set<Exchange> | undefined, exchange: Exchange) {
  exchanges?.add(exchange)
  exchange.outgoing.once('close', () => exchanges?.delete(exchange))
}

/**
 * A connection that cannot be read on. What came whole before is answered first. What broke off, or
 * came too slowly, is a 503: Node would say 400 and 408, after which a sender does not try again.
 */
function giveUp({ code }: NodeJS.ErrnoException, socket: Socket, exchanges: Exchange[]) {
  const last = exchanges.at(-1)
  if (code === 'ECONNRESET') {
    socket.destroy()
  } else if (!socket.writable) {
    // Closed gently already: what is still read is wrong again, each time.
  } else if (last?.incoming.complete) {
    if (!last.outgoing.headersSent) last.outgoing.setHeader('connection', 'close')
    last.outgoing.once('close', () => closeGently(socket))
  } else if (last?.outgoing.headersSent || exchanges.length > 1) {
    closeGently(socket)
  } else {
    const isIncomplete =
      last !== undefined || code === 'ERR_HTTP_REQUEST_TIMEOUT' || code === 'HPE_INVALID_EOF_STATE'
    closeGently(
      socket,
      isIncomplete ? INCOMPLETE : code === 'HPE_HEADER_OVERFLOW' ? HEAD_TOO_LARGE : MALFORMED,
    )
  }
}

function closeGently(socket: Socket, lastWords?: string) {
  if (lastWords === undefined) socket.end()
  else socket.end(lastWords)
  setTimeout(() => socket.destroy(), LINGER_MS).unref()
}

const answer = (status: string, ...headers: string[]) =>
  [
    `HTTP/1.1 ${status}`,
    ...headers,
    'X-Content-Type-Options: nosniff',
    'Content-Length: 0',
    'Connection: close',
    '',
    '',
  ].join('\r\n')

const INCOMPLETE = answer('503 Service Unavailable', 'Retry-After: 5')
const HEAD_TOO_LARGE = answer('431 Request Header Fields Too Large')
const MALFORMED = answer('400 Bad Request')

/** The request line makes no URL; anything else would be a bug. */
function unreadable(log: Log, error: unknown) {
  if (!(error instanceof RequestError)) log('error', 'a request failed', { error })
  const answered = problem(
    error instanceof RequestError
      ? new AppError('invalid_request', 'The request line makes no URL.')
      : new AppError('internal', 'Something went wrong on our side.'),
  )
  answered.headers.set('x-content-type-options', 'nosniff')
  return answered
}
