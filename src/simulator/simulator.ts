import { api } from './api.ts'
import { Background } from './background.ts'
import { openDoor, type Door, type Fetch } from './door.ts'
import { Gallery } from './gallery.ts'
import { Jobs } from './jobs.ts'
import { Journal, type Nothing, type Submission } from './journal.ts'
import { defaultKnobs } from './knob-words.ts'
import type { Knobs } from './knobs.ts'
import { links } from './links.ts'
import type { World } from './world.ts'

export interface SimulatorOptions {
  /** 0, the default of all three: any free port. */
  apiPort?: number
  outputPort?: number
  proxyPort?: number
  /** The only API key that is taken. Default: any that is not empty. */
  key?: string | undefined
  /** Beyond so many unfinished jobs a submission is answered 429. Default: no limit. */
  maxQueued?: number | undefined
  /** What every request asks for that does not ask for something else in its prompt. */
  knobs?: Partial<Knobs>
  /**
   * Milliseconds since the epoch, for the journal and for late links. Delays run on real timers.
   */
  now?: () => number
  /** Called with one plain line for every request and callback. Default: silence. */
  log?: (line: string) => void
}

/** A ModelsLab that runs on loopback. */
export interface Simulator {
  /** The base URL to give to clients of ModelsLab. */
  apiUrl: string
  /** Where `output` links lead. */
  outputOrigin: string
  /** Where `proxy_links` lead. */
  proxyOrigin: string
  /** Every submission so far, oldest first, accepted or refused. A copy. */
  submissions: () => Submission[]
  /**
   * Resolves with what `find` finds in the journal, now or after a later change, as soon as that is
   * truthy. Rejects after `timeoutMs` (5000), saying what the journal held.
   */
  until: <T>(
    find: (submissions: readonly Submission[]) => T | Nothing,
    timeoutMs?: number,
  ) => Promise<T>
  /** Ends every connection, timer and callback under way. */
  close: () => Promise<void>
}

/** Resolves when all three ports are open. Rejects, with none open, where one cannot be had. */
export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const world = createWorld(options)
  const doors = await openDoors(world, options)
  return {
    apiUrl: world.origins.api,
    outputOrigin: world.origins.output,
    proxyOrigin: world.origins.proxy,
    submissions: () => world.journal.submissions(),
    until: (find, timeoutMs) => world.journal.until(find, timeoutMs),
    close: async () => {
      await Promise.all([world.background.end(), ...doors.map((door) => door.close())])
    },
  }
}

function createWorld({
  key,
  maxQueued = Infinity,
  knobs,
  now = Date.now,
  log = () => {},
}: SimulatorOptions): World {
  return {
    origins: { api: '', output: '', proxy: '' },
    key,
    maxQueued,
    knobs: { ...defaultKnobs, ...knobs },
    jobs: new Jobs(now()),
    journal: new Journal(),
    background: new Background((error) =>
      log(`a job broke: ${error instanceof Error ? String(error.stack) : String(error)}`),
    ),
    now,
    log,
  }
}

// A port that was left to the system is known only once it is open.
async function openDoors(
  world: World,
  { apiPort = 0, outputPort = 0, proxyPort = 0 }: SimulatorOptions,
): Promise<Door[]> {
  const gallery = new Gallery()
  const doors: Door[] = []
  const open = async (fetch: Fetch, port: number) => {
    const door = await openDoor(fetch, port)
    doors.push(door)
    return door.origin
  }
  try {
    world.origins.output = await open(links(world, gallery, 'output').fetch, outputPort)
    world.origins.proxy = await open(links(world, gallery, 'proxy').fetch, proxyPort)
    world.origins.api = await open(api(world).fetch, apiPort)
    return doors
  } catch (error) {
    await Promise.all(doors.map((door) => door.close()))
    throw error
  }
}
