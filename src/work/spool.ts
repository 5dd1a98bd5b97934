import { createHash } from 'node:crypto'
import { z } from 'zod'
import { deliver, type Delivery } from './deliver.ts'
import { LedgerUnavailable } from '../errors.ts'
import type { Deps, ObjectStore } from '../deps.ts'

const PREFIX = 'spool/'

const spooled = z.object({
  id: z.string(),
  generation_id: z.string(),
  received_at: z.number(),
  body_base64: z.base64(),
  body_sha256: z.string(),
  too_large: z.boolean(),
})

/** Resolves once the delivery is durable, where the next drain finds it. */
export async function keepInSpool(spool: ObjectStore, delivery: Delivery) {
  const { id, generationId, receivedAt, body, bodySha256, tooLarge } = delivery
  const text = JSON.stringify({
    id,
    generation_id: generationId,
    received_at: receivedAt,
    body_base64: Buffer.from(body).toString('base64'),
    body_sha256: bodySha256,
    too_large: tooLarge,
  } satisfies z.input<typeof spooled>)
  const bytes = new TextEncoder().encode(text)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  await spool.put(PREFIX + id, bytes, { sha256, contentType: 'application/json', ifAbsent: false })
}

/**
 * Gives the ledger up to `limit` deliveries that it could not take when they came. Each is deleted
 * once it is settled: settling it twice changes nothing. Returns how many were taken.
 * @throws LedgerUnavailable while it still cannot
 */
export async function drainSpool(deps: Deps, limit: number) {
  const { spool } = deps
  let taken = 0
  if (!spool) return taken
  for await (const { key } of spool.list(PREFIX)) {
    if (taken === limit) break
    taken++
    try {
      await take(deps, spool, key)
    } catch (error) {
      if (error instanceof LedgerUnavailable) throw error
      // One that cannot be read must not keep back those that came after it.
      deps.log('error', 'a callback cannot be taken out of the spool', { key, error })
    }
  }
  return taken
}

async function take(deps: Deps, spool: ObjectStore, key: string) {
  const found = await spool.get(key)
  // Another drain was faster.
  if (!found) return
  const delivery = parse(await new Response(found.body).text())
  if (!(await deps.ledger.callbackKept(delivery))) await deliver(deps, delivery, delivery.body)
  await spool.delete(key)
  deps.log('info', 'callback taken out of the spool', {
    generation: delivery.generationId,
    callback: delivery.id,
  })
}

function parse(text: string): Delivery {
  const { id, generation_id, received_at, body_base64, body_sha256, too_large } = spooled.parse(
    JSON.parse(text),
  )
  return {
    id,
    generationId: generation_id,
    receivedAt: received_at,
    body: Buffer.from(body_base64, 'base64'),
    bodySha256: body_sha256,
    tooLarge: too_large,
  }
}
