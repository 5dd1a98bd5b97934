import { setTimeout as delay } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { expect } from 'vitest'
import { type Home, it } from '../support/process/bench.ts'
import { ask, isArchived, shown, submitted, untilShown } from '../support/process/client.ts'
import type { Program } from '../support/process/program.ts'
import { RawConnection, rawPost } from '../support/process/raw.ts'
import type { Job, Script, StandIn } from '../support/process/stand-in.ts'

const NOBODY = '019c13ec-9e00-71b8-a8aa-37a2240d1d20'
const FORGED = `/callbacks/${NOBODY}/${'0'.repeat(64)}`

/** The provider accepts, and the test decides what happens then. */
const accepts: Script = (job, answer, provider) => answer.json(provider.processing(job))

/** Nothing is asked meanwhile, so that what is written came in at the door. */
const QUIET = { RECONCILE_GRACE_SECONDS: '3600' }

const first = ({ submissions: [job] }: StandIn) => {
  if (!job) throw new Error('nothing was submitted')
  return job
}

const pathOf = ({ webhook }: Job) => new URL(webhook).pathname

/** How many rows each table of the ledger has. */
function counts({ database }: Home) {
  const ledger = new Database(database, { readonly: true })
  const names = ledger
    .prepare<[], { name: string }>(
      "select name from sqlite_master where type = 'table' order by name",
    )
    .all()
  const rows = names.map(({ name }) => [
    name,
    ledger.prepare(`select count(*) from "${name}"`).pluck().get(),
  ])
  ledger.close()
  return Object.fromEntries(rows) as Record<string, number>
}

const percented = (text: string) =>
  Array.from(text, (digit) => `%${digit.charCodeAt(0).toString(16)}`).join('')

it.concurrent(
  'takes no path that is not the one it gave out, byte for byte as it comes',
  async ({ stage }) => {
    const { here, provider, program } = await stage.service(accepts, QUIET)
    await submitted(program)
    const [, , id = '', mac = ''] = pathOf(first(provider)).split('/')
    const before = counts(here)
    const targets = [
      FORGED,
      `/callbacks/${id}/${mac.slice(1)}`,
      `/callbacks/${id}/${mac}0`,
      `/callbacks/${id}/${mac.toUpperCase()}`,
      `/callbacks/${id}/${mac}/`,
      `/callbacks/${id}/${mac}//`,
      `/callbacks/${id}//${mac}`,
      `//callbacks/${id}/${mac}`,
      `/callbacks/${id}/${mac}/..`,
      `/callbacks/${id}/${mac}/%2e%2e/x`,
      `/callbacks/${id}/${mac}/%2e%2e%2f`,
      `/callbacks/${id}%2f${mac}`,
      `/callbacks/${id}/${percented(mac).replaceAll('%', '%25')}`,
      `/callbacks/${id}/${mac}%00`,
      `/callbacks/${id}/${mac}%0d%0a`,
      `/callbacks/${id}/${mac}%c0%af`,
      `/callbacks/${id}/${mac}%`,
      `/callbacks/${id}/#${mac}`,
      `/callbacks/${id}?${mac}`,
      `/callbacks/${id}/?/${mac}`,
      `/callbacks/../../etc/passwd/${mac}`,
      `/callbacks/${id}/${'a'.repeat(10_000)}`,
      `http://a/callbacks/${id}/${mac}0`,
    ]

    const answers = await Promise.all(
      targets.map(async (target) => {
        const connection = rawPost(program.url, target)
        return [target, await connection.statuses(), JSON.parse(await connection.body()) as unknown]
      }),
    )

    const expected = {
      type: 'urn:afterimage:problem:not_found',
      title: 'There is nothing here.',
      status: 404,
      code: 'not_found',
    }
    expect(answers).toEqual(targets.map((target) => [target, [404], expected]))
    expect(counts(here)).toEqual(before)
  },
)

it.concurrent('refuses what cannot be the target of a request, and goes on', async ({ stage }) => {
  const { here, provider, program } = await stage.service(accepts, QUIET)
  await submitted(program)
  const path = pathOf(first(provider))
  const before = counts(here)
  const targets = [
    `${path} ${path}`,
    path.slice(1),
    `\\${path}`,
    `${path}\\`,
    `${path}\0`,
    `${path}\x7f`,
    `${path}\xe9`,
    `*`,
    '',
  ]

  for (const target of targets) {
    const statuses = await rawPost(program.url, target).statuses()
    expect([target, statuses.filter((status) => status >= 500 || status < 400)]).toEqual([
      target,
      [],
    ])
  }

  expect(counts(here)).toEqual(before)
  expect(program.lines.filter((line) => line.includes('"error"'))).toEqual([])
})

