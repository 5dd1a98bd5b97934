import { expect } from 'vitest'
import { runChaos } from '../chaos/chaos.ts'
import { it } from '../support/process/bench.ts'
import { type Break, builtCli } from '../support/process/built.ts'

/** Which moments are met depends on the machine all the same. */
const SEED = Number(process.env['KILL_SEED'] ?? 1)

it('loses nothing that it answered, and does nothing twice, however often it is killed under load', async ({
  bench,
}) => {
  const { folder } = await bench.home()

  const { problems } = await runChaos({ folder, generations: 50, rounds: 5, seed: SEED })

  expect(problems).toEqual([])
}, 120_000)

/**
 * The answer is sent before the commit; and the commit takes so long that a kill falls between
 * them.
 */
const ANSWERS_FIRST: Break[] = [
  {
    file: 'http/callbacks.ts',
    from: 'await receive(deps, id, body)',
    to: 'void receive(deps, id, body)',
  },
  {
    file: 'ledger/driver/group-commit.ts',
    from: 'setImmediate(() => void flush())',
    to: 'setTimeout(() => void flush(), 300)',
  },
]

it('would lose callbacks in the same kills if they were answered before they are kept', async ({
  bench,
}) => {
  const { folder } = await bench.home()
  const cli = await builtCli(...ANSWERS_FIRST)

  const { problems } = await runChaos({
    folder,
    generations: 24,
    rounds: 4,
    seed: SEED,
    cli,
    stories: [''],
  })

  expect(
    problems.filter((problem) => /callbacks were answered 200, and \d+ are kept/u.test(problem)),
  ).not.toEqual([])
}, 120_000)

it('would lose nothing in them if only the commit took that long', async ({ bench }) => {
  const { folder } = await bench.home()
  const cli = await builtCli(...ANSWERS_FIRST.slice(1))

  const { problems } = await runChaos({
    folder,
    generations: 24,
    rounds: 4,
    seed: SEED,
    cli,
    stories: [''],
  })

  expect(problems).toEqual([])
}, 120_000)
