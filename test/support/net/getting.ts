import type { RequestListener } from 'node:http'
import { onTestFinished } from 'vitest'
import { publicGet, type PublicGetOptions } from '../../../src/net/public-fetch.node.ts'
import type { GetResponse } from '../../../src/deps.ts'

export const hello: RequestListener = (_, response) => void response.end('hello')
export const never = new AbortController().signal

export const REFUSED = { code: 'refused_address', final: true }

interface Options extends Omit<PublicGetOptions, 'allowedPrivateOrigins'> {
  allow?: string[]
  addresses?: string[]
}

/** No name in these tests may reach a real resolver. */
export function get({ allow = [], addresses = [], ...options }: Options = {}) {
  const resolve = () => Promise.resolve(addresses)
  const instance = publicGet({ allowedPrivateOrigins: new Set(allow), resolve, ...options })
  onTestFinished(() => instance.close())
  return instance
}

export async function bytes(response: GetResponse) {
  const chunks: Uint8Array[] = []
  for await (const chunk of response.body) chunks.push(chunk)
  return Buffer.concat(chunks)
}

export async function text(response: GetResponse) {
  return (await bytes(response)).toString()
}
