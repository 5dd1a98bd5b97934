import { createHash } from 'node:crypto'
import { ImageFailure } from '../errors.ts'
import type { NamedObject, ShowingImage } from '../ledger/audit.ts'
import { fetchPicture } from '../pictures/fetch-picture.ts'
import { isRedacted, redactUrl } from '../model/shown-url.ts'
import { inParallel } from './parallel.ts'
import { recordKey } from '../json/record.ts'
import {
  type Finding,
  type FindingKind,
  messageOf,
  type Report,
  type Verified,
  type Verifying,
} from './finding.ts'
import { hashed, listed, readObject } from './stored.ts'
import { verifyRecords } from './verify-records.ts'

const IMAGES = 'sha256/'
const RECORDS = 'generations/'
const READS_AT_ONCE = 16
/** An image is in the store a moment before it is in the ledger. */
const ARCHIVING_MS = 2000

/**
 * Reads every object that the ledger names, hashes it, and compares ledger and store both ways;
 * each ended generation should have its record, too, as it was written. A service may go on writing
 * meanwhile. Ends early, with what was seen so far, once `signal` is aborted. Throws where the
 * store cannot be listed.
 */
export async function verify(world: Verifying): Promise<Verified> {
  const verified = {
    objects: 0,
    bytes: 0,
    records: 0,
    unsigned: 0,
    findings: { missing: 0, altered: 0, unreadable: 0, orphaned: 0 },
    repaired: 0,
  }
  const report = (finding: Finding) => {
    verified.findings[finding.finding]++
    if (finding.repair?.done) verified.repaired++
    world.found(finding)
  }
  // The store first: what is in it by now will be named by the time that everything named was read.
  await listStore(world)
  await readNamed(world, verified, report)
  await verifyRecords(world, verified, report)
  if (!world.signal.aborted) await lookForOrphans(world, report)
  return verified
}

async function listStore({ objects, audit, progress, signal }: Verifying) {
  await audit.storeOpened()
  let count = 0
  for (const prefix of [IMAGES, RECORDS])
    for await (const page of listed(objects, prefix)) {
      if (signal.aborted) return
      await audit.storeListed(page)
      progress('listing the store', (count += page.length), null)
    }
}

interface Bad extends NamedObject {
  finding: FindingKind
  detail: string
}

async function readNamed(world: Verifying, verified: Verified, report: Report) {
  const { audit, progress, signal } = world
  const count = await audit.objectsNamed()
  let page = await audit.named(null)
  while (page.length > 0 && !signal.aborted) {
    const bad: Bad[] = []
    await inParallel(page, READS_AT_ONCE, signal, async (named) => {
      const { bytes, problem } = await judge(world, named)
      verified.bytes += bytes
      if (problem) bad.push({ ...named, ...problem })
      progress('reading objects', ++verified.objects, count)
    })
    if (bad.length > 0) await reportBad(world, bad, report)
    page = await audit.named(page.at(-1) ?? null)
  }
}

async function judge(
  world: Verifying,
  named: NamedObject,
): Promise<{ bytes: number; problem?: Omit<Bad, keyof NamedObject> }> {
  try {
    const is = await readObject(world, named.key, hashed)
    if (!is)
      return { bytes: 0, problem: { finding: 'missing', detail: 'the store has no such object' } }
    if (is.sha256 === named.sha256 && is.bytes === named.bytes) return { bytes: is.bytes }
    return {
      bytes: is.bytes,
      problem: { finding: 'altered', detail: `it has ${is.bytes} bytes and SHA-256 ${is.sha256}` },
    }
  } catch (error) {
    return { bytes: 0, problem: { finding: 'unreadable', detail: messageOf(error) } }
  }
}

/**
 * By the images that show them now. A cut-short copy may have given way to a better one: then it is
 * nobody's loss.
 */
