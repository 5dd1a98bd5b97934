import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, it as plainIt } from 'vitest'
import { macs } from '../../src/secrets/mac.ts'
import { type Bench, type Home, it, TOKEN } from '../support/process/bench.ts'
import { s3Settings } from '../support/process/bucket.ts'
import { ask, inpaint, isSettled, post, submitted, untilShown } from '../support/process/client.ts'
import { type Program, until } from '../support/process/program.ts'
import { Shelf } from '../support/process/shelf.ts'
import { searched, spelled } from '../support/process/spellings.ts'
import type { Job, Script, StandIn } from '../support/process/stand-in.ts'

// A slash, which senders escape in JSON, and characters that URLs escape.
const API_KEY = 'key/of+the=account-0123456789'
const OLD_SECRET = 'older-callback-secret-0123456789'
const NEW_SECRET = 'newer-callback-secret-0123456789'
const READER = 'reader-token-of-this-test-0123456789'
const S3_SECRET = 's3/secret+access-key-0123456789'
/** Of links that only a fetch names, and of links in a callback, whose body is kept as it came. */
const FETCHED_SIGNATURE = '5ec2e7519a70'.repeat(5)
const CALLED_SIGNATURE = 'a5ced51921ae'.repeat(5)
const PASSWORD = 'password-in-a-link-0123456789'
/** No secret: to be found wherever the story is kept. */
const MARK = 'a lighthouse that everything speaks of'

type Places = Record<string, Uint8Array | string>

/** Where the objects are: what to tell the service, and a look at all of them. */
const stores = {
  folder: () => Promise.resolve({ settings: {}, objects: filesIn }),
  s3: async (bench: Bench) => {
    const shelf = new Shelf(() => undefined)
    await shelf.open()
    bench.after(() => shelf.close())
    const objects = () =>
      Promise.resolve(
        Object.fromEntries(
          [...shelf.objects].map(([key, { bytes }]): [string, Uint8Array] => [key, bytes]),
        ),
      )
    return { settings: { ...s3Settings(shelf), AWS_SECRET_ACCESS_KEY: S3_SECRET }, objects }
  },
}

