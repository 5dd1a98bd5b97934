import { readFileSync } from 'node:fs'
import { until } from '../support/process/program.ts'
import { median } from './load.ts'
import { aims, row, say } from './report.ts'
import { child, links, type LoopbackHosts, loopbackHosts, s3At, service } from './rig.ts'
import { pending } from './seeds.ts'

const SIZES = [
  { name: '200 KB', bytes: 200_000, count: 1500 },
  { name: '1 MB', bytes: 1_000_000, count: 500 },
]
const PATIENCE_MS = 300_000

/**
 * From two loopback hosts to a loopback S3 sink, sixteen at a time, as against a bare GET, SHA-256
 * and PUT.
 */
export async function benchImages(rounds: number) {
  const rows = []
  for (const { name, bytes, count } of SIZES) {
    const rates: { ours: number; bare: number }[] = []
    for (let round = 1; round <= rounds; round++) {
      const bare = await measured(count, (hosts) => archivedBarely(hosts, bytes, count))
      const ours = await measured(count, (hosts) => archived(hosts, bytes, count))
      rates.push({ ours, bare })
      say(`  ${name}, round ${round}: ours ${ours.toFixed(0)}/s, bare ${bare.toFixed(0)}/s`)
    }
    rows.push(
      row(
        `images of ${name}, 16 at a time`,
        `${median(rates.map(({ ours }) => ours)).toFixed(0)}/s`,
        `${median(rates.map(({ bare }) => bare)).toFixed(0)}/s`,
        median(rates.map(({ ours, bare }) => ours / bare)),
        aims.atLeast(0.8),
      ),
    )
  }
  return rows
}

/** Images a second, from the first GET to the last PUT. */
async function measured(
  count: number,
  copy: (hosts: LoopbackHosts) => Promise<() => Promise<void>>,
) {
  const hosts = await loopbackHosts()
  const end = await copy(hosts)
  const seen = await until(async () => {
    const now = await hosts.seen()
    return now.puts >= count && now
  }, PATIENCE_MS)
  await end()
  await hosts.kill()
  return (count * 1000) / (seen.lastPutAt - seen.firstGetAt)
}

async function archivedBarely(hosts: LoopbackHosts, bytes: number, count: number) {
  return (await child('bare-archiver.ts', [hosts.store, ...links(hosts, bytes, count, 'bare')]))
    .kill
}

async function archived(hosts: LoopbackHosts, bytes: number, count: number) {
  const database = await pending(links(hosts, bytes, count, 'ours'))
  const program = await service(database, {
    ...s3At(hosts.store),
    ALLOWED_PRIVATE_ORIGINS: hosts.allowed,
  })
  return program.kill
}

/** Resident megabytes of a process now (proc(5), VmRSS). */
export const residentMb = (pid: number) =>
  Number(/^VmRSS:\s+(\d+) kB/mu.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
