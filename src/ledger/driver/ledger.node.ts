import { createLedger } from '../ledger.ts'
import { listsThread } from './lists.node.ts'
import { openSqlite } from './sqlite.node.ts'
import { writerThread } from './writer.node.ts'

/**
 * The whole ledger at `path`, written and listed by threads of their own, and read point by point
 * here.
 * @throws LedgerInUse
 */
export function openLedger(path: string) {
  const sqlite = openSqlite(path, writerThread)
  const lists = listsThread(path)
  return {
    ledger: createLedger(sqlite, lists.list),
    close: async () => {
      // The last one that has the ledger open removes its log, and only if it may write.
      await lists.close()
      await sqlite.close()
    },
  }
}
