import { statSync } from 'node:fs'
import Database from 'better-sqlite3'
import type { Run } from './group-commit.ts'

/** Tells whether files that are open are still the ones at their paths. */
export interface Places {
  /** What is wrong with one of them; null while nothing is. */
  whyGone: () => Error | null
}

/**
 * Remembers which files stand at `paths` now, as they have just been opened. What is not there is
 * not looked for. A file that is open keeps its number, however it is renamed or removed, and gives
 * it to no other.
 */
export function placesOf(paths: readonly string[]): Places {
  const opened = paths.flatMap((path) => {
    const number = numberAt(path)
    return number === null ? [] : [{ path, number }]
  })
  return {
    whyGone: () => {
      const gone = opened.find(({ path, number }) => numberAt(path) !== number)
      return gone ? moved(gone.path) : null
    },
  }
}

/** Null also where nobody may look: nobody could open it there either. */
function numberAt(path: string) {
  try {
    const { dev, ino } = statSync(path, { bigint: true })
    return `${dev} ${ino}`
  } catch {
    return null
  }
}

/** SQLite's own code for it, https://www.sqlite.org/rescode.html, which it does not use with a WAL. */
const moved = (path: string) =>
  new Database.SqliteError(
    `${path} is open, and was removed or replaced: put it back, or start anew with what is there`,
    'SQLITE_READONLY_DBMOVED',
  )

/**
 * Answers no list unless its files were in their places after COMMIT had returned. So there is no
 * time in which a removed ledger takes what is then lost: what was answered was in the file at its
 * path, and whoever removes that later removes it as he would while nobody runs. Of a list that is
 * refused it is not known whether the file that is gone has it. One that comes back, because its
 * folder was renamed and is named again as it was, is written again.
 */
export function onlyInPlace(run: Run, { whyGone }: Places): Run {
  let wasGone = false
  const look = () => {
    const error = whyGone()
    wasGone = error !== null
    if (error) throw error
  }
  return async (lists) => {
    if (wasGone) look()
    const rows = await run(lists)
    look()
    return rows
  }
}
