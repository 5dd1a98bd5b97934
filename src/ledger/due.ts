import type { DueKind } from '../model/due.ts'
import type { LedgerDriver } from './database.ts'
import { HELD } from './held.ts'
import {
  bind,
  type Fragment,
  join,
  number,
  raw,
  sql,
  statement,
  type Statement,
} from './statement.ts'

type SetBack = Record<'now' | 'byMs', number>

/** What the ledger knows of one kind of due work. What a kind does not wait for is left out. */
export interface DueStatements {
  /** The soonest time at which some of it comes due: one search of an index. */
  soonest?: Fragment<{ now: number }> | Fragment
  /** At start nobody holds a lease: whoever did is dead. */
  release?: Statement<object>
  /** The clock was set back: what waits for a time waits no longer for that. */
  sooner?: Statement<SetBack>
}

export const DUE: Record<DueKind, DueStatements> = {
  // The spool is not in the ledger; the next two are looked for by the clock alone.
  spooled: {},
  unanswered: {},
  overdue: {},
  image: {
    soonest: raw(`select min(due_at) as at from images where status = 'pending' and waiting = 1`),
    release: statement(sql`
      update images set leased_until = null
      where status = 'pending' and leased_until is not null`),
    sooner: statement(sql`
      update images set due_at = due_at - ${number('byMs')}
      where rowid in (
        select rowid from images
        where status = 'pending' and waiting = 1 and due_at > ${number('now')})`),
  },
  held: {
    soonest: sql`select closed_until from gate where closed_until > ${number('now')}
      and exists (select 1 from generations where ${HELD})`,
    sooner: statement(sql`
      update gate set closed_until = closed_until - ${number('byMs')}
      where closed_until > ${number('now')}`),
  },
  fetch: {
    soonest: sql`select min(fetch_due_at) from generations
      where fetch_due_at is not null and provider_id is not null
        and (fetch_leased_until is null or fetch_leased_until <= ${number('now')})`,
    release: statement(sql`
      update generations set fetch_leased_until = null, version = version + 1
      where fetch_due_at is not null and fetch_leased_until is not null`),
    sooner: statement(sql`
      update generations set version = version + 1, fetch_leased_until = null,
        fetch_due_at = fetch_due_at - ${number('byMs')}
      where id in (
        select id from generations where fetch_due_at > ${number('now')}
        union select id from generations
        where fetch_due_at is not null and fetch_leased_until > ${number('now')})`),
  },
  record: {
    soonest: raw('select min(record_due_at) from generations where record_due_at is not null'),
    sooner: statement(sql`
      update generations set version = version + 1,
        record_due_at = record_due_at - ${number('byMs')}
      where record_due_at > ${number('now')}`),
  },
}

/** What comes due, of every kind together. */
export function due(
  { db, atomically }: LedgerDriver,
  kinds: Readonly<Record<string, DueStatements>> = DUE,
) {
  const all = Object.values(kinds)
  const soonest = join(
    all.flatMap((kind) => kind.soonest ?? []),
    ' union all ',
  )
  const next = db
    .select({ at: sql`(select min(at) from (${soonest}))`.mapWith(Number) })
    .from(raw('(select 1)'))
    .prepare()

  return {
    /**
     * When the next work comes due, as far as its time is known; null where none is. What is leased
     * does not count.
     */
    readNext: async (now: number): Promise<number | null> => (await next.get({ now }))?.at ?? null,

    /** At start nobody holds a lease. */
    writeReleased: async () => {
      await atomically(all.flatMap(({ release }) => (release ? [bind(release, {})] : [])))
    },

    /** The clock was set back by `byMs`. */
    writeClockSetBack: async (now: number, byMs: number) => {
      await atomically(all.flatMap(({ sooner }) => (sooner ? [bind(sooner, { now, byMs })] : [])))
    },
  }
}
