import { readdirSync, readFileSync } from 'node:fs'
import Database from 'better-sqlite3'
import { freePort, until } from '../support/process/program.ts'
import { bundled } from '../support/bundle.ts'
import { startWorkerd, type Workerd } from '../support/workerd.ts'
import { callbacksFor } from './callbacks.ts'
import { drive, median } from './load.ts'
import { aims, row, say } from './report.ts'
import { copyOf, folder, links, type LoopbackHosts, loopbackHosts, SECRET, service } from './rig.ts'
import { awaiting, pending } from './seeds.ts'

/**
 * Few: with more, workerd leaves some unread for seconds, and then closes them as if nothing had
 * come.
 */
const CONNECTIONS = 4
const CALLBACKS = 1000
const IMAGES = 200
/** Code that was not run before is slow, and no part of what is measured. */
const WARM_UP = 100
const IMAGE_BYTES = 200_000
/** So that ten thousand take little of the disk. */
const BACKLOG_IMAGE_BYTES = 20_000
const PATIENCE_MS = 60_000
const BACKLOG_PATIENCE_MS = 3_600_000

interface Home {
  url: string
  pid: number
  /** Runs a query in the ledger, past the service. */
  read: (sql: string) => Promise<Record<string, unknown> | undefined>
  /** Lets time pass: on Workers nothing happens by itself where no wakes arrive. */
  strike: () => Promise<void>
}

type Homes = Record<
  'workerd' | 'node',
  <T>(ledger: string, measure: (home: Home) => Promise<T>) => Promise<T>
>

/**
 * The bundle that is deployed, inside workerd, with D1 and R2 as Miniflare simulates them in the
 * same process.
 */
export async function benchWorkers(rounds: number, backlog: number) {
  const hosts = await loopbackHosts()
  const bundle = await bundled()
  try {
    const homes: Homes = {
      workerd: (ledger, measure) =>
        inWorkerd({ script: bundle.script, hosts, ledger, wakes: false }, (worker) =>
          measure({ ...worker, pid: workerdPid(), read: readerOf(worker) }),
        ),
      node: (ledger, measure) => onNode(hosts, ledger, measure),
    }
    return [
      await cpuRow('callback', rounds, homes, await callbackCost(hosts)),
      await cpuRow('archived image of 200 KB, with its record', rounds, homes, imageCost(hosts)),
      ...(await drained(bundle.script, hosts, backlog)),
    ]
  } finally {
    await bundle.remove()
  }
}

/** CPU milliseconds of one, in either home. */
type Cost = (
  home: <T>(ledger: string, measure: (home: Home) => Promise<T>) => Promise<T>,
) => Promise<number>

async function cpuRow(what: string, rounds: number, homes: Homes, cost: Cost) {
  const costs: Record<keyof Homes, number>[] = []
  for (let round = 1; round <= rounds; round++) {
    const { workerd, node } = { workerd: await cost(homes.workerd), node: await cost(homes.node) }
    say(
      `  CPU per ${what}, round ${round}: workerd ${workerd.toFixed(2)} ms, Node ${node.toFixed(2)} ms`,
    )
    costs.push({ workerd, node })
  }
  return row(
    `CPU per ${what}, workerd (its simulated D1 and R2 included)`,
    `${median(costs.map(({ workerd }) => workerd)).toFixed(2)} ms`,
    `${median(costs.map(({ node }) => node)).toFixed(2)} ms on Node`,
    median(costs.map(({ workerd, node }) => workerd / node)),
    aims.none(),
  )
}

/** As the callbacks' own bench sends them; their images are at a host that is silent. */
async function callbackCost(hosts: LoopbackHosts): Promise<Cost> {
  const { path, ids } = await awaiting(WARM_UP + CALLBACKS)
  const requests = callbacksFor(ids, (n) => [
    `${hosts.deaf}/${n}-0.png`,
    `${hosts.deaf}/${n}-1.png`,
  ])
  return (home) =>
    home(path, async ({ url, pid, read }) => {
      await drive(url, requests.slice(0, WARM_UP), CONNECTIONS)
      const before = cpuMs(pid)
      const { statuses } = await drive(url, requests.slice(WARM_UP), CONNECTIONS)
      const spent = cpuMs(pid) - before
      const settled = (
        await read(`select count(*) as n from generations where status = 'succeeded'`)
      )?.['n']
      if (settled !== requests.length)
        throw new Error(
          `${String(settled)} of ${requests.length} were settled: ${[...statuses].join(' ')}`,
        )
      return spent / CALLBACKS
    })
}

/**
 * From the moment at which the first are copied until all are, and every record of them is written.
 */
function imageCost(hosts: LoopbackHosts): Cost {
  let turn = 0
  return async (home) => {
    const ledger = await pending(links(hosts, IMAGE_BYTES, WARM_UP + IMAGES, `cost-${++turn}`))
    const { gets: earlier } = await hosts.seen()
    return home(ledger, async ({ pid, read, strike }) => {
      const copied = async () => (await hosts.seen()).gets - earlier
      const began = await until(async () => {
        await strike()
        const [before, images] = [cpuMs(pid), await copied()]
        return images >= WARM_UP && { before, images }
      }, PATIENCE_MS)
      await until(async () => {
        await strike()
        return isDrained(read)
      }, PATIENCE_MS)
      const spent = cpuMs(pid) - began.before
      await expectArchived(read, WARM_UP + IMAGES)
      return spent / (WARM_UP + IMAGES - began.images)
    })
  }
}

async function isDrained(read: Home['read']) {
  const owed = await read(
    `select 1 from generations where archive_status = 'pending'
     union all select 1 from generations where record_due_at is not null limit 1`,
  )
  return owed === undefined
}

