import type { ByteRange, ObjectFacts, ObjectStore } from '../deps.ts'

/** As much of Cloudflare's R2 binding as we use. */
export interface R2Bucket {
  put(key: string, bytes: Uint8Array, options: R2PutOptions): Promise<unknown>
  get(
    key: string,
    options: { range?: R2Range },
  ): Promise<(R2Object & { body: ReadableStream<Uint8Array> }) | null>
  head(key: string): Promise<R2Head | null>
  delete(key: string): Promise<void>
  list(options: { prefix: string; cursor?: string }): Promise<R2Page>
}

interface R2PutOptions {
  sha256: string
  httpMetadata: { contentType: string }
  onlyIf?: { etagDoesNotMatch: '*' }
}

interface R2Range {
  offset: number
  length: number
}

interface R2Object {
  key: string
  size: number
}

interface R2Head extends R2Object {
  checksums: { toJSON(): { sha256?: string } }
}

type R2Page = { objects: R2Object[] } & ({ truncated: true; cursor: string } | { truncated: false })

/** Objects in an R2 bucket, which checks `sha256` itself. A binding signs no URLs. */
export function r2Store(bucket: R2Bucket): ObjectStore {
  return {
    put: async (key, bytes, { sha256, contentType, ifAbsent }) => {
      const onlyIf = ifAbsent ? { onlyIf: { etagDoesNotMatch: '*' as const } } : {}
      const put = await bucket.put(key, bytes, { sha256, httpMetadata: { contentType }, ...onlyIf })
      // Where the condition does not hold, R2 answers null and keeps what is there.
      if (!ifAbsent || put !== null) return null
      const there = await bucket.head(key)
      if (!there) throw new Error(`${key} was there when it was put, and is gone`)
      return factsOf(there)
    },

    get: async (key: string, range?: ByteRange) => {
      try {
        const found = await bucket.get(key, range ? { range: r2Range(range) } : {})
        return found && { bytes: found.size, body: found.body }
      } catch (error) {
        // R2 refuses a part that begins behind the end (10039), and says nothing of the whole.
        const there = range && (await bucket.head(key))
        if (!there || there.size > range.start) throw error
        return { bytes: there.size, body: nothing() }
      }
    },

    head: async (key: string) => {
      const found = await bucket.head(key)
      return found && factsOf(found)
    },

    delete: (key: string) => bucket.delete(key),

    list: async function* (prefix: string) {
      let page = await bucket.list({ prefix })
      for (;;) {
        for (const { key, size } of page.objects) yield { key, bytes: size }
        if (!page.truncated) return
        page = await bucket.list({ prefix, cursor: page.cursor })
      }
    },
  }
}

const nothing = () => new ReadableStream<Uint8Array>({ start: (controller) => controller.close() })

const r2Range = ({ start, end }: ByteRange): R2Range => ({ offset: start, length: end - start + 1 })

/** It keeps the hash that the object was put with, and shows it in hex. */
const factsOf = ({ size, checksums }: R2Head): ObjectFacts => ({
  bytes: size,
  ...checksumOf(checksums.toJSON()),
})

const checksumOf = ({ sha256 }: { sha256?: string }) => (sha256 === undefined ? {} : { sha256 })
