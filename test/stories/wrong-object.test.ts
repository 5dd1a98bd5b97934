import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect } from 'vitest'
import { it, type Stage } from '../support/process/bench.ts'
import { Bucket, picturesInLedger, s3Settings } from '../support/process/bucket.ts'
import { isSettled, submitted, untilShown } from '../support/process/client.ts'
import { picture } from '../support/process/picture.ts'
import type { Settings } from '../support/process/program.ts'
import { type Script, sha256, usual } from '../support/process/stand-in.ts'
import { type Radosgw, radosgwInstalled, startRadosgw } from '../support/radosgw.ts'

/** Every generation shows the one picture. */
const theSame: Script = (job, answer, provider) => {
  job.pictures[0] = picture(1)
  return usual(job, answer, provider)
}

const PUT_ANEW = 'an object was there and not what its name says: it was put anew'

/**
 * Archives a picture, lets `spoil` change its object behind our back, and archives it once more.
 * Returns the key, and what the log says of it.
 */
async function archivedTwice(
  stage: Stage,
  settings: Settings,
  spoil: (key: string, objects: string) => Promise<void> | void,
) {
  const { here, program } = await stage.service(theSame, settings)
  await untilShown(program, (await submitted(program)).id, isSettled)
  const [key = ''] = picturesInLedger(here.database).keys()
  await spoil(key, here.objects)
  await untilShown(program, (await submitted(program)).id, isSettled)
  const lines = program.lines.filter((line) => line.includes(PUT_ANEW))
  return { key, here, lines }
}

/** Both copies of a picture may find its object at once, and say so. */
const keysIn = (lines: string[]) => [
  ...new Set(lines.map((line) => (JSON.parse(line) as { key: string }).key)),
]

it('mends an object in a folder that was cut short, when its picture comes again', async ({
  stage,
}) => {
  const { key, here, lines } = await archivedTwice(stage, {}, (key, objects) =>
    writeFileSync(join(objects, key), picture(1).subarray(0, 10)),
  )
  expect(sha256(readFileSync(join(here.objects, key)))).toBe(sha256(picture(1)))
  expect(keysIn(lines)).toEqual([key])
})

it('says nothing where the object is what it should be', async ({ stage }) => {
  expect((await archivedTwice(stage, {}, () => undefined)).lines).toEqual([])
})

describe.skipIf(!radosgwInstalled('a wrong object in S3'))('on a real S3 server', () => {
  let radosgw: Radosgw
  let bucket: Bucket
  beforeAll(async () => {
    radosgw = await startRadosgw()
    bucket = new Bucket(radosgw)
  })
  afterAll(async () => {
    bucket.close()
    await radosgw.stop()
  })

  it('mends an object that was cut short, when its picture comes again', async ({ stage }) => {
    const { key, lines } = await archivedTwice(stage, s3Settings(radosgw), (key) =>
      bucket.write(key, picture(1).subarray(0, 10)),
    )
    expect(await bucket.pictures()).toEqual(new Map([[key, sha256(picture(1))]]))
    expect(keysIn(lines)).toEqual([key])
  })
})
