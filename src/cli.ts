#!/usr/bin/env node
import { ConfigError } from './config.ts'
import { LedgerUnavailable } from './errors.ts'
import { LedgerInUse } from './ledger/sqlite.ts'
import { startService } from './node.ts'

const USAGE = `afterimage keeps what ModelsLab's inpainting API produces.

  afterimage serve       the service, on settings from the environment
  afterimage simulator   a ModelsLab that runs on this machine (--help for its knobs)
  afterimage demo        both, with a dozen generations that misbehave (--exit to stop at the end)
`

const say = (line: string) => process.stderr.write(`${line}\n`)

// What draws pictures is loaded only where pictures are drawn: the service starts without it.
async function main([command, ...argv]: string[]): Promise<number> {
  switch (command) {
    case 'serve':
      return serve()
    case 'demo':
      return (await import('./demo/demo.ts')).runDemo(argv, untilSignal)
    case 'simulator':
      return (await import('./simulator/main.ts')).runSimulator(argv)
    case undefined:
    case 'help':
    case '--help':
      process.stdout.write(USAGE)
      return 0
    default:
      say(`afterimage: there is no command ${JSON.stringify(command)}\n\n${USAGE}`)
      return 2
  }
}

async function serve(): Promise<number> {
  // Whoever reads the log may go away (EPIPE). Callbacks are taken all the same.
  process.stderr.on('error', () => {})
  const signal = untilSignal()
  try {
    const service = await startService(process.env, say)
    await signal
    await service.stop()
    return 0
  } catch (error) {
    say(explain(error))
    return 1
  }
}

/** The first SIGTERM or SIGINT drains; a second one ends at once, as it would without us. */
function untilSignal() {
  return new Promise<void>((resolve) => {
    const first = () => {
      process.off('SIGTERM', first).off('SIGINT', first)
      resolve()
    }
    process.on('SIGTERM', first).on('SIGINT', first)
  })
}

function explain(error: unknown): string {
  if (error instanceof ConfigError)
    return `afterimage cannot start on these settings:\n${error.fields.map(({ pointer, message }) => `  ${pointer}: ${message}`).join('\n')}`
  if (error instanceof LedgerInUse)
    return `afterimage cannot start: ${error.message}. One process at a time may use a database.`
  if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')
    return `afterimage cannot start: ${error.message}. Set PORT to a free one.`
  if (error instanceof LedgerUnavailable)
    return `afterimage cannot start: ${error.message} ${error.cause instanceof Error ? error.cause.message : ''}`
  if (error instanceof Error && 'code' in error && /^(?:E[A-Z]+|SQLITE_\w+)$/u.test(String(error.code)))
    return `afterimage cannot start: ${error.message}. Check DATABASE_PATH and OBJECTS_DIR.`
  return `afterimage stopped: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`
}

// Idle keep-alive connections of fetch would hold the process for seconds.
process.exit(await main(process.argv.slice(2)))
