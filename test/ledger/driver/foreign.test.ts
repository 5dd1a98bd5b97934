import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import Database from 'better-sqlite3'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { migrate } from 'drizzle-orm/better-sqlite3/migrator'
import { describe, expect, it, onTestFinished } from 'vitest'
import { LedgerForeign } from '../../../src/ledger/driver/foreign.node.ts'
import { LedgerMissing, openSqlite, readSqlite } from '../../../src/ledger/driver/sqlite.node.ts'
import { olderMigrations } from '../../support/older-migrations.ts'

function place() {
  const folder = mkdtempSync(join(tmpdir(), 'afterimage-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return join(folder, 'ledger.db')
}

/** A ledger of ours, and what is done to it afterwards. */
async function ledger(change: (database: Database.Database) => void = () => undefined) {
  const path = place()
  await openSqlite(path).close()
  const database = new Database(path)
  change(database)
  database.close()
  return path
}

const MIGRATIONS = '__drizzle_migrations'

async function refusal(open: () => unknown) {
  try {
    await open()
  } catch (error) {
    if (error instanceof LedgerForeign || error instanceof LedgerMissing) return error.message
    throw error
  }
  return 'opened'
}

const FOREIGN: [string, () => Promise<string> | string, RegExp][] = [
  [
    'whose migrations were edited since',
    () => ledger((database) => database.exec(`update ${MIGRATIONS} set hash = 'edited'`)),
    /was made by migrations other than those of this version/u,
  ],
  [
    'whose first migration was edited since, and which lacks another',
    () =>
      ledger((database) => {
        database.exec(`delete from ${MIGRATIONS} where rowid > 1`)
        database.exec(`update ${MIGRATIONS} set hash = 'edited'`)
      }),
    /was made by migrations other than those of this version/u,
  ],
  [
    'that a newer version made',
    () =>
      ledger((database) =>
        database.exec(`insert into ${MIGRATIONS} (hash, created_at) values ('next', 4e12)`),
      ),
    /was made by a newer version of Afterimage/u,
  ],
  [
    'of another program that drizzle migrates',
    () => {
      const path = place()
      const database = new Database(path)
      database.exec(`create table ${MIGRATIONS} (id, hash, created_at)`)
      database.exec(`insert into ${MIGRATIONS} values (1, 'theirs', 1e12)`)
      database.close()
      return path
    },
    /was made by migrations other than those of this version/u,
  ],
  [
    'of another program',
    () => {
      const path = place()
      const database = new Database(path)
      database.exec('create table cats (name)')
      database.close()
      return path
    },
    /is a database, and no ledger of Afterimage/u,
  ],
  [
    'that is a text',
    () => {
      const path = place()
      writeFileSync(path, 'this is no SQLite file, and longer than one that is empty'.repeat(100))
      return path
    },
    /is no SQLite database/u,
  ],
  [
    'that is damaged',
    async () => {
      const path = await ledger()
      const bytes = readFileSync(path)
      writeFileSync(path, bytes.fill(0xaa, 100, 4096))
      return path
    },
    /is damaged/u,
  ],
  [
    'that is a folder',
    () => {
      const path = place()
      mkdirSync(path)
      return path
    },
    /is a folder$/u,
  ],
]

describe('A database', () => {
  it.each(FOREIGN)('%s is opened by nobody, and left as it is', async (_what, make, why) => {
    const path = await make()
    const before = statSync(path).isDirectory() ? null : readFileSync(path)

    expect(await refusal(() => openSqlite(path))).toMatch(why)
    expect(await refusal(() => readSqlite(path))).toMatch(why)

    if (before) expect(readFileSync(path).equals(before)).toBe(true)
    expect(existsSync(`${path}.lock`)).toBe(false)
  })

  it('that an older version made is changed by the service, and then read', async () => {
    const path = place()
    const database = new Database(path)
    migrate(drizzle(database), { migrationsFolder: olderMigrations(dirname(path)) })
    database.close()

    expect(await refusal(() => readSqlite(path))).toMatch(/was made by an older version/u)
    await openSqlite(path).close()
    expect(await refusal(() => readSqlite(path).close())).toBe('opened')
  })

  it('that is empty becomes a ledger, and is none to who only reads', async () => {
    const path = place()
    writeFileSync(path, '')

    expect(await refusal(() => readSqlite(path))).toMatch(/there is no ledger at/u)
    await openSqlite(path).close()
    expect(await refusal(() => readSqlite(path).close())).toBe('opened')
  })

  it('is refused beside a lock that is none', async () => {
    const path = await ledger()
    writeFileSync(`${path}.lock`, 'no lock'.repeat(1000))

    expect(await refusal(() => openSqlite(path))).toMatch(/\.lock is no lock of ours: remove it$/u)
  })
})
