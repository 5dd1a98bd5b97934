import type { Config } from '../config.ts'
import { type RebuildProblem, type Rebuilding, rebuild, type Rebuilt } from '../audit/rebuild.ts'
import { type Call, INTERRUPTED, storeLine } from './command.ts'
import { readOptions } from './terminal/options.ts'
import { counted, tabbed } from './terminal/words.ts'
import { showBar } from './terminal/bar.ts'

const USAGE = `afterimage rebuild makes a lost ledger again, from the records and objects in
the store.

  --into PATH   where the new ledger is to be (DATABASE_PATH); nothing may be
                there yet
  --unsigned    takes records, too, that nothing proves: from before they were
                signed, signed by a secret that is not known here, or altered
  --json        one JSON object a line instead of tab-separated fields

It prints one line a problem: a record that is broken, clashing, unreadable,
altered or unsigned and was left out, an object that is missing. What a record
is signed by are the secrets that the service had: LINK_SECRETS, or secrets.json
beside DATABASE_PATH. Generations that were under way have no record: each is
adopted when its callback comes, as long as the service has the callback secret
that it had. Settings are those of the service.
Ends with 0 if everything was restored, 1 if something was not, 2 if no ledger
was made.
`

/** Where the new ledger is made: nothing is there before it is whole. */
type World = Pick<Rebuilding, 'ledger' | 'objects' | 'pause' | 'now' | 'verifiesRecord'> & {
  env: Record<string, string | undefined>
  path: string
  config: Pick<Config, 's3' | 'objectsDir'>
  finish: () => void
  abandon: () => void
}

export async function runRebuild(
  call: Call,
  world: (into: string | undefined) => Promise<World>,
): Promise<number> {
  const options = readOptions(call, USAGE, {
    into: { type: 'string' },
    unsigned: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  })
  if (typeof options === 'number') return options
  const { env, path, config, finish, abandon, ...opened } = await world(options.into)
  const { signal, err } = call
  err.write(storeLine(config))
  const bar = showBar(err, env, opened.now)
  const line = options.json ? JSON.stringify : plainLine
  const found = (problem: RebuildProblem) => {
    bar.clear()
    call.out(line(problem))
  }
  let rebuilt: Rebuilt
  try {
    const takesUnproven = options.unsigned
    rebuilt = await rebuild({ ...opened, takesUnproven, found, progress: bar.show, signal })
  } catch (error) {
    abandon()
    throw error
  } finally {
    bar.clear()
  }
  if (signal.aborted || rebuilt.generations === 0) {
    abandon()
    err.write(`${signal.aborted ? 'Interrupted' : whyNone(rebuilt)}: no ledger was made.\n`)
    return signal.aborted ? INTERRUPTED : 2
  }
  finish()
  err.write(`${path} is the ledger again: ${summary(rebuilt)}\n`)
  return rebuilt.problems > 0 ? 1 : 0
}

const whyNone = ({ refused }: Rebuilt) =>
  refused > 0
    ? `The store has ${records(refused)} that nothing proves (--unsigned takes them)`
    : 'The store has no record that can be read'

const records = (count: number) => counted(count, 'record')

const summary = ({ generations, images, unsigned, refused, problems }: Rebuilt) =>
  [
    `${counted(generations, 'generation')} with ${counted(images, 'image')},`,
    `${counted(problems, 'problem')}.`,
    ...(unsigned > 0 ? [`${records(unsigned)} without a signature taken.`] : []),
    ...(refused > 0
      ? [`${records(refused)} that nothing proves left out (--unsigned takes them).`]
      : []),
  ].join(' ')

const plainLine = ({ problem, key, generationId, detail }: RebuildProblem) =>
  tabbed(problem, key, generationId ?? '-', detail)
