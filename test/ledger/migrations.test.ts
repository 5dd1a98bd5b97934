import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import Database from 'better-sqlite3'
import { drizzle } from 'drizzle-orm/better-sqlite3'
import { migrate } from 'drizzle-orm/better-sqlite3/migrator'
import { expect, it, onTestFinished } from 'vitest'
import { openSqlite } from '../../src/ledger/driver/sqlite.node.ts'
import { olderMigrations } from '../support/older-migrations.ts'
import { sha256 } from '../support/world.ts'

const ROOT = join(import.meta.dirname, '../..')
const run = promisify(execFile)

/**
 * SHA-256 of every migration. One that landed is in ledgers that it made, and is never edited
 * again: whoever changes the schema adds another, and its line here.
 */
const LANDED = {
  '0000_ledger': 'e0e3396dafa914052e0a2b0d330f09d8f6645bab927ab1137c8d73bc790eed2b',
  '0001_audit_index': 'a29edbceafdc119a876862352114f09417643e721c855299355ae3dc555d7da8',
  '0002_record_sha256': 'e8ece4a2e14f567fafbcc9908b93b370efb83988746036c4a0303ce20b7e7399',
  '0003_refusals_promises_seeds':
    'b6a1af1b78920678517029b98dc6d1bda0590d957e6c735ba744d87617b5d435',
}

it('edits no migration that has landed', () => {
  const read = (path: string) => readFileSync(join(ROOT, 'migrations', path), 'utf8')
  const journal = JSON.parse(read('meta/_journal.json')) as {
    entries: { tag: string; when: number }[]
  }
  const tags = journal.entries.map(({ tag }) => tag)
  const times = journal.entries.map(({ when }) => when)

  const hashes = tags.map((tag) => [tag, sha256(Buffer.from(read(`${tag}.sql`)))])

  expect(Object.fromEntries(hashes)).toEqual(LANDED)
  expect(readdirSync(join(ROOT, 'migrations')).filter((name) => name.endsWith('.sql'))).toEqual(
    tags.map((tag) => `${tag}.sql`),
  )
  // A migration made earlier than one that a ledger has would be left out there.
  expect(times).toEqual(times.toSorted((a, b) => a - b))
})

it('makes the same schema by our own start as by wrangler', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'afterimage-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  await openSqlite(join(directory, 'ledger.db')).close()
  const d1 = await migratedByWrangler(directory, join(ROOT, 'migrations'))

  const ours = schema(join(directory, 'ledger.db'))
  expect(ours.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['generations', 'images', 'generations_status']),
  )
  expect(schema(d1)).toEqual(ours)
})

/** The file of the local D1 database in that folder, to which wrangler applied these migrations. */
async function migratedByWrangler(directory: string, migrations: string) {
  const config = join(directory, 'wrangler.toml')
  writeFileSync(
    config,
    `name = "afterimage"
compatibility_date = "2026-04-01"
[[d1_databases]]
binding = "DB"
database_name = "afterimage"
database_id = "00000000-0000-0000-0000-000000000000"
migrations_dir = ${JSON.stringify(migrations)}
`,
  )
  const wrangler = join(ROOT, 'node_modules/wrangler/bin/wrangler.js')
  const persisted = join(directory, 'state')
  await run(
    process.execPath,
    [
      wrangler,
      'd1',
      'migrations',
      'apply',
      'afterimage',
      '--local',
      '--persist-to',
      persisted,
      '--config',
      config,
    ],
    {
      cwd: directory,
      env: { ...process.env, ...OFFLINE, WRANGLER_LOG_PATH: join(directory, 'logs') },
    },
  )
  const folder = join(persisted, 'v3/d1/miniflare-D1DatabaseObject')
  const [file] = readdirSync(folder).filter(
    (name) => name.endsWith('.sqlite') && name !== 'metadata.sqlite',
  )
  return join(folder, file ?? '')
}

/**
 * Nobody is asked whether to go on, nothing is reported, and the look for a newer wrangler ends at
 * a closed port.
 */
const OFFLINE = { CI: '1', WRANGLER_SEND_METRICS: 'false', npm_registry: 'http://127.0.0.1:9/' }

/** Without what each tool notes for itself. */
function schema(path: string) {
  const database = new Database(path, { readonly: true })
  const rows = database
    .prepare(
      `select type, name, tbl_name, sql from sqlite_master where tbl_name not in ('__drizzle_migrations', 'd1_migrations')
       and tbl_name not glob '_cf_*' and tbl_name <> 'sqlite_sequence' order by type, name`,
    )
    .all() as { name: string }[]
  database.close()
  return rows
}

/** What a generation of then has in the columns that it lacked. */
const SINCE = {
  record_sha256: null,
  refusals: 0,
  place: null,
  seed_digits: null,
  promised: null,
}

const homes: Record<string, (directory: string, migrations: string) => Promise<string>> = {
  Node: async (directory, migrations) => {
    const path = join(directory, 'ledger.db')
    if (migrations === join(ROOT, 'migrations')) await openSqlite(path).close()
    else migrate(drizzle(new Database(path)), { migrationsFolder: migrations })
    return path
  },
  D1: migratedByWrangler,
}

it.each(Object.entries(homes))(
  'opens a ledger of the release before on %s, and nothing in it changes',
  async (_home, migrated) => {
    const directory = mkdtempSync(join(tmpdir(), 'afterimage-'))
    onTestFinished(() => rmSync(directory, { recursive: true }))
    const path = await migrated(directory, olderMigrations(directory))
    fill(path)
    const older = rowsOf(path)

    expect(await migrated(directory, join(ROOT, 'migrations'))).toBe(path)

    expect(older).toHaveLength(2)
    expect(rowsOf(path)).toEqual(older.map((row) => ({ ...row, ...SINCE })))
  },
  60_000,
)

/** With one generation whose record was written, and one whose record is owed. */
function fill(path: string) {
  const client = new Database(path)
  const insert = client.prepare(
    `insert into generations (id, status, archive_status, requested_at, record_due_at, prompt)
     values (?, 'failed', 'none', 1769860800000, ?, 'a cat')`,
  )
  insert.run('019c13ec-9e00-71b8-a8aa-37a2240d1d20', null)
  insert.run('019c13ec-9e00-71b8-a8aa-37a2240d1d21', 1769860801000)
  client.close()
}

function rowsOf(path: string) {
  const client = new Database(path, { readonly: true })
  const rows = client.prepare('select * from generations order by id').all() as object[]
  client.close()
  return rows
}
