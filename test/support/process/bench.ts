import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it as plainIt } from 'vitest'
import { freePort } from '../ports.ts'
import { launch, listening, type Program, type Settings, TOKEN } from './program.ts'
import { type Script, StandIn, usual } from './stand-in.ts'

export { TOKEN }
export const API_KEY = 'api-key-of-the-process-tests'

/** A folder of its own, and settings under which nothing takes long. */
export interface Home {
  folder: string
  database: string
  objects: string
  settings: Settings
}

/** What a test is given: everything that it starts here is ended after it. */
export interface Stage {
  home: (settings?: Settings) => Promise<Home>
  standIn: (script?: Script) => Promise<StandIn>
  launch: (settings: Settings) => Promise<Program>
  /** `cli`: another build than that of the sources as they are. */
  start: (settings: Settings, cli?: string) => Promise<Program>
  /** All three: a home, a provider that follows `script`, and the service between them. */
  service: (
    script?: Script,
    settings?: Settings,
  ) => Promise<{ here: Home; provider: StandIn; program: Program }>
  after: (undo: () => Promise<void> | void) => void
}

export const it = plainIt.extend<{ stage: Stage }>({
  // Vitest reads the fixtures that a fixture needs from this pattern.
  // eslint-disable-next-line no-empty-pattern
  stage: async ({}, use) => {
    const undo: (() => Promise<void> | void)[] = []
    let isOver = false
    // A test that ran out of time goes on, and what it starts then is ended at once.
    const after = (one: () => Promise<void> | void) =>
      isOver ? void Promise.resolve(one()).catch(() => undefined) : void undo.unshift(one)
    await use(stage(after))
    isOver = true
    for (const one of undo) await one()
  },
})

function stage(after: Stage['after']): Stage {
  const launched = async (settings: Settings, cli?: string) => {
    const program = await launch(settings, cli)
    after(program.kill)
    return program
  }
  const started = async (settings: Settings, cli?: string) =>
    listening(await launched(settings, cli))
  const home = async (settings: Settings = {}) => {
    const folder = await mkdtemp(join(tmpdir(), 'afterimage-process-'))
    after(() => rm(folder, { recursive: true, force: true }))
    return furnished(folder, await freePort(), settings)
  }
  const standIn = async (script: Script = usual) => {
    const provider = new StandIn(script)
    await provider.open()
    after(async () => {
      await provider.close()
      expect(provider.failures).toEqual([])
    })
    return provider
  }
  return {
    home,
    standIn,
    after,
    launch: launched,
    start: started,
    service: async (script, settings) => {
      const provider = await standIn(script)
      const here = await home({ ...provider.settings(), ...settings })
      return { here, provider, program: await started(here.settings) }
    },
  }
}

function furnished(folder: string, port: number, settings: Settings): Home {
  const database = join(folder, 'data', 'afterimage.db')
  const objects = join(folder, 'objects')
  return {
    folder,
    database,
    objects,
    settings: {
      MODELSLAB_API_KEY: API_KEY,
      PUBLIC_URL: `http://127.0.0.1:${port}`,
      PORT: String(port),
      DATABASE_PATH: database,
      OBJECTS_DIR: objects,
      API_TOKENS: `tests:admin:${TOKEN}`,
      RETRY_BASE_SECONDS: '0.05',
      RECONCILE_GRACE_SECONDS: '0.2',
      ...settings,
    },
  }
}
