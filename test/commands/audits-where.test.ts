import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type Stage, it } from '../support/process/bench.ts'
import { isSettled, submitted, untilShown } from '../support/process/client.ts'
import { command } from '../support/process/command.ts'
import { type Settings, until } from '../support/process/program.ts'

/** A service with a generation, archived and recorded, and the home of one that has nothing. */
async function twoHomes(stage: Stage) {
  const { here, program } = await stage.service()
  const { id } = await submitted(program)
  await untilShown(program, id, isSettled)
  await until(async () => (await verified(here.settings)).code === 0)
  const other = await stage.home()
  await mkdir(other.objects, { recursive: true })
  return { here, other }
}

const verified = (settings: Settings, ...options: string[]) =>
  command(['verify', ...options], settings)

it('verify says on stderr which ledger and which store it reads', async ({ stage }) => {
  const { here } = await twoHomes(stage)

  const { out, err } = await verified(here.settings, '--json')

  expect(out).toBe('')
  expect(err).toMatch(
    new RegExp(`^ledger  ${here.database}\nstore   ${here.objects}\n\\d+ object read `, 'u'),
  )
  expect(err).not.toContain('Everything')
})

it('verify asks whether it is the right store where everything is missing', async ({ stage }) => {
  const { here, other } = await twoHomes(stage)

  const { code, err } = await verified({ ...here.settings, OBJECTS_DIR: other.objects })

  expect([code, err]).toEqual([1, expect.stringContaining(`store   ${other.objects}\n`)])
  expect(err).toContain('Everything is missing: is this the store that the service writes to?')
})

it('verify asks whether it is the right ledger where everything is orphaned', async ({ stage }) => {
  const { here, other } = await twoHomes(stage)
  await (await stage.start(other.settings)).kill()

  const { code, err } = await verified({ ...here.settings, DATABASE_PATH: other.database })

  expect([code, err]).toEqual([1, expect.stringContaining(`ledger  ${other.database}\n`)])
  expect(err).toContain(
    'Everything is orphaned: is this the ledger of the service that writes to this\nstore?',
  )
})

it('verify --repair says which setting lets it reach where the links lead', async ({ stage }) => {
  const { here, other } = await twoHomes(stage)
  const { ALLOWED_PRIVATE_ORIGINS, ...settings } = here.settings

  const { code, out } = await verified({ ...settings, OBJECTS_DIR: other.objects }, '--repair')

  expect(code).toBe(1)
  expect(out).toContain(
    `${ALLOWED_PRIVATE_ORIGINS?.split(',')[0] ?? ''} is not among ALLOWED_PRIVATE_ORIGINS.`,
  )
})

it('names the whole path of what is not there, and the setting that says it', async ({ stage }) => {
  const { folder } = await stage.home()
  const paths = { DATABASE_PATH: 'here.db', OBJECTS_DIR: 'here' }

  const [noLedger, noStore] = [
    await command(['completeness'], paths, folder),
    await command(['rebuild'], paths, folder),
  ]

  expect(noLedger).toMatchObject({ code: 2, out: '' })
  expect(noLedger.err).toContain(`there is no ledger at ${join(folder, 'here.db')} (DATABASE_PATH)`)
  expect(noStore).toMatchObject({ code: 2, out: '' })
  expect(noStore.err).toContain(`OBJECTS_DIR: there is no folder ${join(folder, 'here')}`)
})

it('rebuild says on stderr which store it reads', async ({ stage }) => {
  const { here } = await twoHomes(stage)

  const { code, err } = await command(
    ['rebuild', '--into', join(here.folder, 'again.db')],
    here.settings,
  )

  expect([code, err]).toEqual([0, expect.stringContaining(`store   ${here.objects}\n`)])
})
