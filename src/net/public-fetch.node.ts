import { Agent, request, type Dispatcher } from 'undici'
import { ImageFailure } from '../errors.ts'
import type { Get, GetResponse } from '../deps.ts'
import {
  addressesOfSystem,
  judgedConnector,
  resolveBySystem,
  type Resolve,
} from './judged-connect.node.ts'
import { tellingLengthOnce } from './one-length.node.ts'

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

/** What undici makes of a length that is told twice, in two lines or in one. */
const TWO_LENGTHS = new Set([
  'HPE_UNEXPECTED_CONTENT_LENGTH',
  'HPE_INVALID_CONTENT_LENGTH',
  'UND_ERR_RES_CONTENT_LENGTH_MISMATCH',
])

type Translate = (error: unknown) => ImageFailure

/**
 * The Get of Node. Throws ImageFailure `refused_address` (final), `timeout` (an aborted signal too)
 * and `unreachable`, also while the body is read. `undici.request` neither follows redirects nor
 * inflates; a connection is kept for its origin only.
 */
export function publicGet(options: PublicGetOptions): Get & { close: () => Promise<void> } {
  const [agent, patient] = [agentFor(options), patientAgentFor(options)]
  const ask = (dispatcher: Dispatcher, url: URL, signal: AbortSignal) =>
    orAborted(request(url, { dispatcher, signal, headers: HEADERS }), signal)
  const get: Get = async (url, signal) => {
    try {
      const answer = await ask(agent, url, signal).catch((error: unknown) => {
        if (TWO_LENGTHS.has(codeOf(error))) return ask(patient, url, signal)
        throw error
      })
      return responseOf(answer, (error) => asFailure(error, url.host, signal))
    } catch (error) {
      throw asFailure(error, url.host, signal)
    }
  }
  return Object.assign(get, {
    close: async () => {
      await Promise.all([agent.destroy(), patient.destroy()])
    },
  })
}

function connectorFor({ connectTimeoutMs = 10_000, ...options }: PublicGetOptions) {
  return judgedConnector({
    resolve: resolveBySystem,
    ownAddresses: addressesOfSystem,
    connectTimeoutMs,
    ...options,
  })
}

/** For the answers that undici's parser refuses for their two lengths, one a connection. */
const patientAgentFor = (options: PublicGetOptions) =>
  agentFor(options, {
    connect: tellingLengthOnce(connectorFor(options), MAX_HEADER_BYTES),
    pipelining: 0,
  })

function agentFor(options: PublicGetOptions, more: Agent.Options = {}) {
  const { idleTimeoutMs = 30_000 } = options
  return new Agent({
    connect: connectorFor(options),
    allowH2: false,
    connections: options.connectionsPerOrigin ?? 16,
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: idleTimeoutMs,
    bodyTimeout: idleTimeoutMs,
    // undici's ten minutes would let every host of a hostile list hold a connection for that long.
    keepAliveMaxTimeout: idleTimeoutMs,
    ...more,
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
    header: (name) => asciiOf([headers[name]].flat()[0]),
    body: translated(body, translate),
    discard: () => body.destroy(),
  }
}

/** undici reads each byte as one character. */
const asciiOf = (value: string | undefined) =>
  value?.replace(/[\x80-\xff]/gu, (byte) => `%${byte.charCodeAt(0).toString(16)}`)

async function* translated(body: AsyncIterable<Uint8Array>, translate: Translate) {
  try {
    yield* body
  } catch (error) {
    throw translate(error)
  }
}

function asFailure(cause: unknown, host: string, signal: AbortSignal) {
  if (cause instanceof ImageFailure) return cause
  if (signal.aborted || TIMEOUTS.has(codeOf(cause))) {
    return new ImageFailure('timeout', `${host} did not answer in time.`, { cause })
  }
  const why = codeOf(cause) || (cause as Error).name
  return new ImageFailure('unreachable', `${host} cannot be reached: ${why}.`, { cause })
}

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code ?? ''
