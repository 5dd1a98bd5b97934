import { telling } from '../database.ts'
import { createLedger } from '../ledger.ts'
import { listsThread } from './lists.node.ts'
import { openSqlite } from './sqlite.node.ts'
import { writerThread } from './writer.node.ts'

/**
 * The whole ledger at `path`, written and listed by threads of their own, and read point by point
 * here.
 * @throws LedgerInUse, LedgerForeign
 */
export function openLedger(path: string) {
  const sqlite = openSqlite(path, writerThread)
  const lists = listsThread(path)
  return {
    /** `saw` hears of whatever is written whether the ledger took it. */
    ledger: (saw: (ok: boolean, reason?: unknown) => void) =>
      createLedger(telling(sqlite, saw), lists.list),
    /** What is wrong where the ledger at its path is not the one that is open; else null. */
    whyGone: sqlite.whyGone,
    close: async () => {
      // The last one that has the ledger open removes its log, and only if it may write.
      await lists.close()
      await sqlite.close()
    },
  }
}
