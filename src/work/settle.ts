import { decide, type Said } from '../model/decide.ts'
import type { Road } from '../model/outcome.ts'
import type { CallbackEvidence } from '../model/known.ts'
import type { Deps } from '../deps.ts'
import { redactJson } from '../secrets/redact.ts'

/**
 * All three roads end here: a decision is made from what the ledger knows and written only if
 * nothing changed meanwhile; else it is made again. A callback whose body was kept before is only
 * counted. False where the ledger does not know the generation.
 */
export async function settle(
  deps: Deps,
  id: string,
  road: Road,
  said: Said,
  evidence: (CallbackEvidence & { recovered: boolean }) | null = null,
) {
  // The provider echoes our webhook URL, and people are shown its words and links.
  const clean = redactJson(said, deps.secretsOf(id))
  for (;;) {
    const known = await deps.ledger.settle.readKnown(id, evidence?.bodySha256)
    if (!known) return false
    if (evidence && known.firstDelivery !== null) {
      // The very same delivery counts once.
      if (known.firstDelivery !== evidence.id) await deps.ledger.settle.writeRepeat(id, evidence)
      return true
    }
    // A callback may have waited in the spool. What it offers began to die when it came.
    const draft = decide(known, clean, road, evidence?.receivedAt ?? deps.now(), deps.config)
    const callback = evidence && {
      ...evidence,
      decision: evidence.recovered ? ('recovered' as const) : draft.callbackDecision,
    }
    if (await deps.ledger.settle.writeDecision(known, { ...draft, callback })) {
      deps.log('info', road, {
        generation: id,
        said: said.status,
        ...(callback && { decision: callback.decision }),
        status: draft.next.status,
      })
      if ('cutOff' in clean && clean.cutOff > 0)
        deps.log('warn', 'more links than are kept', {
          generation: id,
          by: road,
          cut_off: clean.cutOff,
        })
      deps.wake()
      return true
    }
  }
}
