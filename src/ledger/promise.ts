import { and } from 'drizzle-orm'
import type { NewOffer } from '../model/known.ts'
import type { Road } from '../model/outcome.ts'
import type { LedgerDriver } from './database.ts'
import { isOverdue } from './expire.ts'
import { tryPlaces } from './offered.ts'
import { generations } from './schema.ts'
import { bind, number, raw, sql, statement, text } from './statement.ts'

/** Some at a time: what is tried is no longer among them. */
const MOST = 100

const begin = statement(sql`
  update generations set version = version + 1, promised = null, archive_status = 'pending'
  where id = ${text('id')} and version = ${number('version')} returning id`).yields<{
  id: string
}>()

/** Links that were only promised, where nothing better came in time. */
export function promise({ db, atomically }: LedgerDriver) {
  const overdue = db
    .select({
      id: generations.id,
      version: generations.version,
      promised: generations.promised,
    })
    .from(generations)
    .where(and(isOverdue, raw(`promised is not null and archive_status = 'none'`)))
    .limit(MOST)
    .prepare()

  return {
    /** Of what was requested before the id `before` and is still open. */
    readOverdue: async (before: string) => overdue.all({ before }),

    /** They are tried, unless the generation changed since it was read: then false. */
    writeTried: async (
      { id, version }: { id: string; version: number },
      by: Road,
      places: NewOffer[],
      at: number,
    ) => {
      const [[begun]] = await atomically([
        bind(begin, { id, version }),
        ...tryPlaces(id, by, at, places),
      ])
      return begun !== undefined
    },
  }
}
