import type { CallbackReading, Facts, Outcome, Reply } from '../model/outcome.ts'
import { isObject, type Json, objectIn, parseBody, statusOf } from './body.ts'
import { kept, offered } from './links.ts'
import { readNsfw } from './nsfw.ts'
import { idOf, numberOf, seedOf, textOf, waitOf } from './words.ts'

/**
 * Reads a message that is not a refusal to talk: reply, callback or fetch, which differ only in
 * what they leave out. Null where `status` is none that we know.
 */
export function readOutcome(body: Json): Outcome | null {
  const facts = readFacts(body)
  switch (statusOf(body)) {
    case 'succeeded': {
      const { images, cutOff } = kept([...outputs(body), ...mirrors(body)])
      return { ...facts, status: 'succeeded', images, cutOff: cutOff + facts.cutOff }
    }
    case 'processing':
      return { ...facts, status: 'processing' }
    case 'failed':
      return { ...facts, status: 'failed', message: messageOf(body) }
    case null:
      return null
  }
}

const mirrors = (body: Json) => offered('proxy', body['proxy_links'])

function outputs(body: Json) {
  const named = offered('output', body['output'])
  return named.length > 0 ? named : offered('output', body['images'])
}

/** The track_id that a message carries, whatever its type; null where it has none. */
export const trackIdOf = (body: Json) => textOf(body['track_id'])

/** A callback is read like any other message; whose it is must be checked. */
export function readCallback(text: string): CallbackReading {
  const body = parseBody(text)
  return { outcome: body && readOutcome(body), trackId: body && trackIdOf(body) }
}

/**
 * Reads `body.status` first and the HTTP status second: an accepted job has been seen with HTTP
 * 400. `waitSeconds` is what the headers ask for.
 */
export function readReply(httpStatus: number, text: string, waitSeconds: number | null): Reply {
  const body = parseBody(text)
  const outcome = body && readOutcome(body)
  if (outcome && outcome.status !== 'failed') return outcome
  const asked = body && textOf(body['retry_after'])
  const retryAfterSeconds = waitOf(asked) ?? waitSeconds
  if (httpStatus === 429 || asked !== null)
    return {
      status: 'held',
      retryAfterSeconds,
      full: true,
      reason: body ? messageOf(body) : `HTTP ${httpStatus}`,
    }
  if (outcome) return outcome
  if (body && isRefusal(httpStatus, body))
    return { ...readFacts(body), status: 'failed', message: messageOf(body) }
  const instead = body ? 'no status that is known' : 'a body that is not JSON'
  const reason = `HTTP ${httpStatus} with ${instead}`
  return httpStatus >= 300 && httpStatus < 500 && !maybeReply(httpStatus, text, body)
    ? { status: 'held', retryAfterSeconds, full: false, reason }
    : { status: 'unreadable', reason }
}

/** Of the path, the connection or the gateway, whoever says so: no word about the request. */
const NOT_OF_THE_REQUEST = [404, 405, 407, 408, 421, 425, 426]

/** An error in the words of a gateway before the API: no `status`, but a 4xx and a message. */
const isRefusal = (httpStatus: number, body: Json) =>
  httpStatus >= 400 &&
  httpStatus < 500 &&
  !NOT_OF_THE_REQUEST.includes(httpStatus) &&
  !hasStatus(body) &&
  messageOf(body) !== NO_MESSAGE

/** Gateways repeat the number of HTTP's there. */
const hasStatus = (body: Json) => /\D/u.test(textOf(body['status']) ?? '')

/**
 * What was refused is sent again, and must not have been taken: so an id, a text that may be JSON
 * cut short, and, as what was taken has come with HTTP 400, any status with that, is a reply.
 */
function maybeReply(httpStatus: number, text: string, body: Json | null) {
  if (!body) return /^\s*\{/u.test(text)
  return idOf(body['id']) !== null || (httpStatus === 400 && hasStatus(body))
}

/**
 * Reads a fetch. Errors about our account or the provider's health say nothing of the generation,
 * and are `unreadable`.
 */
export function readFetch(httpStatus: number, text: string, waitSeconds: number | null): Reply {
  const reply = readReply(httpStatus, text, waitSeconds)
  if (reply.status !== 'failed') return reply
  const ofTheAccount =
    [401, 402, 403].includes(httpStatus) ||
    httpStatus >= 500 ||
    /api key|credit|subscri/iu.test(reply.message)
  return ofTheAccount ? { status: 'unreadable', reason: reply.message } : reply
}

function readFacts(body: Json): Facts {
  const meta = objectIn(body['meta'])
  const promised = kept(offered('output', body['future_links']))
  return {
    providerId: idOf(body['id']),
    etaSeconds: numberOf(body['eta']),
    generationTimeSeconds: numberOf(body['generationTime']) ?? numberOf(body['generation_time']),
    seed: seedOf(meta?.['seed']) ?? seedOf(body['seed']),
    meta,
    tip: textOf(body['tip']) ?? textOf(body['tips']),
    webhookStatus: textOf(body['webhook_status']),
    nsfw: 'nsfw_content_detected' in body ? readNsfw(body['nsfw_content_detected']) : undefined,
    mentionsProxies: body['proxy_links'] !== undefined && body['proxy_links'] !== null,
    promised: promised.images,
    cutOff: promised.cutOff,
  }
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
