import { onTestFinished, vi } from 'vitest'
import { download, type DownloadPolicy } from '../../../src/net/download.ts'
import { publicGet } from '../../../src/net/public-fetch.node.ts'
import type { Get, GetResponse } from '../../../src/deps.ts'

export const picture = Buffer.from('as many bytes as a picture may have')

/** Where others reach us. */
export const OWN_ORIGIN = 'https://afterimage.test'

export function policy(allowed: string[] = []): DownloadPolicy {
  return {
    maxBytes: 100_000,
    timeoutMs: 10_000,
    allowedPrivateOrigins: new Set(allowed),
    imageHosts: [],
    ownOrigin: OWN_ORIGIN,
  }
}

/** From a server on loopback, whose origin alone is allowed. */
export function fetched(url: string, changes: Partial<DownloadPolicy> = {}) {
  const { origin } = new URL(url)
  return download(loopbackGet([origin]), url, { ...policy([origin]), ...changes })
}

export function loopbackGet(allowed: string[], addresses: string[] = []) {
  const resolve = () => Promise.resolve(addresses)
  const get = publicGet({
    allowedPrivateOrigins: new Set(allowed),
    resolve,
    connectionsPerOrigin: 1,
  })
  onTestFinished(() => get.close())
  return get
}

/** A Get for what cannot be asked of loopback, which counts what is taken from it. */
export function answering(answer: {
  status: number
  headers?: Record<string, string>
  chunks: Uint8Array[]
}) {
  let read = 0
  let isDiscarded = false
  async function* body() {
    for (const chunk of answer.chunks) {
      read++
      yield await Promise.resolve(chunk)
    }
  }
  const response = (): GetResponse => ({
    status: answer.status,
    header: (name) => answer.headers?.[name],
    body: body(),
    discard: () => (isDiscarded = true),
  })
  const get = vi.fn<Get>(() => Promise.resolve(response()))
  return Object.assign(get, { read: () => read, discarded: () => isDiscarded })
}
