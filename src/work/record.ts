import { createHash } from 'node:crypto'
import { retryDelayMs } from '../model/backoff.ts'
import type { Deps } from '../deps.ts'
import { recordJson, recordKey } from '../json/record.ts'
import { recordText } from '../json/signed-record.ts'

/**
 * Writes up to `limit` records that have been due for `forMs`: the bucket explains itself, so that
 * a lost ledger can be made again from it. Returns how many were tried. A crash costs a second PUT.
 */
export async function recordDue(deps: Deps, limit: number, forMs = 0) {
  const now = deps.now()
  const latestDue = now + retryDelayMs(RETRY_ROUND, deps.config.retryBaseSeconds, 1)
  const ids = await deps.ledger.record.readDue({ before: now - forMs, latestDue, limit })
  await Promise.all(ids.map((id) => writeRecord(deps, id)))
  return ids.length
}

async function writeRecord(deps: Deps, id: string) {
  const record = await recordOf(deps, id)
  if (!record) throw new Error(`the generation ${id} owes a record and is gone`)
  const { key, bytes, version, ...about } = record
  try {
    await deps.objects.put(key, bytes, { ...about, ifAbsent: false })
  } catch {
    // Health says why.
    await deps.ledger.record.writePostponed(
      id,
      deps.now() + retryDelayMs(RETRY_ROUND, deps.config.retryBaseSeconds),
    )
    return
  }
  await deps.ledger.record.writeRecorded(id, version, { key, sha256: about.sha256 }, deps.now())
}

/** A record has no deadline: it is tried again every 15 s, scaled like all retries. */
const RETRY_ROUND = 5

/**
 * The record of a generation as it stands, and where it belongs; null where the ledger has none of
 * this id. Its version is read before anything that it stands for: whatever changes in between
 * makes another record owed. `replaces`: the record that is to be made good.
 */
export async function recordOf(
  { ledger, signRecord }: Pick<Deps, 'ledger' | 'signRecord'>,
  id: string,
  replaces?: string,
) {
  const whole = await ledger.generations.read(id)
  if (!whole) return null
  const head = {
    schema_version: signRecord ? (2 as const) : (1 as const),
    ...(replaces !== undefined && { replaces }),
  }
  const record = recordJson(head, whole, await ledger.record.readDetails(id))
  const bytes = new TextEncoder().encode(recordText(record, signRecord))
  return {
    key: recordKey(id, whole.generation.requestedAt),
    version: whole.generation.version,
    bytes,
    sha256: createHash('sha256').update(bytes).digest('hex'),
    contentType: 'application/json',
  }
}
