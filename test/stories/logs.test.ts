import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { it, TOKEN } from '../support/process/bench.ts'
import { ask, isArchived, submitted, untilShown } from '../support/process/client.ts'
import { until } from '../support/process/program.ts'
import type { Script } from '../support/process/stand-in.ts'

// A slash, which senders escape in JSON, and characters that URLs escape.
const API_KEY = 'key/of+the=account-0123456789'
const CALLBACK_SECRET = 'callback-secret-0123456789abcdef'

it.concurrent(
  'writes JSON lines, and no secret into them, the ledger or the objects',
  async ({ bench }) => {
    const provider = await bench.standIn(refusedThenLeaky)
    const here = await bench.home({
      ...provider.settings(),
      MODELSLAB_API_KEY: API_KEY,
      CALLBACK_SECRETS: CALLBACK_SECRET,
      LOG_LEVEL: 'debug',
    })
    const program = await bench.start(here.settings)

    const { id } = await submitted(program)
    await until(() => provider.deliveries.length === 4)
    await untilShown(program, id, isArchived)
    await ask(program, '/v1/generations', {
      headers: { authorization: 'Bearer some-other-token-0123456789' },
    })
    await program.kill()

    const secrets = [API_KEY, CALLBACK_SECRET, TOKEN, ...provider.submissions.map(macOf)]
    expect(program.lines.length).toBeGreaterThan(5)
    for (const line of program.lines)
      expect(JSON.parse(line)).toMatchObject({ time: expect.any(String) as unknown })
    expect(program.lines.join('\n')).toContain(`/callbacks/${id}/***`)
    expect(
      spelled(secrets).filter((secret) => program.lines.some((line) => line.includes(secret))),
    ).toEqual([])
    expect(await foundIn(join(here.folder, 'data'), secrets)).toEqual([])
    expect(await foundIn(here.objects, secrets)).toEqual([])
  },
  20_000,
)

it.concurrent(
  'hides the capability of a callback URL that was called at a door that is none',
  async ({ bench }) => {
    const { provider, program } = await bench.service(undefined, { LOG_LEVEL: 'debug' })
    await submitted(program)
    const { pathname } = new URL(provider.submissions[0]?.webhook ?? '')
    const strays = [
      `${pathname}/`,
      `/${pathname}`,
      `/proxied${pathname}`,
      pathname.replace('callbacks', 'Callbacks'),
      pathname.replace('callbacks', '%63allbacks'),
      `/livez?at=${pathname}`,
    ]

    for (const path of strays) await fetch(program.url + path, { method: 'POST', body: '{}' })
    await until(
      () => program.lines.filter((line) => line.includes('"request"')).length > strays.length,
    )

    const told = program.lines.filter((line) => line.includes(pathname.slice(-64)))
    expect(told.map((line) => (JSON.parse(line) as { path: string }).path)).toEqual([])
  },
)

/** A provider that repeats everything it was sent, wherever it can. */
const refusedThenLeaky: Script = async (job, answer, provider) => {
  const everything = `no room for ${API_KEY} at ${job.webhook}`
  if (provider.submissions.length === 1) {
    answer.json({ status: 'error', message: everything, retry_after: 0.1 }, 429)
    return
  }
  answer.json({ ...provider.processing(job), tip: everything })
  const success = { ...provider.success(job), tip: everything, key: API_KEY }
  await provider.call(job, { status: 'processing', message: everything })
  await provider.call(job, everything)
  await provider.call(job, JSON.stringify(success).replaceAll('/', '\\/'))
  await provider.call(job, { status: 'failed', message: everything })
}

const macOf = ({ webhook }: { webhook: string }) => webhook.slice(-64)

const spelled = (secrets: string[]) =>
  secrets.flatMap((secret) => [secret, secret.replaceAll('/', '\\/'), encodeURIComponent(secret)])

async function foundIn(folder: string, secrets: string[]) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
  expect(files.length).toBeGreaterThan(0)
  const contents = await Promise.all(files.map((file) => readFile(file)))
  return files.filter((_, n) => spelled(secrets).some((secret) => contents[n]?.includes(secret)))
}
