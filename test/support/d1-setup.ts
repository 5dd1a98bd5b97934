import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { Miniflare } from 'miniflare'
import type { TestProject } from 'vitest/node'
import { D1_WORKER, d1Over } from './d1.ts'

const MIGRATIONS = join(import.meta.dirname, '../../migrations')

/**
 * One workerd for the whole run, with two migrated D1 databases for each process that vitest may
 * start.
 */
export default async function setup(project: TestProject) {
  const processes = project.config.maxWorkers || availableParallelism()
  const names = Array.from({ length: processes }, (_, n) => [
    `d1_${n + 1}_0`,
    `d1_${n + 1}_1`,
  ]).flat()
  const miniflare = new Miniflare({
    modules: true,
    script: D1_WORKER,
    compatibilityDate: '2026-04-01',
    d1Databases: names,
    // Past Miniflare's own entry, which costs a millisecond each time.
    unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
  })
  const url = (await miniflare.unsafeGetDirectURL()).href
  const statements = migrationStatements()
  await Promise.all(
    names.map((name) => {
      const d1 = d1Over(`${url}${name}`, () => undefined)
      return d1.batch(statements.map((sql) => d1.prepare(sql)))
    }),
  )
  project.provide('d1Url', url)
  return () => miniflare.dispose()
}

const migrationStatements = () =>
  readdirSync(MIGRATIONS)
    .filter((name) => name.endsWith('.sql'))
    .toSorted()
    .flatMap((name) =>
      readFileSync(join(MIGRATIONS, name), 'utf8').split('--> statement-breakpoint'),
    )
