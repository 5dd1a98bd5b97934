import type { Config } from '../config.ts'
import type { Finding, Verified, Verifying } from '../audit/finding.ts'
import { verify } from '../audit/verify.ts'
import { type Call, INTERRUPTED, ledgerLine, storeLine } from './command.ts'
import { readOptions } from './terminal/options.ts'
import { counted, size, tabbed } from './terminal/words.ts'
import { showBar } from './terminal/bar.ts'

const USAGE = `afterimage verify reads every object and record again, hashes it, and compares
ledger and store both ways.

  --repair   copies what is missing or altered again from wherever its links
             still work, and writes anew such records, and those that are not
             signed
  --json     one JSON object a line instead of tab-separated fields

It prints one line a finding: what it is (missing, altered, unreadable,
orphaned), the object's key, the images that show it, and what was found. It
writes nothing to the ledger, and the service may run meanwhile. Settings are
those of the service.
Ends with 0 if all is well or was repaired, 1 if something is not, 2 if it
could not look.
`

type World = Omit<Verifying, 'repair' | 'found' | 'progress' | 'signal' | 'config'> & {
  config: Verifying['config'] & Pick<Config, 'databasePath' | 's3' | 'objectsDir'>
  now: () => number
  env: Record<string, string | undefined>
}

export async function runVerify(call: Call, world: () => Promise<World>): Promise<number> {
  const options = readOptions(call, USAGE, {
    repair: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  })
  if (typeof options === 'number') return options
  const { env, now, ...opened } = await world()
  const { signal, err } = call
  err.write(ledgerLine(opened.config) + storeLine(opened.config))
  const bar = showBar(err, env, now)
  const line = options.json ? jsonLine : plainLine
  const found = (finding: Finding) => {
    bar.clear()
    call.out(line(finding))
  }
  const verified = await verify({
    ...opened,
    repair: options.repair,
    found,
    progress: bar.show,
    signal,
  })
  bar.clear()
  err.write(`${signal.aborted ? 'Interrupted. ' : ''}${summary(verified, options.repair)}\n`)
  err.write(strangers(verified))
  if (signal.aborted) return INTERRUPTED
  return left(verified) > 0 ? 1 : 0
}

const left = ({ findings, repaired }: Verified) =>
  Object.values(findings).reduce((sum, n) => sum + n, 0) - repaired

function summary(verified: Verified, repair: boolean) {
  const { objects, bytes, records, unsigned, findings, repaired } = verified
  const kinds = Object.entries(findings).map(([kind, count]) => `${count} ${kind}`)
  return [
    `${counted(objects, 'object')} read (${size(bytes)}), ${counted(records, 'record')} read:`,
    `${kinds.join(', ')}.`,
    ...(unsigned > 0
      ? [`${counted(unsigned, 'record')} of before records were signed (--repair signs them).`]
      : []),
    ...(repair ? [`${repaired} repaired, ${left(verified)} left.`] : []),
  ].join(' ')
}

const NOT_THE_STORE = `Everything is missing: is this the store that the service writes to? It has
its own settings (OBJECTS_DIR, or S3_BUCKET and S3_ENDPOINT) and folder.
`
const NOT_THE_LEDGER = `Everything is orphaned: is this the ledger of the service that writes to this
store? It has its own settings (DATABASE_PATH) and folder.
`

/** A ledger and a store that have nothing in common are hardly those of one service. */
function strangers({ objects, records, findings: { missing, orphaned } }: Verified) {
  const named = objects + records
  if (named > 0 && missing === named) return NOT_THE_STORE
  return named === 0 && orphaned > 0 ? NOT_THE_LEDGER : ''
}

const nameOf = ({ generationId, source, position }: Finding['images'][number]) =>
  `${generationId}/${source}/${position}`

const plainLine = ({ finding, key, images, detail, repair }: Finding) =>
  tabbed(
    repair?.done ? `${finding}, repaired` : finding,
    key,
    images.map(nameOf).join(' ') || '-',
    repair === null
      ? detail
      : `${detail}; ${repair.done ? `copied from ${repair.from}` : `not repaired: ${repair.reason}`}`,
  )

const jsonLine = ({ finding, key, images, detail, repair }: Finding) =>
  JSON.stringify({
    finding,
    key,
    images: images.map(({ generationId, source, position }) => ({
      generation_id: generationId,
      source,
      position,
    })),
    detail,
    repaired: repair?.done ?? null,
    ...(repair && (repair.done ? { copied_from: repair.from } : { reason: repair.reason })),
  })