it('serves who is healthy beside two thousand connections that say half of something', async ({
  stage,
}) => {
  const { provider, program } = await stage.service(accepts, QUIET)
  await submitted(program)
  const job = first(provider)
  const beginnings = [
    '',
    `POST ${pathOf(job)} HTTP/1.1\r\nHost: a\r\n`,
    `POST ${FORGED} HTTP/1.1\r\nHost: a\r\nContent-Le`,
  ]

  const half: RawConnection[] = []
  stage.after(() => half.forEach((connection) => connection.close()))
  for (let n = 0; n < 2000; n++) {
    const connection = new RawConnection(program.url)
    connection.say(beginnings[n % beginnings.length] ?? '')
    half.push(connection)
    // The kernel lets no more of them wait to be accepted than it likes.
    if (n % 100 === 99) await connection.opened
  }
  const deliveries = await Promise.all(
    Array.from({ length: 20 }, (_, n) => provider.call(job, { status: 'processing', n })),
  )

  expect(deliveries.map(({ status }) => status)).toEqual(deliveries.map(() => 200))
  expect((await ask(program, '/readyz')).status).toBe(200)
  // The head of a request may take ten seconds.
  expect(
    (await Promise.all(half.map((connection) => connection.statuses())))
      .flat()
      .every((status) => status === 503),
  ).toBe(true)
  expect((await provider.call(job, { status: 'processing', n: 20 })).status).toBe(200)
})

it('takes every genuine callback in a flood of forged ones, and writes none of those down', async ({
  stage,
}) => {
  const { here, provider, program } = await stage.service(accepts, QUIET)
  const { id } = await submitted(program)
  const job = first(provider)
  const before = counts(here)

  const state = { done: false }
  const flood = floodOf(program, () => state.done)
  const genuine = []
  const reads = []
  // Until the flood has passed its burst.
  for (let n = 0; n < 100 || flood.statuses.length < 800; n++) {
    genuine.push((await provider.call(job, { status: 'processing', n: n % 15 })).status)
    reads.push((await ask(program, `/v1/generations/${id}`)).status)
  }
  state.done = true
  await flood.ended

  expect(new Set(genuine)).toEqual(new Set([200]))
  expect(new Set(reads)).toEqual(new Set([200]))
  expect(new Set(flood.statuses)).toEqual(new Set([404, 429]))
  expect({ ...counts(here), callbacks: before['callbacks'] }).toEqual(before)
  expect(counts(here)['callbacks']).toBe(15)
  await provider.call(job, provider.success(job))
  await untilShown(program, id, isArchived)
  expect((await shown(program, id)).status).toBe('succeeded')
  const warnings = program.lines.filter((line) => line.includes('callbacks with a wrong MAC'))
  expect([1, 2]).toContain(warnings.length)
})

/** Two hundred forged callbacks a second, from one address. */
function floodOf({ url }: Program, isDone: () => boolean) {
  const statuses: number[] = []
  const forge = async () => {
    const response = await fetch(url + FORGED, { method: 'POST', body: '{"status":"success"}' })
    await response.arrayBuffer()
    statuses.push(response.status)
  }
  const run = async () => {
    while (!isDone()) await Promise.all([...Array.from({ length: 10 }, forge), delay(50)])
  }
  return { statuses, ended: run() }
}

it.concurrent.for(['DATABASE_PATH', 'OBJECTS_DIR'])(
  'says so when %s is where nothing can be kept',
  async (name, { stage }) => {
    const { settings } = await stage.home()
    const program = await stage.launch({ ...settings, [name]: '/proc/no/such/place' })

    expect(await program.ended).toEqual({ code: 1, signal: null })
    expect(program.lines).toEqual([
      `afterimage cannot start: ENOENT: no such file or directory, mkdir '/proc/no'. Check ${name}.`,
    ])
  },
)

it.concurrent(
  'does not start on a callback secret that can be guessed, and does not repeat it',
  async ({ stage }) => {
    const { settings } = await stage.home({ CALLBACK_SECRETS: 'a-long-enough-secret,guess-me' })
    const program = await stage.launch(settings)

    expect(await program.ended).toEqual({ code: 1, signal: null })
    expect(program.lines.join('\n')).toMatch(
      /^ {2}CALLBACK_SECRETS: expected 16 characters or more.*secret 2/mu,
    )
    expect(program.lines.join('\n')).not.toMatch(/guess-me|a-long-enough-secret/u)
  },
)
