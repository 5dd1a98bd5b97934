import { dirname } from 'node:path'
import { macs } from '../../src/secrets/mac.ts'
import { drive, type Load, median, quantile } from './load.ts'
import { aims, row, say } from './report.ts'
import {
  child,
  copyOf,
  links,
  type LoopbackHosts,
  loopbackHosts,
  s3At,
  SECRET,
  service,
} from './rig.ts'
import { awaiting } from './seeds.ts'

const CONNECTIONS = 64
const CALLBACKS = 8000
/** Sent before, and not counted: what a server does in its first second is compiling. */
const WARM_UP = 4000
const BODY_BYTES = 2048
const IMAGE_BYTES = 200_000

/**
 * Distinct valid callbacks, each for a generation that waits for it: durable, MAC checked, parsed,
 * settled.
 */
export async function benchCallbacks(rounds: number) {
  const hosts = await loopbackHosts()
  const { path, ids } = await awaiting(WARM_UP + CALLBACKS)
  // Links at a host that takes connections and is silent: the archiver waits, and takes nothing
  // from what is measured.
  const quiet = callbacksFor(ids, (n) => [`${hosts.deaf}/${n}-0.png`, `${hosts.deaf}/${n}-1.png`])
  const busy = callbacksFor(ids, (n) => links(hosts, IMAGE_BYTES, 2, String(n)))
  const ways = {
    bare: () => bare(quiet),
    'one by one': async () => oneByOne(await copyOf(path), quiet),
    ours: async () => ours(await copyOf(path), quiet, hosts, hosts.store),
    'archiver saturated': async () => ours(await copyOf(path), busy, hosts, hosts.store),
    'store hangs': async () => ours(await copyOf(path), busy, hosts, hosts.mute),
  }
  const loads: Record<string, Load[]> = {}
  for (let round = 1; round <= rounds; round++)
    for (const [name, way] of Object.entries(ways)) {
      const load = await way()
      if (load.statuses.get('200') !== CALLBACKS)
        throw new Error(`not all were taken: ${[...load.statuses].join(' ')}`)
      say(
        `  round ${round}, ${name}: ${load.perSecond.toFixed(0)}/s, p99 ${quantile(load.latencies, 0.99).toFixed(1)} ms`,
      )
      ;(loads[name] ??= []).push(load)
    }
  return rowsOf(loads)
}

function rowsOf(loads: Record<string, Load[]>) {
  const rate = (name: string) => median((loads[name] ?? []).map(({ perSecond }) => perSecond))
  const p99 = (name: string) =>
    median((loads[name] ?? []).map(({ latencies }) => quantile(latencies, 0.99)))
  const ratio = (of: string, to: string, figure: (load: Load) => number) =>
    median((loads[of] ?? []).map((load, n) => figure(load) / figure(loads[to]?.[n] ?? load)))
  const perSecond = (load: Load) => load.perSecond
  const slowest = (load: Load) => quantile(load.latencies, 0.99)
  const rateOf = (name: string) => `${rate(name).toFixed(0)}/s`
  const p99Of = (name: string) => `p99 ${p99(name).toFixed(1)} ms`
  return [
    row(
      'callbacks, 64 connections, against Hono alone',
      rateOf('ours'),
      rateOf('bare'),
      ratio('ours', 'bare', perSecond),
      aims.atLeast(0.5),
    ),
    row(
      'callbacks, against one transaction each',
      rateOf('ours'),
      rateOf('one by one'),
      ratio('ours', 'one by one', perSecond),
      aims.atLeast(4),
    ),
    row('callbacks, p99', p99Of('ours'), p99Of('bare'), p99('ours'), aims.atMost(50, ' ms')),
    ...['archiver saturated', 'store hangs'].map((name) =>
      row(
        `callbacks, p99 while the ${name.replace('saturated', 'is saturated')}`,
        p99Of(name),
        p99Of('ours'),
        ratio(name, 'ours', slowest),
        aims.atMost(2),
      ),
    ),
  ]
}

async function driveWarm(url: string, requests: string[]) {
  await drive(url, requests.slice(0, WARM_UP), CONNECTIONS)
  return drive(url, requests.slice(WARM_UP), CONNECTIONS)
}

async function bare(requests: string[]) {
  const server = await child('bare-server.ts')
  return ended(driveWarm(server.hello['url'] ?? '', requests), server.kill)
}

async function oneByOne(database: string, requests: string[]) {
  const server = await child('one-by-one-server.ts', [dirname(database)])
  return ended(driveWarm(server.hello['url'] ?? '', requests), server.kill)
}

async function ours(database: string, requests: string[], hosts: LoopbackHosts, store: string) {
  const program = await service(database, {
    ...s3At(store),
    ALLOWED_PRIVATE_ORIGINS: hosts.allowed,
  })
  return ended(driveWarm(program.url, requests), program.kill)
}

async function ended<T>(work: Promise<T>, end: () => Promise<void>) {
  try {
    return await work
  } finally {
    await end()
  }
}

export function callbacksFor(ids: readonly string[], output: (n: number) => string[]) {
  const { sign } = macs('callback', [SECRET])
  return ids.map((id, n) => {
    const [first = '', second = ''] = output(n)
    const said = {
      status: 'success',
      id: 100_000_000 + n,
      track_id: id,
      generationTime: 9.07,
      output: [first, second],
      proxy_links: [`${first}?mirror`, `${second}?mirror`],
      nsfw_content_detected: n % 100 === 42,
      meta: { prompt: 'a cat sitting on a bench', seed: 4139316548, W: 512, H: 512 },
      tip: '',
    }
    said.tip = 'a few words more '
      .repeat(BODY_BYTES)
      .slice(0, BODY_BYTES - Buffer.byteLength(JSON.stringify(said)))
    const body = JSON.stringify(said)
    return `POST /callbacks/${id}/${sign(id)} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
  })
}
