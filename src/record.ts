import { createHash } from 'node:crypto'
import { storeAnswered } from './archive.ts'
import { retryDelayMs } from './generation.ts'
import { generationJson } from './generation-json.ts'
import type { WholeGeneration } from './ledger/reading.ts'
import { redactUrl } from './net/redact-url.ts'
import type { Deps } from './ports.ts'

/** Raised when a reader of older records could misread a new one. */
const SCHEMA_VERSION = 1

/**
 * Writes up to `limit` records that are due: the bucket explains itself, so that a lost ledger can be made again from it.
 * Returns how many were tried. A crash costs a second PUT.
 */
export async function recordDue(deps: Deps, limit: number) {
  const ids = await deps.ledger.recordsDue(deps.now(), limit)
  await Promise.all(ids.map((id) => writeRecord(deps, id)))
  return ids.length
}

async function writeRecord(deps: Deps, id: string) {
  // First the version, then what it stands for: whatever changes in between makes the record owed again.
  const version = (await deps.ledger.generationRow(id))?.version
  const whole = await deps.ledger.generation(id)
  if (!whole || version === undefined) throw new Error(`the generation ${id} owes a record and is gone`)
  const key = recordKey(id, whole.generation.requestedAt)
  const bytes = new TextEncoder().encode(
    `${JSON.stringify(recordJson(whole, await deps.ledger.recordDetails(id)), null, 2)}\n`,
  )
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  try {
    await deps.objects.put(key, bytes, { sha256, contentType: 'application/json', ifAbsent: false })
  } catch (error) {
    deps.health.objects(false, error)
    await deps.ledger.recordPostponed(id, deps.now() + retryDelayMs(RETRY_ROUND, deps.config.retryBaseSeconds))
    return
  }
  await storeAnswered(deps)
  await deps.ledger.recordWritten(id, version, key, deps.now())
}

/** A record has no deadline: it is tried again every 15 s, scaled like all retries. */
const RETRY_ROUND = 5

/** By the UTC date of the request, so that a listing finds a day. */
export function recordKey(id: string, requestedAt: number) {
  const [date = ''] = new Date(requestedAt).toISOString().split('T')
  return `generations/${date.replaceAll('-', '/')}/${id}.json`
}

type Details = Awaited<ReturnType<Deps['ledger']['recordDetails']>>

function recordJson(whole: WholeGeneration, { offers, callbacks }: Details) {
  const { images, ...generation } = generationJson(whole, '')
  const { idempotencyKey, requestSha256 } = whole.generation
  return {
    schema_version: SCHEMA_VERSION,
    ...generation,
    idempotency_key: idempotencyKey,
    request_sha256: requestSha256,
    images: images.map(({ url, ...image }) => image),
    offers: offers.map(offerJson),
    verdict_reports: whole.reports.map(({ value, verdict, by, callbackId, at }) => ({
      value,
      verdict,
      by,
      callback_id: callbackId,
      at: rfc3339(at),
    })),
    callbacks: callbacks.map(callbackJson),
  }
}

const rfc3339 = (ms: number) => new Date(ms).toISOString()

const offerJson = (offer: Details['offers'][number]) => ({
  source: offer.source,
  position: offer.position,
  url: redactUrl(offer.url),
  by: offer.by,
  offered_at: rfc3339(offer.offeredAt),
  expires_at: rfc3339(offer.expiresAt),
  attempts: offer.attempts,
  exhausted: offer.exhausted,
  contradicts: offer.contradicts,
  unnamed: offer.unnamed,
})

const callbackJson = (callback: Details['callbacks'][number]) => ({
  id: callback.id,
  received_at: rfc3339(callback.receivedAt),
  last_received_at: rfc3339(callback.lastReceivedAt),
  decision: callback.decision,
  body_sha256: callback.bodySha256,
  count: callback.count,
})
