import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Miniflare } from 'miniflare'
import ts from 'typescript'
import { Agent, fetch, type Response } from 'undici'
import type { ObjectFacts, ObjectStore } from '../../src/deps.ts'

/**
 * Answers over HTTP what `r2Store` does inside workerd: a path is a key, and the methods are those
 * of the port.
 */
const WORKER = `
import { r2Store } from './r2.mjs'
const found = (object) => object
  ? new Response(object.body, { headers: { 'x-bytes': String(object.bytes) } })
  : new Response(null, { status: 404 })
const answer = async (store, request, { key, options, range, prefix }) => {
  if (request.method === 'PUT')
    return Response.json(await store.put(key, new Uint8Array(await request.arrayBuffer()), options))
  if (request.method === 'GET') return found(await store.get(key, range))
  else if (request.method === 'HEAD') return found(await store.head(key))
  else if (request.method === 'DELETE') await store.delete(key)
  else return Response.json(await Array.fromAsync(store.list(prefix)))
  return new Response()
}
export default {
  async fetch(request, env) {
    const asked = JSON.parse(decodeURIComponent(new URL(request.url).search.slice(1)))
    try {
      return await answer(r2Store(env.OBJECTS), request, asked)
    } catch (error) {
      return new Response(error.message, { status: 500 })
    }
  },
}`

type Method = 'PUT' | 'GET' | 'HEAD' | 'DELETE' | 'POST'

interface Asked {
  key?: string
  [option: string]: unknown
}

/** Our adapter over a real R2 binding, in a workerd of its own. */
export async function startR2() {
  const adapter = readFileSync(join(import.meta.dirname, '../../src/objects/r2.ts'), 'utf8')
  const { outputText } = ts.transpileModule(adapter, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 },
  })
  const miniflare = new Miniflare({
    workers: [
      {
        config: {
          name: 'r2',
          compatibilityDate: '2026-04-01',
          manifest: {
            mainModule: 'worker.mjs',
            modules: {
              'worker.mjs': { type: 'esm', contents: WORKER },
              'r2.mjs': { type: 'esm', contents: outputText },
            },
          },
          env: { OBJECTS: { type: 'r2', name: 'OBJECTS' } },
        },
      },
    ],
    enableDevRegistry: false,
  })
  const url = await miniflare.ready
  // workerd closes a connection on which a put was refused; the next request must not take it.
  const agent = new Agent({ pipelining: 0 })
  const ask = async (method: Method, asked: Asked, bytes: Uint8Array | null = null) => {
    const address = new URL(`?${encodeURIComponent(JSON.stringify(asked))}`, url)
    const response = await fetch(address, { method, body: bytes, dispatcher: agent })
    if (response.status === 500) throw new Error(await response.text())
    return response
  }
  return { store: over(ask), stop: () => Promise.all([agent.close(), miniflare.dispose()]) }
}

function over(
  ask: (method: Method, asked: Asked, bytes?: Uint8Array) => Promise<Response>,
): ObjectStore {
  const bytesOf = ({ headers }: Response) => ({ bytes: Number(headers.get('x-bytes')) })
  return {
    put: async (key, bytes, options) =>
      (await (await ask('PUT', { key, options }, bytes)).json()) as ObjectFacts | null,
    get: async (key, range) => {
      const response = await ask('GET', { key, range })
      if (response.status === 404) return null
      return {
        ...bytesOf(response),
        body: (response.body ?? ReadableStream.from([])) as ReadableStream<Uint8Array>,
      }
    },
    head: async (key) => {
      const response = await ask('HEAD', { key })
      return response.status === 404 ? null : bytesOf(response)
    },
    delete: async (key) => {
      await ask('DELETE', { key })
    },
    list: async function* (prefix) {
      yield* (await (await ask('POST', { prefix })).json()) as { key: string; bytes: number }[]
    },
  }
}
