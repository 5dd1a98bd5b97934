import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'vitest'
import { it, TOKEN } from '../support/process/bench.ts'
import { s3Settings } from '../support/process/bucket.ts'
import { ask, isSettled, submitted, untilShown } from '../support/process/client.ts'
import { picture } from '../support/process/picture.ts'
import { RawConnection } from '../support/process/raw.ts'
import { Shelf } from '../support/process/shelf.ts'
import { type Script, usual } from '../support/process/stand-in.ts'

const READERS = 64
/** More than the buffers between a store and a client hold, so that a reader who stops is felt. */
const LARGE_BYTES = 8 * 1024 * 1024

/** The first job shows a picture of that size. */
const largeFirst: Script = (job, answer, provider) => {
  if (provider.submissions.length === 1)
    job.pictures[0] = Buffer.concat([picture(1), Buffer.alloc(LARGE_BYTES)])
  return usual(job, answer, provider)
}

it('archives at once, and serves others, while 64 readers of a large image stand still', async ({
  stage,
}) => {
  const shelf = new Shelf(() => undefined)
  await shelf.open()
  stage.after(() => shelf.close())
  const { program } = await stage.service(largeFirst, s3Settings(shelf))
  const { id } = await submitted(program)
  expect((await untilShown(program, id, isSettled)).archive_status).toBe('archived')

  const door = `/v1/generations/${id}/images/0`
  for (let n = 0; n < READERS; n++) {
    const reader = new RawConnection(program.url)
    stage.after(() => reader.close())
    reader.standStill()
    reader.say(`GET ${door} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`)
  }
  const asked = () => shelf.seen.filter((request) => /^GET sha256/u.test(request)).length
  while (asked() < READERS) await delay(20)

  const before = performance.now()
  const next = await untilShown(program, (await submitted(program)).id, isSettled)
  const took = performance.now() - before
  expect(next.archive_status).toBe('archived')
  expect(took).toBeLessThan(10_000)
  expect((await ask(program, `/v1/generations/${next.id}/images/0`)).status).toBe(200)
  expect((await ask(program, door, { headers: { range: 'bytes=0-7' } })).status).toBe(206)
  expect(await (await ask(program, '/readyz')).json()).toMatchObject({ objects: 'ok' })
}, 60_000)
