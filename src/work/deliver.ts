import type { Said } from '../model/decide.ts'
import type { Deps } from '../deps.ts'
import { settle } from './settle.ts'
import { uuidTime } from '../model/uuid.ts'

/**
 * A callback as it came in; its id is made before anything of it is written, and names it
 * everywhere.
 */
export interface Delivery {
  id: string
  generationId: string
  receivedAt: number
  /** Without our secrets. */
  body: Uint8Array
  bodySha256: string
  /** The body went on beyond what is read; `body` is its beginning. */
  tooLarge: boolean
}

/**
 * Settles what a delivery says, as it stands in `bytes`: what came, where that is at hand. Safe to
 * repeat.
 */
export async function deliver(deps: Deps, delivery: Delivery, bytes: Uint8Array) {
  const { generationId, tooLarge, ...evidence } = delivery
  const said: Said = tooLarge
    ? { status: 'unusable', decision: 'too_large' }
    : read(deps, generationId, bytes)
  if (await settle(deps, generationId, 'callback', said, { ...evidence, recovered: false })) return
  await deps.ledger.recovered(generationId, uuidTime(generationId) ?? delivery.receivedAt)
  await settle(deps, generationId, 'callback', said, {
    ...evidence,
    recovered: said.status !== 'unusable',
  })
}

function read({ provider }: Deps, id: string, bytes: Uint8Array): Said {
  const { outcome, trackId } = provider.readCallback(new TextDecoder().decode(bytes))
  if (trackId !== null && trackId.toLowerCase() !== id)
    return { status: 'unusable', decision: 'mismatched' }
  return outcome ?? { status: 'unusable', decision: 'unreadable' }
}
