import { describe, expect, it } from 'vitest'
import { LedgerUnavailable } from '../../../src/errors.ts'
import { type D1Database, d1Driver } from '../../../src/ledger/driver/d1.ts'
import { createLedger } from '../../../src/ledger/ledger.ts'

/** A ledger over a D1 that answers everything with this error. */
function failing(message: string) {
  const fail = () => Promise.reject(new Error(message))
  const statement = { bind: () => statement, all: fail, raw: fail, run: fail }
  const d1: D1Database = { prepare: () => statement, batch: fail }
  return createLedger(d1Driver(d1))
}

describe.each([
  ['writing', (message: string) => failing(message).beat(0)],
  ['reading', (message: string) => failing(message).generationRow('an-id-that-nobody-is-told')],
])('%s in D1', (_what, ask) => {
  it.each([
    'D1_ERROR: Network connection lost.',
    'D1_ERROR: D1 DB is overloaded. Requests queued for too long.',
    'D1_ERROR: D1 DB storage operation exceeded timeout which caused object to be reset.',
    'D1_ERROR: Exceeded maximum DB size',
    'D1_ERROR: database or disk is full: SQLITE_FULL',
    'D1_ERROR: database is locked: SQLITE_BUSY',
    'Something that nobody has seen yet',
  ])('is unavailable where D1 says: %s', async (message) => {
    const error: unknown = await ask(message).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(LedgerUnavailable)
    expect(error).toMatchObject({ cause: { message } })
  })

  it.each([
    'D1_ERROR: UNIQUE constraint failed: heartbeat.id: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_PRIMARYKEY)',
    'D1_ERROR: no such table: generations: SQLITE_ERROR',
    'D1_ERROR: too many SQL variables at offset 221: SQLITE_ERROR',
    'D1_ERROR: string or blob too big: SQLITE_TOOBIG',
    `D1_TYPE_ERROR: Type 'undefined' not supported for value 'undefined'`,
  ])('throws our own fault as it is, without the values: %s', async (message) => {
    const error: unknown = await ask(message).catch((thrown: unknown) => thrown)
    expect(error).not.toBeInstanceOf(LedgerUnavailable)
    expect(error).toMatchObject({ message })
  })
})
