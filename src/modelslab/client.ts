import { numberOf } from '../model/exact-json.ts'
import type { Reply } from '../model/outcome.ts'
import type { Provider } from '../deps.ts'
import { readCallback, readFetch, readReply } from './read.ts'
import { waitIn } from './words.ts'

interface ModelsLabOptions {
  baseUrl: string
  apiKey: string
  fetch: typeof fetch
  /**
   * Whether a failed call surely never reached the provider (connection refused, name not
   * resolved).
   */
  wasNotSent: (error: unknown) => boolean
}

const MOST_REPLY_BYTES = 4 * 1024 * 1024

/**
 * https://docs.modelslab.com: `POST /api/v6/images/inpaint` and `POST /api/v6/images/fetch/{id}`.
 */
export function modelsLab(options: ModelsLabOptions): Provider {
  const post = async (
    path: string,
    body: Record<string, unknown>,
    timeoutMs: number,
    read: typeof readReply,
  ): Promise<Reply> => {
    const url = new URL(options.baseUrl + path)
    try {
      const response = await options.fetch(url, {
        method: 'POST',
        // On a kept connection that the provider closes just now, nobody could tell whether it took
        // the request.
        headers: {
          'content-type': 'application/json',
          accept: 'application/json',
          connection: 'close',
        },
        body: JSON.stringify({ key: options.apiKey, ...body }),
        redirect: 'manual',
        signal: AbortSignal.timeout(timeoutMs),
      })
      const text = await boundedText(response)
      const reply = read(response.status, text, waitIn(response.headers))
      return 'reason' in reply
        ? { ...reply, answer: `HTTP ${response.status} at ${url.pathname}` }
        : reply
    } catch (error) {
      const reason = reasonOf(error)
      return options.wasNotSent(error)
        ? { status: 'held', retryAfterSeconds: null, full: false, unsent: true, reason }
        : { status: 'unreadable', reason }
    }
  }
  return {
    submit: (request, to, timeoutMs) => {
      const { prompt, seed, ...rest } = request
      const asked = {
        ...(prompt === null ? {} : { prompt }),
        ...rest,
        seed: typeof seed === 'string' ? numberOf(seed) : seed,
      }
      return post(
        '/api/v6/images/inpaint',
        { ...asked, webhook: to.webhook, track_id: to.trackId },
        timeoutMs,
        readReply,
      )
    },
    fetch: (providerId, timeoutMs) =>
      post(`/api/v6/images/fetch/${encodeURIComponent(providerId)}`, {}, timeoutMs, readFetch),
    readCallback,
  }
}

async function boundedText(response: Response) {
  const chunks: Uint8Array<ArrayBuffer>[] = []
  let bytes = 0
  for await (const chunk of chunksOf(response)) {
    bytes += chunk.byteLength
    if (bytes > MOST_REPLY_BYTES)
      throw new Error(`the reply is longer than ${MOST_REPLY_BYTES} bytes`)
    chunks.push(chunk)
  }
  return new Blob(chunks).text()
}

/** A body that is missing is an empty one. */
function chunksOf(
  response: Response,
): AsyncIterable<Uint8Array<ArrayBuffer>> | Iterable<Uint8Array<ArrayBuffer>> {
  return response.body ?? []
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message
}
