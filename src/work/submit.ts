import { createHash } from 'node:crypto'
import { AppError } from '../errors.ts'
import { answered, type InpaintRequest, type Reply, retryDelayMs } from '../model/generation.ts'
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
const LONGEST_HOLD_MS = 60_000

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
  const wrote = await deps.ledger.requested(generation, {
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
    idempotencyKey === null ? undefined : await deps.ledger.idempotent(submittedBy, idempotencyKey)
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
async function send(deps: Deps, id: string, request: InpaintRequest) {
  const reply = await deps.provider.submit(
    request,
    { trackId: id, webhook: deps.callbackUrl(id) },
    deps.config.submitTimeoutMs,
  )
  deps.health.provider(answered(reply))
  await keepReply(deps, id, reply)
}

/**
 * The reply is the provider's word and comes once. While the ledger cannot take it, it is kept in
 * memory and tried again; should the process die first, the request counts as unconfirmed.
 */
async function keepReply(deps: Deps, id: string, reply: Reply): Promise<void> {
  try {
    await settleReply(deps, id, reply)
  } catch (error) {
    deps.log('error', 'a reply of the provider cannot be kept yet', { generation: id, error })
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
  await deps.ledger.refusedForNow(id, { now: deps.now(), retryMs, full: reply.full, reason })
}

async function backoffMs({ ledger, config }: Deps) {
  return Math.min(
    retryDelayMs((await ledger.refusals()) + 1, config.retryBaseSeconds),
    LONGEST_HOLD_MS,
  )
}

/**
 * Sends what is held, oldest first, as far as the gate allows and up to `limit`. Returns how many
 * were sent.
 */
export async function sendHeld(deps: Deps, limit = Infinity) {
  let sent = 0
  for (; sent < limit; sent++) {
    const id = await deps.ledger.heldClaimed({
      now: deps.now(),
      maxInFlight: deps.config.maxInFlight,
    })
    if (id === null) break
    const row = await deps.ledger.generationRow(id)
    if (!row?.parameters || row.modelId === null)
      throw new Error(`the held generation ${id} has no request`)
    deps.track(
      send(deps, id, {
        ...row.parameters,
        model_id: row.modelId,
        prompt: row.prompt,
        negative_prompt: row.negativePrompt,
      }),
    )
  }
  return sent
}
