import { resolve } from 'node:path'
import type { Config } from '../config.ts'
import type { Output } from './terminal/output.ts'

/** A command as it was called: its words, and where it says what. */
export interface Call {
  argv: string[]
  /** Data: one line. */
  out: (line: string) => void
  /** Messages and progress. */
  err: Output
  /** Aborted by Ctrl-C. */
  signal: AbortSignal
}

export const INTERRUPTED = 130

/** Which ledger is looked at: in another folder, the same settings name another one. */
export const ledgerLine = ({ databasePath }: Pick<Config, 'databasePath'>) =>
  `ledger  ${resolve(databasePath)}\n`

/** Which store is looked at. */
export const storeLine = ({ s3, objectsDir }: Pick<Config, 's3' | 'objectsDir'>) =>
  `store   ${s3 ? `the bucket ${s3.bucket} at ${s3.endpoint ?? 'AWS'}` : resolve(objectsDir)}\n`