async function expectArchived(read: Home['read'], images: number) {
  const archived = (await read(`select count(*) as n from images where status = 'archived'`))?.['n']
  if (archived !== images) throw new Error(`${String(archived)} of ${images} images were archived`)
}

/** A wake that the queue delivers twice begins it, and each turn sends the next. */
async function drained(script: string, hosts: LoopbackHosts, images: number) {
  const { gets: earlierGets, urls: earlierUrls } = await hosts.seen()
  const ledger = await pending(links(hosts, BACKLOG_IMAGE_BYTES, images, 'backlog'))
  say(`  seeding ${images} images …`)
  const seconds = await inWorkerd({ script, hosts, ledger, wakes: true }, async (worker) => {
    const read = readerOf(worker)
    const began = performance.now()
    const secondsSoFar = () => (performance.now() - began) / 1000
    let told = 0
    await Promise.all([worker.wake(), worker.wake()])
    await until(async () => {
      const copied = (await hosts.seen()).urls - earlierUrls
      if (copied >= told + images / 10) {
        told = copied
        say(`  ${copied} of ${images} images copied after ${secondsSoFar().toFixed(0)} s`)
      }
      return copied === images
    }, BACKLOG_PATIENCE_MS)
    await until(() => isDrained(read), BACKLOG_PATIENCE_MS)
    const complaint = worker.logged.find(({ level }) => level !== 'info')
    if (complaint) throw new Error(`it complained: ${JSON.stringify(complaint)}`)
    const seconds = secondsSoFar()
    await expectArchived(read, images)
    return seconds
  })
  const gets = (await hosts.seen()).gets - earlierGets
  const of = images.toLocaleString('en')
  return [
    row(
      `backlog of ${of} images drained by wakes in workerd`,
      `${(images / seconds).toFixed(1)}/s`,
      '—',
      seconds,
      aims.none(' s'),
    ),
    row(
      `backlog of ${of} images, fetches of each`,
      String(gets),
      String(images),
      gets / images,
      aims.atMost(1),
    ),
  ]
}

const readerOf =
  (worker: Workerd): Home['read'] =>
  async (sql) =>
    (await worker.sql(sql))[0]

interface Start {
  script: string
  hosts: LoopbackHosts
  ledger: string
  wakes: boolean
}

async function inWorkerd<T>(
  { script, hosts, ledger, wakes }: Start,
  measure: (worker: Workerd) => Promise<T>,
) {
  const worker = await startWorkerd({
    script,
    home: { folder: await folder(), port: await freePort(), remove: () => Promise.resolve() },
    settings: {
      // Nobody listens there: nothing is submitted.
      MODELSLAB_BASE_URL: 'http://127.0.0.1:9',
      CALLBACK_SECRETS: SECRET,
      RETRY_BASE_SECONDS: '1',
      ALLOWED_PRIVATE_ORIGINS: hosts.allowed,
    },
    wakes,
    moods: false,
    // Else each turn waits a second for the wake that it was sent.
    gatherSeconds: 0,
  })
  try {
    await copyRows(ledger, worker)
    return await measure(worker)
  } finally {
    await worker.kill()
  }
}

/** With SQLite and a folder, as the simulated D1 and R2 are kept too. */
async function onNode<T>(
  hosts: LoopbackHosts,
  ledger: string,
  measure: (home: Home) => Promise<T>,
) {
  const path = await copyOf(ledger)
  const program = await service(path, { ALLOWED_PRIVATE_ORIGINS: hosts.allowed })
  const reader = new Database(path, { readonly: true })
  try {
    return await measure({
      url: program.url,
      pid: program.child.pid ?? 0,
      read: (sql) => Promise.resolve(reader.prepare<[], Record<string, unknown>>(sql).get()),
      strike: () => Promise.resolve(),
    })
  } finally {
    reader.close()
    await program.kill()
  }
}

/** D1 takes no statement of more than 100 KB, and a generation is about one. */
const ROWS_AT_ONCE = 60

/** Fills D1 with a ledger that was seeded for Node. */
async function copyRows(ledger: string, worker: Workerd) {
  const reader = new Database(ledger, { readonly: true })
  for (const table of ['generations', 'images', 'offers']) {
    const rows = reader.prepare<[], Record<string, unknown>>(`select * from ${table}`).all()
    const columns = Object.keys(rows[0] ?? {})
    const insert = `insert into ${table} (${columns.map((name) => `"${name}"`).join()})
      select ${columns.map((name) => `value ->> '${name}'`).join()} from json_each`
    for (let at = 0; at < rows.length; at += ROWS_AT_ONCE) {
      const json = JSON.stringify(rows.slice(at, at + ROWS_AT_ONCE)).replaceAll("'", "''")
      await worker.sql(`${insert}('${json}')`)
    }
  }
  reader.close()
}

/** Where Linux counts the time of processes, whatever its own ticks are. */
const TICKS_PER_MS = 0.1

/**
 * CPU milliseconds that a process has spent so far, in user and in kernel mode (proc(5), utime and
 * stime).
 */
function cpuMs(pid: number) {
  const fields = statOf(pid)
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_MS
}

/** What follows the name, which may hold anything. */
const statOf = (pid: number | string) =>
  readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /su, '')
    .split(' ')

/** The one that Miniflare started in this process. */
function workerdPid() {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/u.test(name) && isOurWorkerd(name))
  if (pids.length !== 1) throw new Error(`expected one workerd, found ${pids.length}`)
  return Number(pids[0])
}

function isOurWorkerd(pid: string) {
  try {
    const name = readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
    return name === 'workerd' && Number(statOf(pid)[1]) === process.pid
  } catch {
    // It ended meanwhile.
    return false
  }
}
