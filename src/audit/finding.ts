import type { Deps, Get } from '../deps.ts'
import type { AuditReads, ShowingImage } from '../ledger/audit.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { DownloadConfig } from '../pictures/fetch-picture.ts'
import type { StoreReader } from './stored.ts'

/** `unreadable`: the store has it, and does not give it. */
export type FindingKind = 'missing' | 'altered' | 'unreadable' | 'orphaned'

export interface Finding {
  finding: FindingKind
  key: string
  /** The images that show the object. */
  images: Omit<ShowingImage, 'key' | 'contentType'>[]
  detail: string
  /** What came of the repair, where one was asked for and could be tried. */
  repair: { done: true; from: string } | { done: false; reason: string } | null
}

export interface Verified {
  objects: number
  bytes: number
  records: number
  /** Records of which nothing tells whether they are as we wrote them: neither hash nor HMAC. */
  unsigned: number
  findings: Record<FindingKind, number>
  repaired: number
}

export interface Verifying extends StoreReader {
  /** Nothing is written to it. */
  ledger: Ledger
  audit: AuditReads
  get: Get
  signRecord: Deps['signRecord']
  verifiesRecord: Deps['verifiesRecord']
  config: DownloadConfig
  repair: boolean
  found: (finding: Finding) => void
  progress: (what: string, done: number, of: number | null) => void
  signal: AbortSignal
}

export type Report = (finding: Finding) => void

export const messageOf = (error: unknown) =>
  error instanceof Error ? error.message || error.name : String(error)