it.concurrent.for(['folder', 's3'] as const)(
  'keeps no secret in the ledger, the objects (%s), the log or an answer, however it was spelled',
  { timeout: 60_000 },
  async (kind, { bench }) => {
    const store = await stores[kind](bench)
    const provider = await bench.standIn(talkative)
    const here = await bench.home({
      ...provider.settings(),
      ...store.settings,
      MODELSLAB_API_KEY: API_KEY,
      API_TOKENS: `tests:admin:${TOKEN},reader:read:${READER}`,
      LOG_LEVEL: 'debug',
      LINK_LIFETIME_HOURS: String(1 / 3600),
    })
    const first = await bench.start({ ...here.settings, CALLBACK_SECRETS: OLD_SECRET })
    const early = await submitted(first, { prompt: MARK, key: API_KEY })
    await until(() => provider.submissions.length > 0)
    await first.kill()

    const second = await bench.start({
      ...here.settings,
      CALLBACK_SECRETS: `${NEW_SECRET},${OLD_SECRET}`,
    })
    await untilShown(second, early.id, ({ status }) => status === 'processing')
    const late = await submitted(second, { prompt: MARK })
    const ids = [early.id, late.id]
    const [oldJob, newJob] = ids.map((id) => jobOf(provider, id)) as [Job, Job]
    oldJob.webhook = oldJob.webhook.slice(0, -64) + macs('callback', [OLD_SECRET]).sign(early.id)
    await echoEverything(provider, oldJob)
    await echoEverything(provider, newJob)
    oldJob.fetched = withLinks(provider, oldJob, FETCHED_SIGNATURE)
    await provider.call(oldJob, 'what cannot be read makes us ask')
    const success = withLinks(provider, newJob, CALLED_SIGNATURE)
    await provider.call(newJob, success)
    const oneMore = success.output.map((link) => link.replace('/generations/', '/others/'))
    await provider.call(newJob, { ...success, output: [...success.output, ...oneMore] })
    for (const id of ids) await untilShown(second, id, isSettled)
    const answers = await answersOf(second, provider, ids)
    await until(async () => recordsIn(await store.objects(here.objects)) === ids.length)
    const live = await filesIn(join(here.folder, 'data'))
    second.child.kill('SIGTERM')
    await second.ended

    const log = [...first.lines, ...second.lines].join('\n')
    const objects = await store.objects(here.objects)
    const lasting = {
      'api key': API_KEY,
      'old secret': OLD_SECRET,
      'new secret': NEW_SECRET,
      token: TOKEN,
      reader: READER,
      's3 secret': S3_SECRET,
      ...Object.fromEntries(
        ids.flatMap((id) =>
          macs('callback', [OLD_SECRET, NEW_SECRET])
            .accepted(id)
            .map((mac, n) => [`mac ${n} of ${id}`, mac]),
        ),
      ),
    }
    const ofLinks = { 'signature of a fetch': FETCHED_SIGNATURE, 'password in a link': PASSWORD }
    const everywhere: Places = {
      ...prefixed('live', live),
      ...(await filesIn(join(here.folder, 'data'))),
      ...objects,
      log,
      ...answers,
    }
    const atRest: Places = {
      ...(await filesIn(join(here.folder, 'data'))),
      ...objects,
      log,
      ...answers,
    }
    const besideEvidence: Places = { ...objects, log, ...answers, tables: tablesBesideBodies(here) }

    expect(Object.keys(live).some((name) => name.endsWith('-wal'))).toBe(true)
    expect(
      searched({ ledger: tablesBesideBodies(here), ...objects, log, ...answers }, { mark: MARK })
        .length,
    ).toBeGreaterThan(4)
    expect(searched(everywhere, lasting)).toEqual([])
    expect(searched(atRest, ofLinks)).toEqual([])
    expect(
      searched(besideEvidence, { ...ofLinks, 'signature of a callback': CALLED_SIGNATURE }),
    ).toEqual([])
  },
)

plainIt.each(spelled(API_KEY))('the search finds a secret %s', (_way, text) => {
  expect(
    searched({ there: `before ${text} after`, elsewhere: 'nothing' }, { it: API_KEY }),
  ).not.toEqual([])
})

/** The submission that was accepted. */
function jobOf({ submissions }: StandIn, id: string) {
  const job = submissions.findLast(({ trackId }) => trackId === id)
  if (!job) throw new Error(`${id} was never submitted`)
  return job
}

/**
 * Refuses the first for so long that the service is killed meanwhile, then accepts all; says
 * everything each time.
 */
const talkative: Script = (job, answer, provider) => {
  const everything = `${MARK} for ${API_KEY} at ${job.webhook}`
  if (provider.submissions.length === 1)
    answer.json({ status: 'error', message: everything, retry_after: 3 }, 429)
  else answer.json({ ...provider.processing(job), tip: everything })
}

/** Callbacks of every kind that say everything in every spelling, and forged ones. */
async function echoEverything(provider: StandIn, job: Job) {
  const mac = job.webhook.slice(-64)
  const all = [API_KEY, mac, job.webhook].flatMap((secret) =>
    spelled(secret).map(([, text]) => text),
  )
  const body = (status: string, n: number, text: string) =>
    `{"status":"${status}","id":${job.id},"track_id":"${job.trackId}","n":${n},"message":${JSON.stringify(MARK)},"tip":"${text}","meta":{"webhook":"${text}","${text}":1}}`
  for (const [n, text] of all.entries())
    await provider.call(job, body('processing', n, text.replaceAll('"', '')))
  await provider.call(job, `${MARK} ${all.join(' ')} ${JSON.stringify(all)}`)
  await provider.call(job, { status: 'processing', track_id: job.webhook, message: MARK })
  await provider.call(job, `${'.'.repeat(4096 - 40)}${mac}${'.'.repeat(1024 * 1024)}`)
  const forged = job.webhook.slice(0, -2) + (job.webhook.endsWith('00') ? '11' : '00')
  await provider.call({ ...job, webhook: forged }, body('failed', 0, API_KEY))
}

