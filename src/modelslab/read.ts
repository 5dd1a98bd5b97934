import type {
  Facts,
  ImageSource,
  NsfwVerdict,
  OfferedImage,
  Outcome,
  Reply,
  CallbackReading,
} from '../model/generation.ts'

type Json = Record<string, unknown>

/** Images of one message beyond this position are not kept: the provider makes at most 4. */
const MOST_IMAGES = 64

/** JSON.parse takes any depth; whatever walks the value afterwards would run out of stack. */
const MOST_LEVELS = 100

const isShallow = (value: unknown, levels: number): boolean =>
  typeof value !== 'object' ||
  value === null ||
  (levels > 0 && Object.values(value).every((inner) => isShallow(inner, levels - 1)))

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * The object that a body holds, or null where it is not a JSON object, or one that only an attack
 * would nest so.
 */
export function parseObject(text: string): Json | null {
  try {
    const value: unknown = JSON.parse(text.replace(/^\uFEFF/u, ''))
    return isObject(value) && isShallow(value, MOST_LEVELS) ? value : null
  } catch {
    return null
  }
}

/**
 * Reads a message that is not a refusal to talk: reply, callback or fetch, which differ only in
 * what they leave out. Null where `status` is none that we know.
 */
export function readOutcome(body: Json): Outcome | null {
  const facts = readFacts(body)
  switch (textOf(body['status'])?.toLowerCase()) {
    case 'success':
      return {
        ...facts,
        status: 'succeeded',
        ...kept([...offered('output', body['output']), ...offered('proxy', body['proxy_links'])]),
      }
    case 'processing':
    case 'queued':
      return { ...facts, status: 'processing' }
    case 'error':
    case 'failed':
      return { ...facts, status: 'failed', message: messageOf(body) }
    default:
      return null
  }
}

/** The track_id that a message carries, whatever its type; null where it has none. */
export const trackIdOf = (body: Json) => textOf(body['track_id'])

/** A callback is read like any other message; whose it is must be checked. */
export function readCallback(text: string): CallbackReading {
  const body = parseObject(text)
  return { outcome: body && readOutcome(body), trackId: body && trackIdOf(body) }
}

/**
 * Reads `body.status` first and the HTTP status second: an accepted job has been seen with HTTP
 * 400.
 */
export function readReply(
  httpStatus: number,
  text: string,
  retryAfterHeader: string | null,
): Reply {
  const body = parseObject(text)
  const outcome = body && readOutcome(body)
  if (outcome && outcome.status !== 'failed') return outcome
  const retryAfterSeconds = waitOf(body?.['retry_after']) ?? waitOf(retryAfterHeader)
  if (httpStatus === 429 || (body && numberOf(body['retry_after']) !== null))
    return {
      status: 'held',
      retryAfterSeconds,
      full: true,
      reason: body ? messageOf(body) : `HTTP ${httpStatus}`,
    }
  if (outcome) return outcome
  if (body && isRefusal(httpStatus, body))
    return { ...readFacts(body), status: 'failed', message: messageOf(body) }
  return {
    status: 'unreadable',
    reason: `HTTP ${httpStatus} with ${body ? 'no status that is known' : 'a body that is not JSON'}`,
  }
}

/** An error in the words of a gateway before the API: no `status`, but a 4xx and a message. */
const isRefusal = (httpStatus: number, body: Json) =>
  httpStatus >= 400 &&
  httpStatus < 500 &&
  httpStatus !== 408 &&
  body['status'] === undefined &&
  messageOf(body) !== NO_MESSAGE

/**
 * Reads a fetch. Errors about our account or the provider's health say nothing of the generation,
 * and are `unreadable`.
 */
export function readFetch(
  httpStatus: number,
  text: string,
  retryAfterHeader: string | null,
): Reply {
  const reply = readReply(httpStatus, text, retryAfterHeader)
  if (reply.status !== 'failed') return reply
  const ofTheAccount =
    [401, 402, 403].includes(httpStatus) ||
    httpStatus >= 500 ||
    /api key|credit|subscri/iu.test(reply.message)
  return ofTheAccount ? { status: 'unreadable', reason: reply.message } : reply
}

