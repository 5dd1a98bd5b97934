import { Agent, request } from 'undici'
import type { D1Database } from '../../src/ledger/driver/d1.ts'

/** What one request to D1 was asked. */
export interface D1Call {
  kind: 'all' | 'raw' | 'run' | 'batch'
  statements: { sql: string; params: unknown[] }[]
}

/**
 * The worker that stands between the tests and its D1 bindings: one request of theirs is one
 * request to D1. Miniflare's own proxy of a binding takes several, and blocks the process for each.
 */
const D1_WORKER = `
const fromWire = (value) => value?.blob !== undefined ? Uint8Array.from(atob(value.blob), (c) => c.charCodeAt(0))
  : value?.undefined ? undefined : value
const run = async (d1, { kind, statements }) => {
  const bound = statements.map(({ sql, params }) => d1.prepare(sql).bind(...params.map(fromWire)))
  return kind === 'batch' ? d1.batch(bound) : bound[0][kind]()
}
export default {
  async fetch(request, env) {
    try {
      return Response.json({ answer: await run(env[new URL(request.url).pathname.slice(1)], await request.json()) })
    } catch (error) {
      return Response.json({ error: error.message })
    }
  },
}`

/** That worker with a database of each name, as Miniflare takes it. */
export const d1Worker = (names: string[]) => ({
  config: {
    name: 'd1',
    compatibilityDate: '2026-04-01',
    manifest: {
      mainModule: 'd1.mjs',
      modules: { 'd1.mjs': { type: 'esm' as const, contents: D1_WORKER } },
    },
    env: Object.fromEntries(names.map((name) => [name, { type: 'd1' as const, id: name }])),
  },
})

/** workerd closes a connection after 5 s of silence: a busy test would take one up just then. */
const agent = new Agent({ pipelining: 0 })

/**
 * A D1 database of the worker above, as its binding would look from inside. `before` sees each
 * request first.
 */
export function d1Over(url: string, before: (call: D1Call) => Promise<void> | void): D1Database {
  const ask = async (call: D1Call) => {
    await before(call)
    const { body } = await request(url, {
      method: 'POST',
      body: JSON.stringify(call, toWire),
      dispatcher: agent,
    })
    const { answer, error } = (await body.json()) as { answer?: unknown; error?: string }
    if (error !== undefined) throw new Error(error)
    return answer
  }
  const statement = (sql: string, params: unknown[]) => ({
    sql,
    params,
    bind: (...values: unknown[]) => statement(sql, values),
    all: () => ask({ kind: 'all', statements: [{ sql, params }] }),
    raw: () => ask({ kind: 'raw', statements: [{ sql, params }] }),
    run: () => ask({ kind: 'run', statements: [{ sql, params }] }),
  })
  return {
    prepare: (sql) => statement(sql, []),
    batch: async (list) =>
      (await ask({ kind: 'batch', statements: list as ReturnType<typeof statement>[] })) as {
        results: unknown[]
      }[],
  }
}

/** JSON has no bytes and drops what is undefined; D1 takes the one and refuses the other. */
function toWire(this: unknown, key: string, json: unknown) {
  const value = (this as Record<string, unknown>)[key]
  if (value instanceof Uint8Array) return { blob: Buffer.from(value).toString('base64') }
  return value === undefined ? { undefined: true } : json
}
