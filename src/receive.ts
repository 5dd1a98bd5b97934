import { createHash } from 'node:crypto'
import type { Said } from './decide.ts'
import type { Deps } from './ports.ts'
import { redactBytes } from './redact.ts'
import { settle } from './settle.ts'
import { newId, uuidTime } from './uuid.ts'

export interface ReceivedBody {
  bytes: Uint8Array
  /** The body went on beyond what is read; `bytes` is its beginning. */
  tooLarge: boolean
}

/**
 * Takes a callback whose MAC was verified. Once it resolves, the callback is on disk, and what it changes with it.
 * @throws LedgerUnavailable: nothing is kept, and the sender must try again.
 */
export async function receive(deps: Deps, id: string, body: ReceivedBody) {
  const at = deps.now()
  const evidence = {
    id: newId(at),
    bodySha256: hashOf(body),
    body: redactBytes(body.bytes, deps.secretsOf(id), { cut: body.tooLarge }),
    recovered: false,
  }
  const said = read(deps, id, body)
  if (await settle(deps, id, 'callback', said, evidence)) return
  await deps.ledger.recovered(id, uuidTime(id) ?? at)
  await settle(deps, id, 'callback', said, { ...evidence, recovered: said.status !== 'unusable' })
}

/** What was cut differs from a body that ended there. */
const hashOf = ({ bytes, tooLarge }: ReceivedBody) =>
  createHash('sha256')
    .update(bytes)
    .update(tooLarge ? '…' : '')
    .digest('hex')

function read({ provider }: Deps, id: string, { bytes, tooLarge }: ReceivedBody): Said {
  if (tooLarge) return { status: 'unusable', decision: 'too_large' }
  const { outcome, trackId } = provider.readCallback(new TextDecoder().decode(bytes))
  if (trackId !== null && trackId.toLowerCase() !== id) return { status: 'unusable', decision: 'mismatched' }
  return outcome ?? { status: 'unusable', decision: 'unreadable' }
}
