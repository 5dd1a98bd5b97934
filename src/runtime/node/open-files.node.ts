import { readFileSync } from 'node:fs'
import { StartFailure } from './start-failure.ts'

/** What is open all the time: the ledger by each of its threads, the threads, the log. */
const OUR_OWN = 64
/** Connections of clients, and of the provider in both directions. */
const CALLERS = 64
/** A download, and the file or the connection that it goes to. */
const OF_AN_IMAGE = 2

/**
 * Refuses to start with fewer open files than work needs: each part would fail in turn, and blame
 * what it was about to open.
 * @throws StartFailure
 */
export function assureOpenFiles(archiveConcurrency: number, limit = limitOfOpenFiles()) {
  const needed = OUR_OWN + CALLERS + OF_AN_IMAGE * archiveConcurrency
  if (limit >= needed) return
  throw new StartFailure(
    `no more than ${limit} files may be open (EMFILE), and ${needed} are needed while ` +
      `ARCHIVE_CONCURRENCY is ${archiveConcurrency}. Raise the limit (ulimit -n).`,
  )
}

/** Node itself raises it as far as it may. Systems other than Linux do not tell. */
function limitOfOpenFiles() {
  try {
    const [, soft] =
      /^Max open files\s+(\d+)/mu.exec(readFileSync('/proc/self/limits', 'utf8')) ?? []
    return soft === undefined ? Infinity : Number(soft)
  } catch {
    return Infinity
  }
}
