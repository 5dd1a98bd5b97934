import { createHash } from 'node:crypto'
import type { ObjectStore, StoredObject } from '../deps.ts'

/** How long a store that did not answer is left alone before it is asked again. */
const RETRY_MS = 1000
const TRIES = 3

/** What the audits need of the store, and of time. */
export interface StoreReader {
  objects: ObjectStore
  pause: (ms: number) => Promise<void>
}

/** Asks up to three times, and throws what the last time threw. */
export async function askStore<Answer>(
  { pause }: Pick<StoreReader, 'pause'>,
  ask: () => Promise<Answer>,
): Promise<Answer> {
  for (let tried = 1; ; tried++) {
    try {
      return await ask()
    } catch (error) {
      if (tried === TRIES) throw error
    }
    await pause(RETRY_MS)
  }
}

/**
 * What `take` makes of an object, which it has to read to its end or cancel; null where there is
 * none.
 */
export const readObject = <Taken>(
  world: StoreReader,
  key: string,
  take: (object: StoredObject) => Promise<Taken>,
) =>
  askStore(world, async () => {
    const object = await world.objects.get(key)
    return object && take(object)
  })

/** What a body really is. It passes through in pieces: no object is held whole. */
export async function hashed({ body }: StoredObject) {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of body) {
    hash.update(chunk)
    bytes += chunk.byteLength
  }
  return { sha256: hash.digest('hex'), bytes }
}

/** Far more than a record of ours has. */
const MAX_RECORD_BYTES = 16 * 1024 * 1024

/**
 * A record as it lies there, or null where there is none. Of one that is far too large, the
 * beginning: that is no record.
 */
export const readRecordFile = (world: StoreReader, key: string) =>
  readObject(world, key, ({ body }) => beginningOf(body, MAX_RECORD_BYTES))

async function beginningOf(body: StoredObject['body'], maxBytes: number) {
  const chunks: Uint8Array[] = []
  let bytes = 0
  // Who leaves the loop early cancels the body.
  for await (const chunk of body) {
    chunks.push(chunk)
    bytes += chunk.byteLength
    if (bytes > maxBytes) break
  }
  return Buffer.concat(chunks)
}

/** Every object under a prefix, some hundred at a time. */
export async function* listed(objects: ObjectStore, prefix: string) {
  let page: { key: string; bytes: number }[] = []
  for await (const object of objects.list(prefix)) {
    page.push(object)
    if (page.length === PAGE) {
      yield page
      page = []
    }
  }
  if (page.length > 0) yield page
}

const PAGE = 500
