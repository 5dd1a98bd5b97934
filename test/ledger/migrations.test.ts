import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import Database from 'better-sqlite3'
import { expect, it, onTestFinished } from 'vitest'
import { openSqlite } from '../../src/ledger/driver/sqlite.node.ts'

const ROOT = join(import.meta.dirname, '../..')
const run = promisify(execFile)

it('makes the same schema by our own start as by wrangler', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'afterimage-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  await openSqlite(join(directory, 'ledger.db')).close()
  const d1 = await migratedByWrangler(directory)

  const ours = schema(join(directory, 'ledger.db'))
  expect(ours.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['generations', 'images', 'generations_status']),
  )
  expect(schema(d1)).toEqual(ours)
}, 120_000)

/** The file of a local D1 database to which wrangler applied `migrations/`. */
async function migratedByWrangler(directory: string) {
  const config = join(directory, 'wrangler.toml')
  writeFileSync(
    config,
    `name = "afterimage"
compatibility_date = "2026-04-01"
[[d1_databases]]
binding = "DB"
database_name = "afterimage"
database_id = "00000000-0000-0000-0000-000000000000"
migrations_dir = ${JSON.stringify(join(ROOT, 'migrations'))}
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
