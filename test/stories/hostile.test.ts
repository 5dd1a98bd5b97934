import { execFileSync } from 'node:child_process'
import { expect } from 'vitest'
import { HOSTILE_URLS } from '../support/net/hostile-urls.ts'
import { type Stage, it, TOKEN } from '../support/process/bench.ts'
import { bothCopies, isSettled, type Shown, shown, submitted } from '../support/process/client.ts'
import {
  BODIES,
  hostileHost,
  leadingTo,
  type Victim,
  victims,
} from '../support/process/hostile-host.ts'
import { type Program, type Settings, until } from '../support/process/program.ts'
import type { Job, Script, StandIn } from '../support/process/stand-in.ts'

/** An attack, the link that makes it, and what its image becomes. */
type Attack = readonly [attack: string, url: string, becomes: string]

// One message may name 64.
const PER_MESSAGE = 60

/** Every way to name a listener that the service must not reach. */
function ledTo({ host, port }: Victim): Attack[] {
  const authority = host.includes(':') ? `[${host}]` : host
  return [
    [`http to ${host}`, `http://${authority}:${port}/`, 'refused_url'],
    [`https to ${host} at its port`, `https://${authority}:${port}/`, 'refused_url'],
    [`https to ${host}`, `https://${authority}/`, 'refused_address'],
    [`gopher to ${host}`, `gopher://${authority}:${port}/_GET`, 'refused_url'],
    [`ftp to ${host}`, `ftp://${authority}:${port}/1.png`, 'refused_url'],
  ]
}

const ofNames = (victim: Victim): Attack[] => [
  ['the name of loopback', 'https://localhost/', 'refused_address'],
  ['the name of loopback in capitals', 'https://LOCALHOST/1.png', 'refused_address'],
  ['the name of loopback over http', `http://localhost:${victim.port}/`, 'refused_url'],
  ['loopback as one number', `http://2130706434:${victim.port}/`, 'refused_url'],
  ['loopback in hexadecimal', `http://0x7f000002:${victim.port}/`, 'refused_url'],
  ['every address', `http://0.0.0.0:${victim.port}/`, 'refused_url'],
]

/** What the tables of names leave to each deployment: here we are known by another. */
const withoutOwn = HOSTILE_URLS.filter(([attack]) => !attack.startsWith('our own'))

const redirected = (origin: string, attacks: readonly Attack[]) =>
  attacks
    // As a header can carry them.
    .filter(([, url]) => /^[\x21-\x7e]*$/u.test(url) && url.length < 4000)
    .map(([attack, url]): Attack => [
      `a redirect to ${attack}`,
      leadingTo(origin, url),
      'refused_redirect',
    ])

it('loses every hostile link, reaches nobody, and keeps the good image beside them', async ({
  stage,
}) => {
  const listeners = await victims(stage)
  const [one] = listeners
  if (!one) throw new Error('nobody listens')
  const host = await hostileHost(stage, {})
  const direct = [
    ...withoutOwn,
    ...listeners.filter(({ port }) => port !== 443).flatMap(ledTo),
    ...ofNames(one),
  ]
  const attacks = [...direct, ...redirected(host.origin, direct)]
  const messages = inMessages(attacks)
  const { provider, program } = await behind(stage, [host.origin], namesIn(messages), {
    ...proxied(one),
    LINK_LIFETIME_HOURS: String(3 / 3600),
  })

  const asked = messages.map((_, n) => submitted(program, { prompt: String(n) }))
  const generations = (await Promise.all(asked)).map(({ id }) => untilSettled(program, id))
  for (const [n, generation] of (await Promise.all(generations)).entries()) {
    const links = messages[n] ?? []
    expect(fates(generation, links)).toEqual(links.map(([attack, , becomes]) => [attack, becomes]))
    expect(statusOfLast(generation)).toBe('archived')
  }

  expect(attacks.length).toBeGreaterThan(300)
  expect(listeners.filter(({ connections }) => connections() > 0)).toEqual([])
  expect(new Set(provider.gets.map(({ url }) => url)).size).toBe(messages.length)
})

it('asks for no picture at its own doors, allowed or not', async ({ stage }) => {
  const own: Attack[] = [
    ['its own address', '/livez', 'refused_url'],
    ['its own list', '/v1/generations', 'refused_url'],
  ]
  const { here, program } = await behind(
    stage,
    [],
    (job, answer, provider) => {
      const links = own.map(([, path]) => `http://127.0.0.1:${here.settings['PORT'] ?? ''}${path}`)
      answer.json({
        ...provider.success(job),
        output: [...links, goodLink(provider, job)],
        proxy_links: [],
      })
    },
    { LOG_LEVEL: 'debug' },
  )
  const { id } = await submitted(program)
  const generation = await untilSettled(program, id)

  expect(fates(generation, own)).toEqual(own.map(([attack, , becomes]) => [attack, becomes]))
  expect(statusOfLast(generation)).toBe('archived')
  expect(program.lines.filter((line) => line.includes('/livez'))).toEqual([])
})

