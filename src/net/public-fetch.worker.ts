import { ImageFailure } from '../errors.ts'
import type { Get, GetResponse } from '../deps.ts'
import { isPublicUnicast } from './address.ts'

const HEADERS = { 'user-agent': 'afterimage', 'accept-encoding': 'identity' }

interface PublicFetchOptions {
  fetch: (url: URL, init: RequestInit & { cache: 'no-store' }) => Promise<Response>
  /**
   * Exact origins, such as `http://127.0.0.1:9101`, that may be reached although their address is
   * private.
   */
  allowedPrivateOrigins: ReadonlySet<string>
}

/**
 * The Get of Workers. Only literal addresses are judged here: names are resolved and connected to
 * by Cloudflare's network, which has no private addresses to reach, and with the compatibility flag
 * `global_fetch_strictly_public` no way past the front doors of one's own zones. Cloudflare adds
 * headers of its own (`cf-worker`, `cf-ray`) that name the zone.
 */
export function publicFetch({ fetch, allowedPrivateOrigins }: PublicFetchOptions): Get {
  return async (url, signal) => {
    if (!allowedPrivateOrigins.has(url.origin)) judgeHost(url)
    try {
      // A cached 404 would outlast the seconds for which a link is not ready.
      const response = await fetch(url, {
        redirect: 'manual',
        headers: HEADERS,
        signal,
        cache: 'no-store',
      })
      return responseOf(response, (error) => asFailure(error, url.host, signal))
    } catch (error) {
      throw asFailure(error, url.host, signal)
    }
  }
}

function judgeHost({ hostname }: URL) {
  const address = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
  const isLiteral = /^[\d.]+$|:/u.test(address)
  // A name of one label, or below these, means something only inside somebody's network.
  const isLocalName =
    !isLiteral && /^[^.]+\.?$|\.(?:localhost|local|internal|home\.arpa)\.?$/iu.test(address)
  if (isLocalName || (isLiteral && !isPublicUnicast(address)))
    throw new ImageFailure('refused_address', `${address} is not a public address.`, {
      final: true,
    })
}

type Translate = (error: unknown) => ImageFailure

function responseOf({ status, headers, body }: Response, translate: Translate): GetResponse {
  return {
    status,
    header: (name) => headers.get(name) ?? undefined,
    body: translated(body, translate),
    discard: () => {
      // A body that broke has nothing left to drop.
      body?.cancel().catch(() => undefined)
    },
  }
}

async function* translated(body: ReadableStream<Uint8Array> | null, translate: Translate) {
  try {
    if (body) yield* body
  } catch (error) {
    throw translate(error)
  }
}

function asFailure(cause: unknown, host: string, signal: AbortSignal) {
  if (cause instanceof ImageFailure) return cause
  if (signal.aborted)
    return new ImageFailure('timeout', `${host} did not answer in time.`, { cause })
  return new ImageFailure('unreachable', `${host} cannot be reached.`, { cause })
}
