import { randomUUID } from 'node:crypto'
import type { Job } from './jobs.ts'
import type { Link } from './journal.ts'
import type { Knobs } from './knobs.ts'
import { sign } from './signing.ts'
import type { World } from './world.ts'

/** Which of a job's pictures a message names. */
export type Named = Knobs['fetch_outputs']

const EXTENSION = { png: 'png', jpeg: 'jpg', webp: 'webp' } as const

const NO_PROXIES = {
  none: { proxy_links: '' },
  empty: { proxy_links: [] },
  null: { proxy_links: null },
  absent: {},
} as const

// More than a request has samples, so that no two links of a job show the same picture by accident.
const OTHERS = 10
const DIFFERENT = 20

/**
 * The links of a new job: those of its result, then those that contradict it, where a message is
 * to.
 */
export function makeLinks(world: World, samples: number, knobs: Knobs): Link[] {
  if (knobs.result !== 'images') return []
  const hasOthers = knobs.fetch_outputs !== 'same' || knobs.callback_says.includes('other')
  return (hasOthers ? [false, true] : [false]).flatMap((other) =>
    linkSet(world, samples, knobs, other),
  )
}

/** Links as a message names them now. */
export function urls(world: World, job: Job, source: Link['source'], named: Named = 'same') {
  return job.submission.links
    .filter(
      (link) => link.source === source && (named === 'all' || link.other === (named === 'other')),
    )
    .map((link) => sign(link.url, job.knobs, world.now()))
}

/**
 * `output` in the shape that was asked for; the provider's own emptiness where it has no links yet.
 */
export function output(urls: string[], { outputs_shape }: Knobs) {
  if (outputs_shape === 'text') return urls[0] ?? ''
  return outputs_shape === 'array' ? urls : urls.map((url) => ({ url }))
}

/** The field `proxy_links`, or none. */
export function proxyLinks(world: World, job: Job, named: Named) {
  const { proxies, proxies_shape } = job.knobs
  if (isWithout(proxies)) return NO_PROXIES[proxies]
  const mirrors = urls(world, job, proxies === 'identical' ? 'output' : 'proxy', named)
  if (proxies_shape === 'text') return { proxy_links: mirrors[0] ?? '' }
  return {
    proxy_links: proxies_shape === 'array' ? mirrors : Object.fromEntries(mirrors.entries()),
  }
}

function linkSet(world: World, samples: number, knobs: Knobs, other: boolean): Link[] {
  const name = randomUUID()
  return sources(knobs).flatMap((source) => {
    const first =
      (other ? OTHERS : 0) + (source === 'proxy' && knobs.proxies === 'different' ? DIFFERENT : 0)
    return Array.from({ length: samples }, (_, position) => ({
      source,
      position,
      picture: first + position,
      url: `${world.origins[source]}/generations/${position}-${name}.${extension(knobs)}`,
      other,
      gets: [],
    }))
  })
}

function sources({ proxies }: Knobs): Link['source'][] {
  return isWithout(proxies) || proxies === 'identical' ? ['output'] : ['output', 'proxy']
}

function isWithout(proxies: Knobs['proxies']): proxies is keyof typeof NO_PROXIES {
  return proxies in NO_PROXIES
}

function extension({ encoding, format }: Knobs) {
  return encoding === 'bytes' ? EXTENSION[format] : 'base64'
}
