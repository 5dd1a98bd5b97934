import type { LedgerDriver } from './database.ts'
import { bind, number, sql, statement } from './statement.ts'

const beat = statement(sql`
  insert into heartbeat (id, at) values (1, ${number('now')})
  on conflict (id) do update set at = excluded.at`)

/** Whether the ledger can be written. */
export const heartbeat = ({ atomically }: LedgerDriver) => ({
  /** Resolves only if it can. */
  write: async (now: number) => {
    await atomically([bind(beat, { now })])
  },
})
