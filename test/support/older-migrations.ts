import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export const MIGRATIONS = join(import.meta.dirname, '../../migrations')
const JOURNAL = 'meta/_journal.json'

const { entries, ...rest } = JSON.parse(readFileSync(join(MIGRATIONS, JOURNAL), 'utf8')) as {
  entries: { tag: string }[]
}

/** Those that a ledger of the release before has had. */
const OF_THE_RELEASE_BEFORE = ['0000_ledger', '0001_audit_index']

const isOlder = ({ tag }: { tag: string }) => OF_THE_RELEASE_BEFORE.includes(tag)

/** A folder of the migrations of the release before, in that folder. */
export function olderMigrations(directory: string) {
  const folder = join(directory, 'migrations')
  for (const { tag } of entries.filter(isOlder))
    cpSync(join(MIGRATIONS, `${tag}.sql`), join(folder, `${tag}.sql`))
  mkdirSync(join(folder, 'meta'))
  const journal = { ...rest, entries: entries.filter(isOlder) }
  writeFileSync(join(folder, JOURNAL), JSON.stringify(journal))
  return folder
}

const statementsOf = ({ tag }: { tag: string }) =>
  readFileSync(join(MIGRATIONS, `${tag}.sql`), 'utf8').split('--> statement-breakpoint')

/** The statements of the release before, and of this one after them. */
export const olderStatements = () => entries.filter(isOlder).flatMap(statementsOf)
export const newerStatements = () =>
  entries.filter((entry) => !isOlder(entry)).flatMap(statementsOf)
