import { createHash } from 'node:crypto'
import { deliver, type Delivery } from './deliver.ts'
import type { Deps, ObjectStore } from '../deps.ts'
import { redactBytes } from '../secrets/redact.ts'
import { keepInSpool } from './spool.ts'
import { newId } from '../model/uuid.ts'

export interface ReceivedBody {
  bytes: Uint8Array
  /** The body went on beyond what is read; `bytes` is its beginning. */
  tooLarge: boolean
}

/**
 * How long the ledger, and then the spool, has to take a callback where there is a spool: together
 * less than 2 s.
 */
const LEDGER_MS = 1100
const SPOOL_MS = 700

/**
 * Takes a callback whose MAC was verified. Once it resolves, the callback is kept, and what it
 * changes with it; or it is in the spool, and will be.
 * @throws LedgerUnavailable: nothing is kept, and the sender must try again.
 */
export async function receive(deps: Deps, id: string, body: ReceivedBody) {
  const at = deps.now()
  const delivery: Delivery = {
    id: newId(at),
    generationId: id,
    receivedAt: at,
    body: redactBytes(body.bytes, deps.secretsOf(id), { cut: body.tooLarge }),
    bodySha256: hashOf(body),
    tooLarge: body.tooLarge,
  }
  const delivered = deliver(deps, delivery, body.bytes)
  await (deps.spool ? orSpooled(deps, deps.spool, delivery, delivered) : delivered)
}

async function orSpooled(
  deps: Deps,
  spool: ObjectStore,
  delivery: Delivery,
  delivered: Promise<void>,
) {
  try {
    await within(LEDGER_MS, delivered)
  } catch (error) {
    // It may still end well; the spool's copy then changes nothing.
    deps.track(delivered)
    await within(SPOOL_MS, keepInSpool(spool, delivery))
    deps.log('warn', 'callback kept in the spool', {
      generation: delivery.generationId,
      callback: delivery.id,
      error,
    })
  }
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([work, tooLate])
  } finally {
    clearTimeout(timer)
  }
}

/** What was cut differs from a body that ended there. */
const hashOf = ({ bytes, tooLarge }: ReceivedBody) =>
  createHash('sha256')
    .update(bytes)
    .update(tooLarge ? '…' : '')
    .digest('hex')
