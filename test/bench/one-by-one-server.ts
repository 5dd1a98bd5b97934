import { join } from 'node:path'
import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import { readConfig } from '../../src/config.ts'
import { watchHealth } from '../../src/observe/health.ts'
import { createApp } from '../../src/http/app.ts'
import { createLedger } from '../../src/ledger/ledger.ts'
import { openSqlite } from '../../src/ledger/driver/sqlite.node.ts'
import { writerThread } from '../../src/ledger/driver/writer.node.ts'
import type { Atomically } from '../../src/ledger/statement.ts'
import { macs } from '../../src/secrets/mac.ts'
import { diskStore } from '../../src/objects/disk.node.ts'
import { readCallback } from '../../src/modelslab/read.ts'
import { SECRET, TOKEN } from './rig.ts'

// The same doors, verbs and ledger, but every list of statements has a transaction and an fsync of
// its own.

const [folder = ''] = process.argv.slice(2)
const config = readConfig({
  MODELSLAB_API_KEY: 'api-key-of-the-benches-as-long-as-real-ones-are',
  PUBLIC_URL: 'http://127.0.0.1:1',
  DATABASE_PATH: join(folder, 'afterimage.db'),
  CALLBACK_SECRETS: SECRET,
  API_TOKENS: `bench:admin:${TOKEN}`,
})
const sqlite = openSqlite(config.databasePath, writerThread)
let last: Promise<unknown> = Promise.resolve()
const atomically: Atomically = (list) => {
  const written = last.then(() => sqlite.atomically(list))
  last = written.catch(() => undefined)
  return written
}
const capability = macs('callback', config.callbackSecrets)
const unused = () => Promise.reject(new Error('not part of this server'))
const app = createApp(
  {
    ledger: createLedger({ db: sqlite.db, atomically }),
    objects: diskStore(join(folder, 'objects')),
    provider: { submit: unused, fetch: unused, readCallback },
    get: unused,
    wake: () => undefined,
    now: Date.now,
    later: () => undefined,
    track: () => undefined,
    callbackUrl: (id) => `${config.publicUrl}/callbacks/${id}/${capability.sign(id)}`,
    verifiesCallback: capability.verifies,
    signRecord: null,
    verifiesRecord: () => false,
    secretsOf: (id) => [config.modelsLab.apiKey, ...capability.accepted(id)],
    log: () => undefined,
    health: watchHealth(() => undefined, Date.now),
    config,
  },
  { isDraining: () => false },
)
const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, () => {
  process.stdout.write(
    `${JSON.stringify({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })}\n`,
  )
})
