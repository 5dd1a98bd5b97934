import { until } from '../support/process/program.ts'
import { residentMb } from './images.ts'
import { aims, row, say } from './report.ts'
import { links, loopbackHosts, s3At, service } from './rig.ts'
import { awaiting, pending } from './seeds.ts'

const IMAGES = 5000
const IMAGE_BYTES = 1_000_000
const PATIENCE_MS = 600_000

/**
 * What archiving thousands of images takes beyond the memory of a service that has nothing to do.
 */
export async function benchMemory() {
  const resting = await atRest()
  const hosts = await loopbackHosts()
  const database = await pending(links(hosts, IMAGE_BYTES, IMAGES, 'memory'))
  const program = await service(database, {
    ...s3At(hosts.store),
    ALLOWED_PRIVATE_ORIGINS: hosts.allowed,
  })
  const samples: number[] = []
  await until(async () => {
    samples.push(residentMb(program.child.pid ?? 0))
    const { puts } = await hosts.seen()
    return puts >= IMAGES
  }, PATIENCE_MS)
  await program.kill()
  const peak = Math.max(...samples)
  const third = Math.floor(samples.length / 3)
  const early = Math.max(...samples.slice(third, 2 * third))
  const late = Math.max(...samples.slice(2 * third))
  say(
    `  at rest ${resting.toFixed(0)} MB, peak ${peak.toFixed(0)} MB, middle third ${early.toFixed(0)} MB, last third ${late.toFixed(0)} MB`,
  )
  return [
    row(
      'memory over rest, 5,000 images of 1 MB',
      mb(peak),
      mb(resting),
      peak - resting,
      aims.atMost(200, ' MB'),
    ),
    row(
      'memory, last third against the middle one',
      mb(late),
      mb(early),
      late / early,
      aims.atMost(1.1),
    ),
  ]
}

const mb = (megabytes: number) => `${megabytes.toFixed(0)} MB`

async function atRest() {
  const { path } = await awaiting(1)
  const { store, kill } = await loopbackHosts()
  const program = await service(path, s3At(store))
  await until(async () => (await fetch(`${program.url}/readyz`)).ok)
  const resting = residentMb(program.child.pid ?? 0)
  await program.kill()
  await kill()
  return resting
}
