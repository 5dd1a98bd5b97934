import { type Stage, it } from '../support/process/bench.ts'
import { Bucket, picturesInLedger, s3Settings } from '../support/process/bucket.ts'
import { ask, isSettled, submitted, untilShown } from '../support/process/client.ts'
import { picture } from '../support/process/picture.ts'
import { type Condition, conflicts, refuses, Shelf } from '../support/process/shelf.ts'
import { type Script, sha256, usual } from '../support/process/stand-in.ts'

/** Every job shows two pictures: one of its own, and one that all show. */
const twoPictures: Script = (job, answer, provider) => {
  job.pictures[1] = picture(1)
  return usual(job, answer, provider)
}

/** Ten generations with all their copies archived, on a server with that condition. */
async function tenArchived(stage: Stage, condition: Condition) {
  const shelf = new Shelf(condition)
  await shelf.open()
  stage.after(() => shelf.close())
  const { here, provider, program } = await stage.service(twoPictures, s3Settings(shelf))
  const all = await Promise.all(
    Array.from({ length: 10 }, () => submitted(program, { samples: 2 })),
  )
  const generations = []
  for (const { id } of all) generations.push(await untilShown(program, id, isSettled))
  return { shelf, here, provider, program, generations }
}

// Until the first refusal is heard, every slot may ask for a conditional write.
const SLOTS = 16

it.concurrent.for<[string, () => Condition, number]>([
  ['knows no conditional write (501)', () => refuses, SLOTS],
  [
    'says of what is there that it was not modified (304)',
    () => (_key, isThere) => (isThere ? { status: 304, code: 'NotModified' } : undefined),
    Infinity,
  ],
  ['forbids conditional writes (403)', () => () => ({ status: 403, code: 'AccessDenied' }), SLOTS],
  [
    'answers each first write as if another were under way (409), and what is there with 412',
    conflicts,
    Infinity,
  ],
])(
  'archives every picture once on an S3 server that %s',
  async ([, condition, mostConditional], { stage, expect }) => {
    const { shelf, here, provider, program, generations } = await tenArchived(stage, condition())
    const bucket = new Bucket(shelf)
    stage.after(() => bucket.close())

    const kept = await bucket.pictures()
    const shown = provider.submissions.flatMap(({ pictures }) => pictures.map(sha256))

    expect(generations.map(({ archive_status }) => archive_status)).toEqual(
      generations.map(() => 'archived'),
    )
    expect(generations.flatMap(({ images }) => images.map(({ status }) => status))).toEqual(
      Array(40).fill('archived'),
    )
    expect(kept).toEqual(picturesInLedger(here.database))
    expect([...kept.values()].toSorted()).toEqual([...new Set(shown)].toSorted())
    for (const { id, images } of generations)
      for (const { position, source, sha256: hash } of images) {
        const door = await ask(program, `/v1/generations/${id}/images/${position}?source=${source}`)
        expect([door.status, sha256(Buffer.from(await door.arrayBuffer()))]).toEqual([200, hash])
      }
    expect(
      [...shelf.objects].filter(
        ([key, { type }]) => key.startsWith('sha256/') && type !== 'image/png',
      ),
    ).toEqual([])
    expect(shelf.seen.filter((request) => request.endsWith('*')).length).toBeLessThanOrEqual(
      mostConditional,
    )
    expect(program.lines.filter((line) => /"level":"(?:warn|error)"/u.test(line))).toEqual([])
  },
)