function readFacts(body: Json): Facts {
  const meta = isObject(body['meta']) ? body['meta'] : null
  return {
    providerId: idOf(body['id']),
    etaSeconds: numberOf(body['eta']),
    generationTimeSeconds: numberOf(body['generationTime']) ?? numberOf(body['generation_time']),
    seed: wholeNumberOf(meta?.['seed']) ?? wholeNumberOf(body['seed']),
    meta,
    tip: textOf(body['tip']) ?? textOf(body['tips']),
    webhookStatus: textOf(body['webhook_status']),
    nsfw: 'nsfw_content_detected' in body ? readNsfw(body['nsfw_content_detected']) : undefined,
    mentionsProxies: body['proxy_links'] !== undefined && body['proxy_links'] !== null,
  }
}

/** Never of an object: it may bring a toString that is no function. */
const wordOf = (value: unknown) =>
  typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? String(value).toLowerCase()
    : ''

function readNsfw(value: unknown): { value: unknown; verdict: NsfwVerdict } {
  const items: unknown[] = [value].flat(MOST_LEVELS)
  const said = items.map(wordOf)
  const flagged = said.some((one) => one === 'true' || one === '1')
  const clear = said.length > 0 && said.every((one) => one === 'false' || one === '0')
  return { value, verdict: flagged ? 'flagged' : clear ? 'clear' : 'unknown' }
}

/**
 * Seen as an array of strings or of `{url}`, one plain string, an object `{"0": url}`, `""`, null
 * and absent.
 */
function offered(source: ImageSource, value: unknown): OfferedImage[] {
  return itemsOf(value).flatMap(([position, item]) => {
    const url = textOf(isObject(item) ? item['url'] : item)
    return url ? [{ source, position, url }] : []
  })
}

function itemsOf(value: unknown): [number, unknown][] {
  if (Array.isArray(value)) return [...value.entries()]
  if (isObject(value) && !('url' in value)) return byIndex(value)
  return [[0, value]]
}

const byIndex = (value: Json) =>
  Object.entries(value)
    .filter(([key]) => /^(?:0|[1-9]\d{0,8})$/u.test(key))
    .map(([key, item]): [number, unknown] => [Number(key), item])

function kept(images: OfferedImage[]) {
  const within = images.filter(({ position }) => position < MOST_IMAGES)
  return { images: within, cutOff: images.length - within.length }
}

const NO_MESSAGE = 'The provider gave no reason.'

/** `message`, which is also spelled `messege`, is a string or an object of arrays. */
function messageOf(body: Json): string {
  for (const name of ['message', 'messege', 'error', 'tip', 'tips']) {
    const text = flatten(body[name])
    if (text) return text.slice(0, 2000)
  }
  return NO_MESSAGE
}

function flatten(value: unknown): string {
  if (typeof value === 'string') return value.trim()
  if (Array.isArray(value)) return value.map(flatten).filter(Boolean).join(' ')
  if (!isObject(value)) return ''
  return Object.entries(value)
    .map(([field, text]) => `${field}: ${flatten(text)}`)
    .join(' ')
}

/** It becomes a segment of a path. */
function idOf(value: unknown): string | null {
  const id = textOf(value)
  return id !== null && /^[\w:-]{1,128}$/u.test(id) ? id : null
}

function textOf(value: unknown): string | null {
  if (typeof value === 'number' && Number.isFinite(value)) return String(value)
  return typeof value === 'string' && value.trim() !== '' ? value.trim() : null
}

/** Past a day nobody means it, and dates end somewhere. */
const LONGEST_WAIT_SECONDS = 24 * 3600

function waitOf(value: unknown): number | null {
  const seconds = numberOf(value)
  return seconds === null ? null : Math.min(seconds, LONGEST_WAIT_SECONDS)
}

function numberOf(value: unknown): number | null {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
  return typeof number === 'number' && Number.isFinite(number) && number >= 0 ? number : null
}

function wholeNumberOf(value: unknown): number | null {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value
  return typeof number === 'number' && Number.isSafeInteger(number) ? number : null
}
