import { parseArgs } from 'node:util'
import { benchCallbacks } from './callbacks.ts'
import { benchImages } from './images.ts'
import { benchLists } from './lists.ts'
import { benchMemory } from './memory.ts'
import { benchRecovery } from './recovery.ts'
import { printTable, type Row, say, writeJson } from './report.ts'
import { undoAll } from './rig.ts'
import { benchWorkers } from './workers.ts'

/** Each measures itself against its reference, so many rounds side by side. */
const BENCHES: Record<string, (rounds: number, backlog: number) => Promise<Row[]>> = {
  callbacks: benchCallbacks,
  images: benchImages,
  memory: benchMemory,
  recovery: benchRecovery,
  lists: benchLists,
  workers: benchWorkers,
}

const USAGE = `usage: npm run bench -- [--only ${Object.keys(BENCHES).join(',')}] [--rounds 3] [--backlog 10000] [--json bench.json]

  --backlog   so many images are drained inside workerd`

async function main() {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', default: Object.keys(BENCHES).join(',') },
      rounds: { type: 'string', default: '3' },
      backlog: { type: 'string', default: '10000' },
      json: { type: 'string', default: 'bench.json' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    say(USAGE)
    return
  }
  const rounds = Number(values.rounds)
  const backlog = Number(values.backlog)
  const names = values.only.split(',')
  const unknown = names.filter((name) => !BENCHES[name])
  if (
    ![rounds, backlog].every((count) => Number.isInteger(count) && count >= 1) ||
    unknown.length > 0
  ) {
    say(USAGE)
    process.exitCode = 2
    return
  }
  const rows: Row[] = []
  for (const name of names) {
    say(`${name} …`)
    rows.push(...((await BENCHES[name]?.(rounds, backlog)) ?? []))
    await undoAll()
  }
  printTable(rows)
  writeJson(values.json, rows)
  say(`written to ${values.json}`)
}

try {
  await main()
} finally {
  await undoAll()
}
