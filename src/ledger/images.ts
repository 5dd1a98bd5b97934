import { and, asc, eq } from 'drizzle-orm'
import type { LedgerDriver } from './database.ts'
import type { ImageRow } from './generations.ts'
import { images as table } from './schema.ts'
import { number, text } from './statement.ts'

/** Images as doors show them. */
export function images({ db }: LedgerDriver) {
  const atPosition = db
    .select()
    .from(table)
    .where(and(eq(table.generationId, text('id')), eq(table.position, number('position'))))
    .orderBy(asc(table.source))
    .prepare()

  return {
    /** Both copies of a position, the output first. */
    readAt: async (id: string, position: number): Promise<ImageRow[]> =>
      atPosition.all({ id, position }),
  }
}