async function reportBad(world: Verifying, bad: Bad[], report: Report) {
  const showing = await world.audit.showing(bad.map(({ key }) => key))
  for (const { finding, detail, ...named } of bad.toSorted((a, b) => (a.key < b.key ? -1 : 1))) {
    const theirs = showing.filter(({ key }) => key === named.key)
    if (theirs.length === 0 || world.signal.aborted) continue
    const repair =
      world.repair && finding !== 'unreadable' ? await copyAgain(world, named, theirs) : null
    const images = theirs.map(({ generationId, source, position }) => ({
      generationId,
      source,
      position,
    }))
    report({ finding, key: named.key, images, detail, repair })
  }
}

/** From every place that is still known whole, until one gives the very same bytes. */
async function copyAgain(
  world: Verifying,
  named: NamedObject,
  showing: ShowingImage[],
): Promise<Finding['repair']> {
  const urls = new Set<string>()
  for (const { generationId, source, position } of showing)
    for (const { url } of await world.ledger.archive.readPlaces({ generationId, source, position }))
      urls.add(url)
  const reasons: string[] = []
  for (const url of urls) {
    if (world.signal.aborted) break
    const shown = redactUrl(url)
    const reason = isRedacted(url)
      ? 'its query was forgotten'
      : await copyFrom(world, url, named, showing)
    if (reason === null) return { done: true, from: shown }
    reasons.push(`${shown}: ${reason}`)
  }
  return { done: false, reason: reasons.join('; ') || 'nothing offers it' }
}

/** Null where it was copied, else the reason why not. */
async function copyFrom(
  world: Verifying,
  url: string,
  { key, sha256 }: NamedObject,
  showing: ShowingImage[],
) {
  try {
    const { bytes } = await fetchPicture(world, url)
    if (createHash('sha256').update(bytes).digest('hex') !== sha256) return 'it shows other bytes'
    const contentType =
      showing.find((image) => image.contentType !== null)?.contentType ?? 'application/octet-stream'
    await world.objects.put(key, bytes, { sha256, contentType, ifAbsent: false })
    return null
  } catch (error) {
    return error instanceof ImageFailure
      ? error.message
      : `the store did not take it: ${messageOf(error)}`
  }
}

/** What the store had before everything else was looked at, and the ledger still does not name. */
async function lookForOrphans(world: Verifying, report: Report) {
  await orphansOf(world, IMAGES, namedObjects, 'no image shows it', report)
  await orphansOf(
    world,
    RECORDS,
    namedRecords,
    'it is no record of a generation of this ledger',
    report,
  )
}

async function orphansOf(
  world: Verifying,
  prefix: string,
  named: (world: Verifying, keys: string[]) => Promise<Set<string>>,
  detail: string,
  report: Report,
) {
  let hasWaited = false
  let page = await world.audit.unnamed(prefix, '')
  while (page.length > 0 && !world.signal.aborted) {
    let strays = without(page, await named(world, keysOf(page)))
    if (strays.length > 0 && !hasWaited) {
      await world.pause(ARCHIVING_MS)
      hasWaited = true
      strays = without(strays, await named(world, keysOf(strays)))
    }
    for (const { key } of strays)
      report({ finding: 'orphaned', key, images: [], detail, repair: null })
    page = await world.audit.unnamed(prefix, page.at(-1)?.key ?? '')
  }
}

interface Keyed {
  key: string
}

const keysOf = (page: Keyed[]) => page.map(({ key }) => key)
const without = (page: Keyed[], named: ReadonlySet<string>) =>
  page.filter(({ key }) => !named.has(key))

const namedObjects = async ({ audit }: Verifying, keys: string[]) =>
  new Set((await audit.showing(keys)).map(({ key }) => key))

async function namedRecords({ audit }: Verifying, keys: string[]) {
  const idOf = (key: string) => key.slice(key.lastIndexOf('/') + 1).replace(/\.json$/u, '')
  const rows = await audit.known(keys.map(idOf))
  return new Set(rows.map(({ id, requestedAt }) => recordKey(id, requestedAt)))
}
