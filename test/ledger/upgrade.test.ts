import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { migrate } from 'drizzle-orm/better-sqlite3/migrator'
import { Miniflare } from 'miniflare'
import { expect, it, onTestFinished } from 'vitest'
import { d1Driver } from '../../src/ledger/driver/d1.ts'
import { openSqlite } from '../../src/ledger/driver/sqlite.node.ts'
import { createLedger } from '../../src/ledger/ledger.ts'
import { d1Over, d1Worker } from '../support/d1.ts'
import { newerStatements, olderMigrations, olderStatements } from '../support/older-migrations.ts'

const NOW = Date.UTC(2026, 0, 31, 12)

/** Two requests that are held, in their order, and one whose result is known. */
const ROWS = [
  `insert into generations (id, status, parameters, model_id, requested_at)
   values ('019c13ec-9e02-7000-8000-000000000000', 'requested', '{}', 'm', ${NOW})`,
  `insert into generations (id, status, parameters, model_id, requested_at)
   values ('019c13ec-9e01-7000-8000-000000000000', 'requested', '{}', 'm', ${NOW})`,
  `insert into generations (id, status, parameters, requested_at, seed)
   values ('019c13ec-9e00-7000-8000-000000000000', 'succeeded', '{}', ${NOW}, 4139316548)`,
]

function upgradedFile() {
  const directory = mkdtempSync(join(tmpdir(), 'afterimage-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const path = join(directory, 'ledger.db')
  const old = new Database(path)
  migrate(drizzle(old), { migrationsFolder: olderMigrations(directory) })
  for (const row of ROWS) old.exec(row)
  old.close()

  const opened = openSqlite(path)
  onTestFinished(opened.close)
  return Promise.resolve(createLedger(opened))
}

async function upgradedD1() {
  const miniflare = new Miniflare({
    workers: [
      { ...d1Worker(['old']), dev: { unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }] } },
    ],
    enableDevRegistry: false,
  })
  onTestFinished(() => miniflare.dispose())
  const d1 = d1Over(`${(await miniflare.unsafeGetDirectURL()).href}old`, () => undefined)
  const run = (statements: string[]) => d1.batch(statements.map((one) => d1.prepare(one)))
  await run([...olderStatements(), ...ROWS])
  await run(newerStatements())
  return createLedger(d1Driver(d1))
}

it.each([
  ['a file', upgradedFile],
  ['D1', upgradedD1],
])(
  'goes on with what a ledger of the release before holds, in %s',
  async (_where, upgraded) => {
    const ledger = await upgraded()
    const refused = { now: NOW, retryMs: 1000, full: false, isOwn: true, reason: 'full' }

    const claimed: (string | null)[] = []
    for (let turn = 1; turn <= 4; turn++) {
      const id = await ledger.held.claim({ maxInFlight: null, now: NOW + turn * 2000 })
      claimed.push(id)
      await ledger.held.writeRefusal(id ?? '', { ...refused, now: NOW + turn * 2000 })
    }

    const [first, second] = ['019c13ec-9e01', '019c13ec-9e02']
    expect(claimed.map((id) => id?.slice(0, 13))).toEqual([first, first, first, second])
    expect(await ledger.generations.readRow('019c13ec-9e00-7000-8000-000000000000')).toMatchObject({
      status: 'succeeded',
      seed: 4139316548,
      seedDigits: null,
      promised: null,
    })
  },
  60_000,
)
