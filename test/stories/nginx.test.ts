import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { describe, expect } from 'vitest'
import { type Bench, it } from '../support/process/bench.ts'
import { ask, isArchived, post, inpaint, submitted, untilShown } from '../support/process/client.ts'
import { freePort, until } from '../support/process/program.ts'
import type { Script } from '../support/process/stand-in.ts'

const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin']
const nginx = folders.map((folder) => join(folder, 'nginx')).find((path) => existsSync(path))

if (nginx === undefined) {
  const message = 'SKIPPED: the proxy of the README needs nginx (apt-get install nginx-light)'
  if (process.env['CI'] === 'true') throw new Error(message)
  console.warn(message)
}

const README = join(import.meta.dirname, '../../README.md')

/**
 * The configuration as the README prints it, with the places that are another machine's put right.
 */
async function printed(places: Record<string, string>) {
  const block = /^```nginx\n([\s\S]*?)^```$/mu.exec(await readFile(README, 'utf8'))?.[1] ?? ''
  return Object.entries(places).reduce((text, [theirs, ours]) => {
    expect(text).toContain(theirs)
    return text.replaceAll(theirs, ours)
  }, block)
}

interface Proxy {
  url: string
  /** Everything that nginx wrote into its logs. */
  logs: () => Promise<string>
}

async function proxy(bench: Bench, upstream: string): Promise<Proxy> {
  const folder = await mkdtemp(join(tmpdir(), 'afterimage-nginx-'))
  bench.after(() => rm(folder, { recursive: true, force: true }))
  const logs = join(folder, 'logs')
  await mkdir(logs)
  const port = await freePort()
  const site = await printed({
    '443 ssl': `127.0.0.1:${port}`,
    '/var/log/nginx/': `${logs}/`,
    'http://127.0.0.1:8787': upstream,
  })
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (use) => `${use}_temp_path ${folder}/${use};`,
  )
  const conf = `daemon off; master_process off; pid ${folder}/pid; error_log ${logs}/error.log info; events {}
http { ${temp.join(' ')}\n${site} }`
  await writeFile(join(folder, 'nginx.conf'), conf)
  const child = spawn(nginx ?? '', [
    '-p',
    folder,
    '-e',
    `${logs}/error.log`,
    '-c',
    join(folder, 'nginx.conf'),
  ])
  const ended = new Promise((resolve) => child.once('exit', resolve))
  bench.after(async () => {
    child.kill('SIGKILL')
    await ended
  })
  await until(() => child.exitCode !== null || answers(port))
  const read = async () =>
    (
      await Promise.all((await readdir(logs)).map((name) => readFile(join(logs, name), 'utf8')))
    ).join('')
  if (child.exitCode !== null) throw new Error(`nginx did not start:\n${await read()}`)
  return { url: `http://127.0.0.1:${port}`, logs: read }
}

function answers(port: number) {
  return new Promise<boolean>((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

const accepts: Script = (job, answer, provider) => answer.json(provider.processing(job))

/** The service behind nginx, and one generation that was submitted through it. */
async function behindNginx(bench: Bench) {
  const { provider, program } = await bench.service(accepts, {
    TRUSTED_PROXIES: '127.0.0.1',
    RECONCILE_GRACE_SECONDS: '3600',
  })
  const front = await proxy(bench, program.url)
  const { id } = await submitted(front)
  const [job] = provider.submissions
  if (!job) throw new Error('nothing was submitted')
  const { pathname } = new URL(job.webhook)
  return { provider, program, front, id, job, pathname, mac: pathname.slice(-64) }
}

const call = async (
  front: Proxy,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
) => (await fetch(front.url + path, { method: 'POST', body: JSON.stringify(body), headers })).status

describe.skipIf(nginx === undefined)('nginx as the README sets it up', () => {
  it('passes everything on, and keeps the MAC of a callback out of all that it logs', async ({
    bench,
  }) => {
    const { provider, program, front, id, job, pathname, mac } = await behindNginx(bench)

    expect(await call(front, pathname, provider.success(job))).toBe(200)
    await untilShown(front, id, isArchived)
    expect((await ask(front, `/v1/generations/${id}/images/0`)).status).toBe(200)
    const strays = [
      `${pathname}?attempt=2`,
      `/${pathname}`,
      `${pathname}/more`,
      pathname.replace('callbacks', '%63allbacks'),
      pathname.replace(`/${mac}`, `%2f${mac}`),
      `/callbacks/${mac}`,
      `/livez?at=${pathname}`,
      `/v1/generations?at=${encodeURIComponent(pathname)}`,
      `/other/..${pathname}`,
    ]
    for (const path of strays) await call(front, path, {})
    await call(front, pathname, { tip: 'x'.repeat(3_000_000) })
    await program.kill()
    expect(await call(front, pathname, {})).toBe(502)

    await until(async () => (await front.logs()).includes(' 502 '))
    const logs = await front.logs()
    expect(logs).toContain(`"POST /callbacks/${id}/***" 200 `)
    expect(logs).toContain(`"GET /v1/generations/${id}/images/0" 200 `)
    expect(logs).toContain('"POST /v1/generations" 202 ')
    expect(logs.split('\n').filter((line) => line.includes(mac.slice(0, 32)))).toEqual([])
  })

  it('tells who the client is, and a client cannot tell otherwise', async ({ bench }) => {
    const { provider, program, front, job, pathname } = await behindNginx(bench)
    const forged = pathname.slice(0, -64) + '0'.repeat(64)

    const asOthers: number[] = []
    while (!asOthers.includes(429) && asOthers.length < 2000) {
      const headers = { 'x-forwarded-for': `203.0.113.${asOthers.length % 250}` }
      asOthers.push(
        ...(await Promise.all(Array.from({ length: 50 }, () => call(front, forged, {}, headers)))),
      )
    }
    const direct = await Promise.all(
      Array.from({ length: 5 }, () =>
        call({ ...front, url: program.url }, forged, {}, { 'x-forwarded-for': '203.0.113.99' }),
      ),
    )

    expect(asOthers).toContain(429)
    expect(direct).toEqual([404, 404, 404, 404, 404])
    expect(await call(front, pathname, provider.success(job))).toBe(200)
  })

  it('lets the service answer a body that is over 1 MiB', async ({ bench }) => {
    const { front, pathname } = await behindNginx(bench)

    expect(await call(front, pathname, { tip: 'x'.repeat(1_100_000) })).toBe(413)
    expect((await post(front, inpaint())).status).toBe(202)
  })
})
