import type { Deps } from '../deps.ts'
import { send } from './submit.ts'

/**
 * Sends what is held, oldest first, as far as the gate allows and up to `limit`. Returns how many
 * were sent.
 */
export async function sendHeld(deps: Deps, limit = Infinity) {
  let sent = 0
  for (; sent < limit; sent++) {
    const id = await deps.ledger.held.claim({
      now: deps.now(),
      maxInFlight: deps.config.maxInFlight,
    })
    if (id === null) break
    const row = await deps.ledger.generations.readRow(id)
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