/** Signed links, one to an image, one that is dead, one that is refused. */
function withLinks(provider: StandIn, job: Job, signature: string) {
  const query = `?X-Amz-Signature=${signature}&token=${PASSWORD}`
  job.paths = job.paths.map((path) => path + query)
  const dead = `${provider.origin(1)}/generations/dead.png${query}`
  const refused = provider.origin(1).replace('//', `//viewer:${PASSWORD}@`)
  return {
    ...provider.success(job),
    output: [provider.origin(0) + (job.paths[0] ?? ''), dead],
    proxy_links: [`${refused}/generations/refused.png`],
  }
}

/** What every door answers, whether it is asked well or badly. */
async function answersOf(program: Program, provider: StandIn, ids: string[]) {
  const doors = ids.flatMap((id) => [
    `/v1/generations/${id}`,
    `/v1/generations/${id}/timeline`,
    `/v1/generations/${id}/images/0`,
    `/v1/generations/${id}/images/1`,
    `/v1/generations/${id}/images/7`,
    `/v1/generations/${id}?token=x`,
  ])
  const [job] = provider.submissions
  const callback = new URL(job?.webhook ?? '').pathname
  const asked = {
    ...Object.fromEntries(doors.map((path) => [path, ask(program, path)])),
    list: ask(program, '/v1/generations'),
    'no such door': ask(program, callback.replace('callbacks', 'callback')),
    'a callback that was refused': ask(program, `${callback}0`, { method: 'POST', body: API_KEY }),
    'a callback that was got': ask(program, callback),
    'bad JSON': post(program, API_KEY),
    'a bad field': post(program, { ...inpaint(), width: `${API_KEY} ${TOKEN}`, key: API_KEY }),
    'a token in the query': ask(program, `/v1/generations?limit=${READER}`),
    'a token in the path': ask(program, `/v1/generations/${TOKEN}`),
    'the wrong scope': ask(program, '/v1/generations', {
      method: 'POST',
      headers: { authorization: `Bearer ${READER}` },
    }),
    'another scheme': ask(program, '/v1/generations', {
      headers: { authorization: `Basic ${TOKEN}` },
    }),
    'not quite the token': ask(program, '/v1/generations', {
      headers: { authorization: `Bearer ${TOKEN}0` },
    }),
    readiness: ask(program, '/readyz'),
  }
  const answers = Object.entries(asked).map(async ([name, answer]): Promise<[string, string]> => {
    const { status, headers, ...rest } = await whole(await answer)
    return [`the answer to ${name}`, `${status} ${JSON.stringify([...headers])} ${rest.body}`]
  })
  return Object.fromEntries(await Promise.all(answers))
}

const whole = async (response: Response) => ({
  status: response.status,
  headers: response.headers,
  body: Buffer.from(await response.arrayBuffer()).toString('latin1'),
})

async function filesIn(folder: string): Promise<Places> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    // What is being written is gone the next moment.
    .filter((file) => !file.includes('/.tmp/'))
  return Object.fromEntries(
    await Promise.all(files.map(async (file) => [file, await readFile(file)] as const)),
  )
}

const prefixed = (prefix: string, places: Places): Places =>
  Object.fromEntries(Object.entries(places).map(([name, bytes]) => [`${prefix} ${name}`, bytes]))

const recordsIn = (objects: Places) =>
  Object.keys(objects).filter((name) => name.endsWith('.json')).length

/**
 * Everything in the ledger but the bodies of callbacks, which are evidence: links stand there as
 * they came.
 */
function tablesBesideBodies({ database }: Home) {
  const ledger = new Database(database, { readonly: true })
  const tables = ['generations', 'images', 'offers', 'events', 'nsfw_reports', 'gate']
  const rows = tables.map((table) => ledger.prepare(`select * from ${table}`).all())
  ledger.close()
  return JSON.stringify(rows)
}
