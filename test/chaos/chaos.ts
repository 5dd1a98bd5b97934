import { randomInt } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Simulator, startSimulator } from '../../src/simulator/simulator.ts'
import {
  freePort,
  launch,
  type Program,
  type Settings,
  start,
  until,
} from '../support/process/program.ts'
import { check, hasEnded } from './check.ts'
import { Client, type Shown } from './client.ts'
import { type Dice, diceOf, oneOf } from './dice.ts'
import { figures, type Figure } from './figures.ts'
import { STORIES, USUAL } from './stories.ts'

export interface ChaosOptions {
  /** An empty folder for the database and the objects. */
  folder: string
  /** How many requests have to be answered. */
  generations: number
  /** How many times the service is killed. */
  rounds: number
  /** Decides stories and moments. Which of them meet depends on the machine all the same. */
  seed: number
  /** The service's `cli.js`; left out, it is built from the sources. */
  cli?: string
  /** The prompts; left out, all that there are. */
  stories?: readonly string[]
  /** Called with what is going on. */
  say?: (text: string) => void
}

/** What is wrong in the end, and what was counted on the way. */
export interface ChaosResult {
  problems: string[]
  figures: Figure[]
}

const CLIENTS = 8
const TOKEN = 'token-of-the-chaos-0123456789'
const MAX_QUEUED = 40
const SECOND = String(1 / 3600)
/** How long everything may take to come to its end once nobody is killed any more. */
const SETTLE_MS = 120_000
/** A delivery that failed is repeated after a second. */
const QUIET_MS = 2500

/**
 * Runs the service under load while it is killed again and again on the same files, lets everything
 * come to its end, and compares what was answered, submitted and delivered with what is there.
 */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const simulator = await startSimulator({ maxQueued: MAX_QUEUED, knobs: USUAL })
  const run = new Run(options, simulator, await settingsFor(options.folder, simulator))
  try {
    return await run.run()
  } finally {
    await run.end()
    await simulator.close()
  }
}

async function settingsFor(
  folder: string,
  { apiUrl, outputOrigin, proxyOrigin }: Simulator,
): Promise<Settings> {
  const port = String(await freePort())
  return {
    MODELSLAB_API_KEY: 'api-key-of-the-chaos',
    MODELSLAB_BASE_URL: apiUrl,
    ALLOWED_PRIVATE_ORIGINS: `${outputOrigin},${proxyOrigin}`,
    PUBLIC_URL: `http://127.0.0.1:${port}`,
    PORT: port,
    DATABASE_PATH: join(folder, 'data', 'afterimage.db'),
    OBJECTS_DIR: join(folder, 'objects'),
    API_TOKENS: `chaos:admin:${TOKEN}`,
    RETRY_BASE_SECONDS: '0.05',
    RECONCILE_GRACE_SECONDS: '0.2',
    LINK_LIFETIME_HOURS: String(15 / 3600),
  }
}

class Run {
  private readonly options: ChaosOptions
  private readonly simulator: Simulator
  private readonly settings: Settings
  private readonly client: Client
  private readonly dice: Dice
  private readonly startsMs: number[] = []
  private readonly began = performance.now()
  private program: Program | null = null
  private over = false
  private said = ''

  constructor(options: ChaosOptions, simulator: Simulator, settings: Settings) {
    this.options = options
    this.simulator = simulator
    this.settings = settings
    this.client = new Client(settings['PUBLIC_URL'] ?? '', TOKEN)
    this.dice = diceOf(options.seed)
  }

  async run(): Promise<ChaosResult> {
    await this.start()
    const load = this.load()
    await this.kills()
    await until(() => this.answered >= this.options.generations, SETTLE_MS)
    this.over = true
    await load
    await this.settle()
    const generations = await this.client.all()
    const submissions = this.simulator.submissions()
    this.say('comparing')
    return {
      problems: await check({
        client: this.client,
        generations,
        submissions,
        objects: this.objects,
      }),
      figures: figures({
        client: this.client,
        generations,
        submissions,
        kills: this.options.rounds,
        startsMs: this.startsMs,
        tookMs: performance.now() - this.began,
      }),
    }
  }

  async end() {
    this.over = true
    await this.program?.kill()
  }

  private get answered() {
    return this.client.answered.size
  }

  private get objects() {
    return this.settings['OBJECTS_DIR'] ?? ''
  }

  private say(text: string) {
    if (text !== this.said) this.options.say?.(text)
    this.said = text
  }

  private async start(more: Settings = {}) {
    const asked = performance.now()
    this.program = await start({ ...this.settings, ...more }, this.options.cli)
    this.startsMs.push(performance.now() - asked)
  }

  private load() {
    const { stories = STORIES } = this.options
    const left: string[] = []
    const client = async () => {
      while (!this.over) {
        if (left.length === 0) left.push(...shuffled(this.dice, stories))
        const story = left.pop() ?? ''
        await this.client.submit(
          `${this.answered}-${randomInt(2 ** 40)} [${story}]`,
          oneOf(this.dice, [1, 1, 2]),
        )
        await delay(this.dice() * 100)
      }
    }
    return Promise.all(Array.from({ length: CLIENTS }, client))
  }

  private async kills() {
    const { rounds, generations } = this.options
    for (let round = 1; round <= rounds; round++) {
      const enough =
        this.answered + this.dice() * 2 * ((generations - this.answered) / (rounds - round + 2))
      await until(() => this.answered >= enough, SETTLE_MS)
      await delay(this.dice() * 100)
      await this.program?.kill()
      if (this.dice() < 0.2) await this.killAtStart()
      await this.start()
      this.say(
        `killed ${round} of ${rounds} times, ${this.answered} of ${generations} requests answered`,
      )
    }
  }

  /** A kill may also meet a start, before anything is listened to. */
  private async killAtStart() {
    const program = await launch(this.settings, this.options.cli)
    await delay(this.dice() * 1000)
    await program.kill()
  }

  /**
   * Everything that comes to an end by itself; then all that only time ends. What does not is
   * reported by the check.
   */
  private async settle() {
    await this.quiet()
    await this.untilAll(
      async (generation) => waitsForTime(generation) || hasEnded(this.objects, generation),
    )
    await this.program?.kill()
    await this.start({ RESULT_DEADLINE_HOURS: SECOND })
    await this.untilAll((generation) => hasEnded(this.objects, generation))
  }

  private async untilAll(isThere: (generation: Shown) => Promise<boolean>) {
    const giveUpAt = performance.now() + SETTLE_MS
    for (;;) {
      const there = await Promise.all((await this.client.all()).map(isThere))
      const left = there.filter((one) => !one).length
      if (left === 0 || performance.now() > giveUpAt) return
      this.say(`${left} generations have not come to their end`)
      await delay(500)
    }
  }

  /** Resolves when the simulator has delivered what it has to deliver. */
  private async quiet() {
    const delivered = () =>
      this.simulator.submissions().reduce((sum, { callbacks }) => sum + callbacks.length, 0)
    let before = -1
    while (delivered() !== before) {
      before = delivered()
      await delay(QUIET_MS)
    }
  }
}

/** Nobody can be asked for it, or nobody has an answer. */
const waitsForTime = ({ status, provider_id, prompt }: Shown) =>
  status === 'unconfirmed' ||
  (status === 'processing' && (provider_id === null || prompt?.includes('result=never') === true))

const shuffled = <T>(dice: Dice, list: readonly T[]) =>
  list
    .map((one) => ({ one, at: dice() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ one }) => one)
