import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { getRequestListener, RequestError } from '@hono/node-server'
import { AppError } from '../../errors.ts'
import type { Log } from '../../deps.ts'
import { problem } from './problem.ts'

type Fetch = Parameters<typeof getRequestListener>[0]

interface Patience {
  /** How long the head of a request may take, from the first moment of its connection. */
  headersMs: number
  /**
   * How long a whole request may take: more than a door gives to a body, so that the door answers.
   */
  requestMs: number
  /** How often both are looked at. */
  checkMs: number
}

const PATIENCE: Patience = { headersMs: 10_000, requestMs: 60_000, checkMs: 1000 }

/**
 * How long a connection that we close is still read from: closing with unread bytes would take our
 * answer back.
 */
const LINGER_MS = 500

/**
 * The HTTP server of a Node process. What never becomes a request is answered here, without a word
 * from the app.
 */
export function httpServer(fetch: Fetch, log: Log, patience: Patience = PATIENCE): Server {
  const listener = getRequestListener(fetch, { errorHandler: (error) => unreadable(log, error) })
  const open = new WeakMap<Duplex, Set<Exchange>>()
  const take = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    remember(open, { incoming, outgoing })
    // Read as a URL, it would be another path than the one that a proxy before us saw.
    if (ROUNDABOUT.test(incoming.url ?? '')) incoming.url = '/-'
    void listener(incoming, outgoing)
  }
  const server = createServer({
    headersTimeout: patience.headersMs,
    requestTimeout: patience.requestMs,
    connectionsCheckingInterval: patience.checkMs,
    // Of these Node would answer a bare 400 and 417 by itself.
    requireHostHeader: false,
  })
  return server
    .on('request', take)
    .on('checkExpectation', take)
    .on('clientError', (error, socket) => giveUp(error, socket, [...(open.get(socket) ?? [])]))
}

/** A path with a backslash, or with a segment `.` or `..`, however it is written. */
const ROUNDABOUT = /^[^?#]*(?:\\|\/(?:\.|%2e){1,2}(?:[/?#]|$))/iu

interface Exchange {
  incoming: IncomingMessage
  outgoing: ServerResponse
}

function remember(open: WeakMap<Duplex, Set<Exchange>>, exchange: Exchange) {
  const { socket } = exchange.incoming
  const exchanges = open.get(socket) ?? new Set()
  open.set(socket, exchanges.add(exchange))
  exchange.outgoing.once('close', () => exchanges.delete(exchange))
}

/**
 * A connection that cannot be read on. What came whole before is answered first. What broke off, or
 * came too slowly, is a 503: Node would say 400 and 408, after which a sender does not try again.
 */
function giveUp({ code }: NodeJS.ErrnoException, socket: Duplex, exchanges: Exchange[]) {
  const last = exchanges.at(-1)
  if (!socket.writable || code === 'ECONNRESET') {
    socket.destroy()
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

function closeGently(socket: Duplex, lastWords?: string) {
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

/** The request line or the Host header makes no URL; anything else would be a bug. */
function unreadable(log: Log, error: unknown) {
  if (!(error instanceof RequestError)) log('error', 'a request failed', { error })
  const answered = problem(
    error instanceof RequestError
      ? new AppError('invalid_request', 'The request line and the Host header make no URL.')
      : new AppError('internal', 'Something went wrong on our side.'),
  )
  answered.headers.set('x-content-type-options', 'nosniff')
  return answered
}
