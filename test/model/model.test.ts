import fc from 'fast-check'
import { expect, it } from 'vitest'
import { play } from '../support/model/play.ts'
import { seeds } from '../support/model/seeds.ts'
import { reordered, story } from '../support/model/steps.ts'
import { textOf } from '../support/model/wire.ts'
import { shown, submitted, world } from '../support/world.ts'

/**
 * `MODEL_RUNS=5000` plays more stories; `MODEL_SEED` and `MODEL_PATH` play again what a failure
 * names.
 */
const RUNS = Number(process.env['MODEL_RUNS'] ?? 100)
const SEED = process.env['MODEL_SEED']
const PATH = process.env['MODEL_PATH']

it.each(Object.entries(seeds))('a story that was told wrongly once: %s', async (_what, steps) => {
  await play(steps)
})

it('whatever happens in whatever order, the states are those of the contract', async () => {
  await fc.assert(fc.asyncProperty(story, play), {
    numRuns: RUNS,
    interruptAfterTimeLimit: 45_000,
    ...(SEED && { seed: Number(SEED) }),
    ...(PATH && { path: PATH }),
  })
  expect.hasAssertions()
}, 600_000)

it('the order in which callbacks come decides neither status nor verdict', async () => {
  const here = world()
  const told = async (messages: Parameters<typeof textOf>[1][]) => {
    const { id } = await submitted(here)
    for (const message of messages) await here.callback(id, textOf(id, message))
    const { status, nsfw } = await shown(here, id)
    return { status, verdict: nsfw.verdict, disputed: nsfw.disputed }
  }

  await fc.assert(
    fc.asyncProperty(reordered, async ([one, other]) => {
      expect(await told(one)).toEqual(await told(other))
    }),
    { numRuns: 60 },
  )
})
