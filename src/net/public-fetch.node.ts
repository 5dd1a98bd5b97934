import { Agent, request, type Dispatcher } from 'undici'
import { ImageFailure } from '../errors.ts'
import type { Get, GetResponse } from '../deps.ts'
import {
  addressesOfSystem,
  judgedConnector,
  resolveBySystem,
  type Resolve,
} from './judged-connect.node.ts'

const HEADERS = { 'user-agent': 'afterimage', 'accept-encoding': 'identity' }
const MAX_HEADER_BYTES = 16 * 1024
const TIMEOUTS = new Set([
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'ETIMEDOUT',
])

export interface PublicGetOptions {
  /**
   * Exact origins, such as `http://127.0.0.1:9101`, that may be reached although their address is
   * private.
   */
  allowedPrivateOrigins: ReadonlySet<string>
  resolve?: Resolve
  /** In place of what the system says: the addresses of this machine, which are never reached. */
  ownAddresses?: () => readonly string[]
  /** For looking up the name and connecting together. */
  connectTimeoutMs?: number
  /**
   * Until the headers have come, again between two parts of the body, and for a connection between
   * two requests.
   */
  idleTimeoutMs?: number
  /** Further requests to the same origin wait for one of these. */
  connectionsPerOrigin?: number
  /** Certificates to trust in place of the system's (PEM). */
  ca?: string
}

type Translate = (error: unknown) => ImageFailure

/**
 * The Get of Node. Throws ImageFailure `refused_address` (final), `timeout` (an aborted signal too)
 * and `unreachable`, also while the body is read. `undici.request` neither follows redirects nor
 * inflates; a connection is kept for its origin only.
 */
export function publicGet(options: PublicGetOptions): Get & { close: () => Promise<void> } {
  const agent = agentFor(options)
  const get: Get = async (url, signal) => {
    const answer = request(url, { dispatcher: agent, signal, headers: HEADERS })
    try {
      return responseOf(await orAborted(answer, signal), (error) =>
        asFailure(error, url.host, signal),
      )
    } catch (error) {
      throw asFailure(error, url.host, signal)
    }
  }
  return Object.assign(get, { close: () => agent.destroy() })
}

function agentFor({
  idleTimeoutMs = 30_000,
  connectTimeoutMs = 10_000,
  ...options
}: PublicGetOptions) {
  return new Agent({
    connect: judgedConnector({
      resolve: resolveBySystem,
      ownAddresses: addressesOfSystem,
      connectTimeoutMs,
      ...options,
    }),
    connections: options.connectionsPerOrigin ?? 16,
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: idleTimeoutMs,
    bodyTimeout: idleTimeoutMs,
    // undici's ten minutes would let every host of a hostile list hold a connection for that long.
    keepAliveMaxTimeout: idleTimeoutMs,
  })
}

/**
 * undici looks at the signal only once it is connected. Where we leave before, it drops the request
 * by itself later.
 */
async function orAborted<T>(answer: Promise<T>, signal: AbortSignal) {
  let stop: (() => void) | undefined
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(new ImageFailure('timeout', 'Given up before an answer.'))
    signal.addEventListener('abort', stop)
    if (signal.aborted) stop()
  })
  try {
    return await Promise.race([answer, aborted])
  } finally {
    if (stop) signal.removeEventListener('abort', stop)
  }
}

function responseOf(
  { statusCode, headers, body }: Dispatcher.ResponseData,
  translate: Translate,
): GetResponse {
  // A body that is discarded breaks by our own hand, and one that nobody reads has nobody to tell.
  body.on('error', () => undefined)
  return {
    status: statusCode,
    header: (name) => [headers[name]].flat()[0],
    body: translated(body, translate),
    discard: () => body.destroy(),
  }
}

async function* translated(body: AsyncIterable<Uint8Array>, translate: Translate) {
  try {
    yield* body
  } catch (error) {
    throw translate(error)
  }
}

function asFailure(cause: unknown, host: string, signal: AbortSignal) {
  if (cause instanceof ImageFailure) return cause
  const { code, name } = cause as NodeJS.ErrnoException
  if (signal.aborted || TIMEOUTS.has(code ?? '')) {
    return new ImageFailure('timeout', `${host} did not answer in time.`, { cause })
  }
  return new ImageFailure('unreachable', `${host} cannot be reached: ${code ?? name}.`, { cause })
}