it('outlives every hostile body in bounded time and memory, and keeps the good image beside them', async ({
  stage,
}) => {
  const host = await hostileHost(
    stage,
    Object.fromEntries(
      Object.entries(BODIES).map(([name, { answer }]) => [encodeURIComponent(name), answer]),
    ),
  )
  const attacks = Object.entries(BODIES).map(([name, { becomes }]): Attack => [
    name,
    `${host.origin}/${encodeURIComponent(name)}`,
    becomes,
  ])
  const { here, program } = await behind(stage, [host.origin], namesIn([attacks]), {
    DOWNLOAD_TIMEOUT_SECONDS: '6',
    LINK_LIFETIME_HOURS: String(3 / 3600),
  })
  const before = residentBytes(program)
  const { id } = await submitted(program, { prompt: '0' })
  let peak = 0
  const generation = await untilSettled(
    program,
    id,
    () => (peak = Math.max(peak, residentBytes(program))),
  )

  expect(fates(generation, attacks)).toEqual(
    attacks.map(([attack, , becomes]) => [attack, becomes]),
  )
  expect(statusOfLast(generation)).toBe('archived')
  // Three at a time, 25 MiB and what it grew from each, and what the collector has not come to yet.
  expect(peak - before).toBeLessThan(400 * MEBIBYTE)
  // Past the limit lies only what the kernel had taken of us before it was told to stop.
  expect(Math.max(...host.sent.values())).toBeLessThan(40 * MEBIBYTE)
  expect(host.sent.get(`/${encodeURIComponent('a gigabyte that is declared')}`)).toBeLessThan(
    10 * MEBIBYTE,
  )
  const { door, file } = await bothCopies(program, here, generation, generation.images.length - 1)
  expect(door.equals(file)).toBe(true)
})

it('cuts a list of ten thousand links down, says so, and goes on answering', async ({ stage }) => {
  const { provider, program } = await behind(stage, [], (job, answer, provider) => {
    answer.json({
      ...provider.success(job),
      output: Array.from({ length: 10_000 }, (_, n) => `http://127.0.0.1/${n}`),
    })
  })
  const { id } = await submitted(program)
  const generation = await untilSettled(program, id)

  expect(generation.images.filter(({ source }) => source === 'output')).toHaveLength(64)
  expect(program.lines.map((line) => JSON.parse(line) as Record<string, unknown>)).toContainEqual(
    expect.objectContaining({ level: 'warn', generation: id, cut_off: 9936 }),
  )
  expect(provider.submissions).toHaveLength(1)
})

const MEBIBYTE = 1024 * 1024

/**
 * The service behind a provider that follows `script`, allowed to reach `origins` and the
 * provider's own image hosts.
 */
async function behind(stage: Stage, origins: string[], script: Script, settings: Settings = {}) {
  const provider = await stage.standIn(script)
  const here = await stage.home({ ...provider.settings(), ...settings })
  const own = here.settings['PUBLIC_URL'] ?? ''
  here.settings['ALLOWED_PRIVATE_ORIGINS'] = [provider.origin(0), own, ...origins].join()
  return { provider, here, program: await stage.start(here.settings) }
}

/**
 * The prompt says which list of links a submission gets, with one good image behind them: at once
 * or by callback.
 */
const namesIn =
  (messages: Attack[][]): Script =>
  async (job, answer, provider) => {
    const n = Number(job.body['prompt'])
    const output = [...(messages[n] ?? []).map(([, url]) => url), goodLink(provider, job)]
    const body = { ...provider.success(job), output, proxy_links: [] }
    job.fetched = body
    if (n % 2 === 1) answer.json(body)
    else {
      answer.json(provider.processing(job))
      await provider.finish(job, body)
    }
  }

const untilSettled = (program: Program, id: string, watch: () => void = () => undefined) =>
  until(async () => {
    watch()
    const generation = await shown(program, id)
    return isSettled(generation) && generation
  })

const goodLink = (provider: StandIn, { paths: [path = ''] }: Job) => provider.origin(0) + path

const inMessages = (attacks: Attack[]) =>
  Array.from({ length: Math.ceil(attacks.length / PER_MESSAGE) }, (_, n) =>
    attacks.slice(n * PER_MESSAGE, (n + 1) * PER_MESSAGE),
  )

/** What a shell may have set for other programs: downloads go no such way. */
const proxied = ({ host, port }: Victim): Settings =>
  Object.fromEntries(
    [
      'HTTP_PROXY',
      'HTTPS_PROXY',
      'ALL_PROXY',
      'http_proxy',
      'https_proxy',
      'all_proxy',
      'npm_config_proxy',
    ].map((name) => [name, `http://${TOKEN}@${host}:${port}`]),
  )

/** What became of each attack's image, in the words of the table. */
const fates = ({ images }: Shown, attacks: readonly Attack[]) =>
  attacks.map(([attack], position) => {
    const image = images.find((one) => one.source === 'output' && one.position === position)
    const suspect = image?.suspect ? `, ${image.suspect}` : ''
    return [attack, image?.failure?.code ?? `${image?.status ?? 'absent'}${suspect}`]
  })

const statusOfLast = ({ images }: Shown) => images.at(-1)?.status

function residentBytes({ child }: Program) {
  return (
    Number(execFileSync('ps', ['-o', 'rss=', '-p', String(child.pid)], { encoding: 'utf8' })) * 1024
  )
}
