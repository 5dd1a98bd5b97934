import { join } from 'node:path'
import { expect } from 'vitest'
import { type Stage, it } from '../support/process/bench.ts'
import { type Break, builtCli } from '../support/process/built.ts'
import { submitted } from '../support/process/client.ts'
import { type Job, type Script } from '../support/process/stand-in.ts'
import { type Call, callsIn, watchCalls } from '../support/process/strace.ts'

const accepts: Script = (job, answer, provider) => answer.json(provider.processing(job))

const AT_ONCE = 5
const ONE_BY_ONE = 3

/**
 * What is wrong with the order of the calls by which a callback came in, was kept and was answered;
 * null where nothing is.
 */
function disorder(calls: Call[], mark: string) {
  const next = (after: number, what: RegExp, is: (call: Call) => boolean) =>
    calls.find((call) => call.began > after && what.test(call.name) && is(call))
  const asked = next(
    -1,
    /^read$/u,
    ({ on, text }) => on.startsWith('socket:') && text.includes(mark),
  )
  if (!asked) return `${mark} was not read from a socket`
  const kept = next(
    asked.ended,
    /^pwrite/u,
    ({ on, text }) => on.endsWith('-wal') && text.includes(mark),
  )
  if (!kept) return `${mark} was not written to the log of the database`
  // A kept-alive connection carries one request at a time: the next 200 on it is this one's.
  const answered = next(
    asked.ended,
    /^(?:write|send)/u,
    ({ on, text }) => on === asked.on && text.includes('HTTP/1.1 200'),
  )
  if (!answered) return `${mark} was not answered 200`
  const synced = next(
    kept.ended,
    /sync$/u,
    ({ on, text }) => on === kept.on && /\) += 0$/u.test(text),
  )
  return synced && synced.ended < answered.began
    ? null
    : `${mark} was answered before it was synced`
}

/**
 * Callbacks one after the other, then some at once; what is wrong with the order of each. Null
 * where nothing can be seen.
 */
async function disorders(stage: Stage, ...breaks: Break[]) {
  const provider = await stage.standIn(accepts)
  const { folder, settings } = await stage.home(provider.settings())
  const program = await stage.start(settings, await builtCli(...breaks))
  for (let n = 0; n < ONE_BY_ONE + AT_ONCE; n++) await submitted(program)
  const watch = await watchCalls(program.child.pid ?? 0, join(folder, 'calls'))
  if (!watch) return null
  const call = (job: Job) =>
    provider.call(job, { ...provider.success(job), output: [], tip: markOf(job) })

  const answers = []
  for (const job of provider.submissions.slice(0, ONE_BY_ONE)) answers.push(await call(job))
  answers.push(...(await Promise.all(provider.submissions.slice(ONE_BY_ONE).map(call))))
  const calls = await watch.stop()

  expect(answers.map(({ status }) => status)).toEqual(Array(ONE_BY_ONE + AT_ONCE).fill(200))
  return provider.submissions.map((job) => disorder(calls, markOf(job)))
}

const markOf = ({ trackId }: Job) => `mark of ${trackId}`

it('writes the 200 of a callback to its socket only after the fdatasync that holds it', async ({
  stage,
  skip,
}) => {
  const found = await disorders(stage)
  if (!found) return skip()
  expect(found).toEqual(Array(ONE_BY_ONE + AT_ONCE).fill(null))
})

it.for<[string, Break]>([
  [
    'synchronous is OFF',
    {
      file: 'ledger/driver/connection.node.ts',
      from: "'synchronous = FULL'",
      to: "'synchronous = OFF'",
    },
  ],
  [
    'synchronous is NORMAL',
    {
      file: 'ledger/driver/connection.node.ts',
      from: "'synchronous = FULL'",
      to: "'synchronous = NORMAL'",
    },
  ],
  [
    'the answer does not wait',
    {
      file: 'http/callbacks.ts',
      from: 'await receive(deps, id, body)',
      to: 'setTimeout(() => void receive(deps, id, body), 300)',
    },
  ],
])('would be seen to answer too early where %s', async ([, change], { stage, skip }) => {
  const found = await disorders(stage, change)
  if (!found) return skip()
  // Where nobody waits, they may not even be written when the watch ends.
  const tooEarly = expect.stringMatching(
    /was answered before it was synced|was not written to the log/u,
  ) as unknown
  expect(found).toEqual(Array(ONE_BY_ONE + AT_ONCE).fill(tooEarly))
})

it('reads calls that were interrupted as one, from their beginning to their end', () => {
  const log = [
    '7 fdatasync(21</data/a.db-wal> <unfinished ...>',
    '9 write(30<socket:[88]>, "HTTP/1.1 200 OK", 15) = 15',
    '7 <... fdatasync resumed>) = 0',
  ]
  expect(callsIn(log.join('\n'))).toMatchObject([
    { name: 'fdatasync', on: '/data/a.db-wal', began: 0, ended: 2 },
    { name: 'write', on: 'socket:[88]', began: 1, ended: 1 },
  ])
})
