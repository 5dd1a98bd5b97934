import type { ByteRange, ObjectStore, PutOptions } from '../deps.ts'

/** As much of Cloudflare's R2 binding as we use. */
export interface R2Bucket {
  put(key: string, bytes: Uint8Array, options: R2PutOptions): Promise<unknown>
  get(
    key: string,
    options: { range?: R2Range },
  ): Promise<(R2Object & { body: ReadableStream<Uint8Array> }) | null>
  head(key: string): Promise<R2Object | null>
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

type R2Page = { objects: R2Object[] } & ({ truncated: true; cursor: string } | { truncated: false })

/** Objects in an R2 bucket, which checks `sha256` itself. A binding signs no URLs. */
export function r2Store(bucket: R2Bucket): ObjectStore {
  return {
    put: async (key: string, bytes: Uint8Array, { sha256, contentType, ifAbsent }: PutOptions) => {
      // Where the condition does not hold, R2 answers null and keeps what is there.
      const onlyIf = ifAbsent ? { onlyIf: { etagDoesNotMatch: '*' as const } } : {}
      await bucket.put(key, bytes, { sha256, httpMetadata: { contentType }, ...onlyIf })
    },

    get: async (key: string, range?: ByteRange) => {
      const found = await bucket.get(key, range ? { range: r2Range(range) } : {})
      return found && { bytes: found.size, body: found.body }
    },

    head: async (key: string) => {
      const found = await bucket.head(key)
      return found && { bytes: found.size }
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

const r2Range = ({ start, end }: ByteRange): R2Range => ({ offset: start, length: end - start + 1 })
