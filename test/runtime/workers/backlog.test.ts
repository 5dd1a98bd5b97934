import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { newId } from '../../../src/model/uuid.ts'
import { until } from '../../support/process/program.ts'
import { png } from '../../support/world.ts'
import { bundled, type Bundle } from '../../support/bundle.ts'
import { type Home, newHome, startWorkerd, type Workerd } from '../../support/workerd.ts'

const IMAGES = 500
const IN_A_GENERATION = 4

/** Image hosts that count. */
class Hosts {
  readonly gets = new Map<string, number>()
  mostAtOnce = 0
  readonly #servers: Server[] = []
  readonly origins: string[] = []
  #now = 0

  async open(pictures: Uint8Array[], hosts: number) {
    for (let n = 0; n < hosts; n++) {
      const server = createServer((request, response) => {
        const url = `http://${request.headers.host ?? ''}${request.url ?? ''}`
        this.gets.set(url, (this.gets.get(url) ?? 0) + 1)
        this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#now)
        response.on('close', () => this.#now--)
        const number = Number(/\d+/u.exec(request.url ?? '')?.[0])
        // As long as it takes for others to overlap.
        setTimeout(() => response.end(pictures[number % pictures.length]), 30)
      })
      // A connection that is closed just as it is used again would cost an attempt.
      server.keepAliveTimeout = 120_000
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      this.#servers.push(server)
      this.origins.push(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    }
  }

  close() {
    for (const server of this.#servers) {
      server.closeAllConnections()
      server.close()
    }
  }
}

let bundle: Bundle
let hosts: Hosts
let home: Home
let worker: Workerd

beforeAll(async () => {
  hosts = new Hosts()
  const pictures = await Promise.all(['red', 'green', 'blue', 'white'].map((color) => png(color)))
  ;[bundle, home] = await Promise.all([bundled(), newHome(), hosts.open(pictures, 4)])
})
afterAll(async () => {
  hosts.close()
  await Promise.all([bundle.remove(), home.remove()])
})

const start = (wakes: boolean) =>
  startWorkerd({
    script: bundle.script,
    home,
    wakes,
    moods: false,
    // Wakes are gathered for a second, which sixteen turns would wait for one after the other.
    gatherSeconds: 0,
    settings: { ALLOWED_PRIVATE_ORIGINS: hosts.origins.join(), LOG_LEVEL: 'warn' },
  })

/** Generations that have succeeded, and of which nothing is copied yet. */
async function owe(count: number) {
  hosts.gets.clear()
  hosts.mostAtOnce = 0
  const now = Date.now()
  const owed = Array.from({ length: count / IN_A_GENERATION }, () => newId(now)).flatMap((id, g) =>
    Array.from({ length: IN_A_GENERATION }, (_, position) => {
      const origin = hosts.origins[position % hosts.origins.length] ?? ''
      const url = `${origin}/${g * IN_A_GENERATION + position}.png?${id}`
      return { id, position, url, host: new URL(url).host }
    }),
  )
  const list = `json_each('${JSON.stringify(owed)}')`
  const times = `${now + 3_600_000}, ${now}`
  await worker.sql(
    'delete from generations',
    'delete from images',
    'delete from offers',
    'delete from events',
    `insert into generations (id, status, archive_status, requested_at, finished_at)
     select distinct value ->> 'id', 'succeeded', 'pending', ${now}, ${now} from ${list}`,
    `insert into images (generation_id, source, position, source_url, host, expires_at, due_at, waiting)
     select value ->> 'id', 'output', value ->> 'position', value ->> 'url', value ->> 'host', ${times}, 0 from ${list}`,
    `insert into offers (generation_id, source, position, url, "by", expires_at, offered_at)
     select value ->> 'id', 'output', value ->> 'position', value ->> 'url', 'callback', ${times} from ${list}`,
  )
}

const pending = async () =>
  (await worker.sql(`select count(*) as n from images where status <> 'archived'`))[0]?.[
    'n'
  ] as number
const owedRecords = async () =>
  (await worker.sql('select count(*) as n from generations where record_due_at is not null'))[0]?.[
    'n'
  ] as number

const eachOnce = () => new Map([...hosts.gets.keys()].map((url) => [url, 1]))
const archivedEvents = async () =>
  (await worker.sql(`select count(*) as n from events where event = 'archived'`))[0]?.['n']

describe(`a backlog of ${IMAGES} images`, () => {
  it('is drained by wakes, each image once and few at a time, though the queue delivers some twice', async () => {
    worker = await start(true)
    await owe(IMAGES)
    await Promise.all([worker.wake(), worker.wake(3)])
    await until(() => hosts.gets.size === IMAGES, 100_000)
    await until(async () => (await pending()) === 0 && (await owedRecords()) === 0, 100_000)
    expect(hosts.gets.size).toBe(IMAGES)
    expect(hosts.gets).toEqual(eachOnce())
    expect(await archivedEvents()).toBe(IMAGES)
    expect(hosts.mostAtOnce).toBeGreaterThan(1)
    expect(hosts.mostAtOnce).toBeLessThanOrEqual(3)
    expect(worker.logged).toEqual([])
    await worker.kill()
  }, 120_000)

  it('is drained by the clock alone', async () => {
    worker = await start(false)
    await owe(IMAGES)
    for (let strikes = 0; (await pending()) > 0 && strikes < IMAGES; strikes++)
      await worker.strike()
    expect(hosts.gets.size).toBe(IMAGES)
    expect(hosts.gets).toEqual(eachOnce())
    expect(await archivedEvents()).toBe(IMAGES)
    expect(worker.logged).toEqual([])
    await worker.kill()
  }, 120_000)
})
