import { onTestFinished } from 'vitest'
import { auditing } from '../../src/ledger/audit.ts'
import { createLedger } from '../../src/ledger/ledger.ts'
import { readSqlite } from '../../src/ledger/driver/sqlite.node.ts'
import type { World } from './world.ts'

/** The ledger of a world as a command sees it: through a connection of its own that only reads. */
export function audited({ config }: World) {
  const driver = readSqlite(config.databasePath)
  onTestFinished(driver.close)
  return { ledger: createLedger(driver), audit: auditing(driver) }
}
