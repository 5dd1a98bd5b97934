import { createHash } from 'node:crypto'
import { AppError, loudness } from '../errors.ts'
import { answered, type Reply } from '../model/outcome.ts'
import type { InpaintRequest } from '../model/request.ts'
import { retryDelayMs } from '../model/backoff.ts'
import type { Deps } from '../deps.ts'
import { redact } from '../secrets/redact.ts'
import { settle } from './settle.ts'
import { newId } from '../model/uuid.ts'

export interface Submission {
  request: InpaintRequest
  clientTrackId: string | null
  /** The name of the client's token. */
  submittedBy: string
  idempotencyKey: string | null
}

/** The longest wait after a refusal that did not say how long. */
const LONGEST_BACKOFF_MS = 60_000

/**
 * Writes the request, then submits it, then waits for the reply. `replayed`: the Idempotency-Key
 * was used for the same request before, and nothing was submitted.
 * @throws AppError `idempotency_key_reused`, LedgerUnavailable
 */
export async function submit(deps: Deps, submission: Submission) {
  const now = deps.now()
  const id = newId(now)
  const requestSha256 = sha256Of(submission)
  const generation = { ...submission, id, requestSha256, requestedAt: now }
  const wrote = await deps.ledger.submit.write(generation, {
    now,
    maxInFlight: deps.config.maxInFlight,
  })
  if (wrote === 'taken')
    return { id: await replay(deps, submission, requestSha256), replayed: true }
  if (wrote === 'sent') await send(deps, id, submission.request)
  return { id, replayed: false }
}

async function replay(
  deps: Deps,
  { submittedBy, idempotencyKey }: Submission,
  requestSha256: string,
) {
  const winner =
    idempotencyKey === null
      ? undefined
      : await deps.ledger.submit.findByKey(submittedBy, idempotencyKey)
  if (!winner)
    throw new Error('a generation could not be written, and no other has its Idempotency-Key')
  if (winner.requestSha256 === requestSha256) return winner.id
  throw new AppError(
    'idempotency_key_reused',
    'This Idempotency-Key belongs to a different request.',
    {
      fields: [
        {
          pointer: 'Idempotency-Key',
          message: 'expected a key that was not used for another request',
        },
      ],
    },
  )
}

const sha256Of = ({ request, clientTrackId }: Submission) =>
  createHash('sha256')
    .update(JSON.stringify([request, clientTrackId]))
    .digest('hex')

/** Submits one request that is ours to submit, and settles what the provider says. */
export async function send(deps: Deps, id: string, request: InpaintRequest) {
  const reply = await deps.provider.submit(
    request,
    { trackId: id, webhook: deps.callbackUrl(id) },
    deps.config.submitTimeoutMs,
  )
  heard(deps, reply)
  await keepReply(deps, id, reply)
}

/** Says of the provider's health what a reply says. */
export function heard({ health }: Pick<Deps, 'health'>, reply: Reply) {
  const { reason, answer }: { reason?: string; answer?: string } = 'reason' in reply ? reply : {}
  health.provider(answered(reply), reason, answer)
}

/**
 * The reply is the provider's word and comes once. While the ledger cannot take it, it is kept in
 * memory and tried again; should the process die first, the request counts as unconfirmed.
 */
async function keepReply(deps: Deps, id: string, reply: Reply): Promise<void> {
  try {
    await settleReply(deps, id, reply)
  } catch (error) {
    const about = { generation: id, error }
    deps.log(loudness(error), 'a reply of the provider cannot be kept yet', about)
    deps.later(1000, () => keepReply(deps, id, reply))
  }
}

async function settleReply(deps: Deps, id: string, reply: Reply) {
  if (reply.status !== 'held') {
    await settle(deps, id, 'reply', reply)
    return
  }
  const asked = reply.retryAfterSeconds === null ? null : reply.retryAfterSeconds * 1000
  const retryMs = asked ?? (await backoffMs(deps))
  const reason = redact(reply.reason, deps.secretsOf(id))
  await deps.ledger.held.writeRefusal(id, {
    now: deps.now(),
    retryMs,
    full: reply.full,
    isOwn: reply.unsent !== true,
    reason,
  })
}

async function backoffMs({ ledger, config }: Deps) {
  return Math.min(
    retryDelayMs((await ledger.held.readRefusals()) + 1, config.retryBaseSeconds),
    LONGEST_BACKOFF_MS,
  )
}
