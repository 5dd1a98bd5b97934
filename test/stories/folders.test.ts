import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect } from 'vitest'
import { it } from '../support/process/bench.ts'
import { picturesInLedger } from '../support/process/bucket.ts'
import { isSettled, submitted, untilShown } from '../support/process/client.ts'
import { command } from '../support/process/command.ts'
import { start, until } from '../support/process/program.ts'
import { straced } from '../support/process/strace.ts'

/** The calls in the order in which they ended; one that others' lines interrupt is in two parts. */
function callsIn(log: string) {
  const begun = new Map<string, string>()
  return log.split('\n').flatMap((line) => {
    const [, thread = '', text = ''] = /^(\d+) +(.*)$/u.exec(line) ?? []
    const [, beginning] = /^(.*) <unfinished \.\.\.>$/u.exec(text) ?? []
    if (beginning !== undefined) begun.set(thread, beginning)
    const [, end] = /^<\.\.\. \w+ resumed>(.*)$/u.exec(text) ?? []
    const whole = end === undefined ? text : (begun.get(thread) ?? '') + end
    return beginning === undefined ? [whole] : []
  })
}

/** What was done, in order: `made` a folder, `named` a file, `synced` either. */
function deedsIn(log: string) {
  return callsIn(log).flatMap((line): [deed: string, path: string][] => {
    const [, made] = /mkdir\w*\((?:AT_FDCWD[^,]*, )?"([^"]+)", \d+\) += 0$/u.exec(line) ?? []
    const [, named] = /link\w*\(.*"([^"]+)"(?:, 0)?\) += 0$/u.exec(line) ?? []
    const [, synced] = /f(?:data)?sync\(\d+<([^>]+)>/u.exec(line) ?? []
    if (made !== undefined) return [['made', made]]
    if (named !== undefined) return [['named', named]]
    return synced === undefined ? [] : [['synced', synced]]
  })
}

const OF_A_DAY = /generations\/\d{4}\/\d\d\/\d\d$/u

it('syncs each folder that it makes, and the one above, before it has started', async ({
  stage,
  skip,
}) => {
  const provider = await stage.standIn()
  const { folder } = await stage.home()
  const log = join(folder, 'calls')
  const trace = 'trace=mkdir,mkdirat,link,linkat,fsync,fdatasync'
  const under = straced('-y', '-s', '4096', '-e', trace, '-o', log)
  if (!under) return skip()
  const { settings } = await stage.home({
    ...provider.settings(),
    DATABASE_PATH: join(folder, 'new', 'ledger', 'afterimage.db'),
    OBJECTS_DIR: join(folder, 'new', 'store', 'objects'),
  })
  const program = await start(settings, undefined, under)
  stage.after(program.kill)

  const atStart = deedsIn(await readFile(log, 'utf8'))
  await untilShown(program, (await submitted(program)).id, isSettled)
  // The folder of its day is the last that is made; each may be read of before it is synced.
  await until(async () => {
    const later = deedsIn(await readFile(log, 'utf8'))
    const made = later
      .slice(atStart.length)
      .flatMap(([deed, path]) => (deed === 'made' ? path : []))
    const isSynced = (path: string) => isSyncedAfter(later, 'made', path, dirname(path))
    return made.some((path) => OF_A_DAY.test(path)) && made.every(isSynced)
  })

  const inFolder = (name: string) => join(folder, name)
  const madeAtStart = atStart.flatMap(([deed, path]) => (deed === 'made' ? path : []))
  expect(madeAtStart).toEqual(
    ['new', 'new/ledger', 'new/store', 'new/store/objects', 'new/store/objects/.tmp'].map(inFolder),
  )
  for (const path of madeAtStart)
    for (const one of [path, dirname(path)])
      expect([path, one, isSyncedAfter(atStart, 'made', path, one)]).toEqual([path, one, true])
  const secrets = inFolder('new/ledger/secrets.json')
  expect(isSyncedAfter(atStart, 'named', secrets, dirname(secrets))).toBe(true)
}, 60_000)

const isSyncedAfter = (
  deeds: [deed: string, path: string][],
  deed: string,
  path: string,
  synced: string,
) => {
  const at = deeds.findIndex(([one, of]) => one === deed && of === path)
  return deeds.slice(at + 1).some(([one, of]) => one === 'synced' && of === synced)
}

it('needs no hard links for its start, for objects, and to make a ledger again', async ({
  stage,
  skip,
}) => {
  const links = 'link,linkat'
  const under = straced(
    '-e',
    `trace=${links}`,
    '-e',
    `inject=${links}:error=EPERM`,
    '-o',
    '/dev/null',
  )
  if (!under) return skip()
  const provider = await stage.standIn()
  const here = await stage.home(provider.settings())
  const program = await start(here.settings, undefined, under)
  stage.after(program.kill)
  const { id } = await submitted(program)
  const generation = await untilShown(program, id, isSettled)
  expect(generation.archive_status).toBe('archived')
  await until(() => readFile(join(here.objects, recordKey(id))).catch(() => null))

  const into = join(here.folder, 'again.db')
  const again = await command(['rebuild', '--into', into], here.settings, here.folder, under)

  expect([again.code, again.out]).toEqual([0, ''])
  expect(picturesInLedger(into)).toEqual(picturesInLedger(here.database))
  expect(program.lines.filter((line) => /"level":"(?:warn|error)"/u.test(line))).toEqual([])
}, 60_000)

/** By the day on which it was requested, which the id tells. */
function recordKey(id: string) {
  const at = new Date(parseInt(id.replace('-', '').slice(0, 12), 16)).toISOString()
  return `generations/${at.slice(0, 10).replaceAll('-', '/')}/${id}.json`
}
