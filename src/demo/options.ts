import { readOptions } from '../commands/terminal/options.ts'
import { DIRECTORY } from './place.ts'
import { STORIES } from './stories.ts'

const USAGE = `afterimage demo runs the service and a simulated ModelsLab on this machine, and
${STORIES.length} generations that misbehave. It needs no account and no settings.

  --exit   ends with the last generation, instead of serving until Ctrl-C
  --s3     keeps images in the bucket of S3_BUCKET and the AWS environment

Ledger and images are in ${DIRECTORY}, which every demo makes anew.
Ends with 0 if every generation ended as it should, 1 if one did not, 2 if it
could not begin.
`

const S3_SETTINGS = ['S3_BUCKET', 'S3_ENDPOINT', 'S3_REGION', 'AWS_REGION', 'S3_FORCE_PATH_STYLE']

interface Options {
  exit: boolean
  /** Settings of the bucket; none where images are kept on the disk. */
  s3: Record<string, string | undefined>
}

/** What was asked for; else the code to end with. */
export function readArguments(argv: string[]): Options | number {
  const out = (line: string) => process.stdout.write(`${line}\n`)
  const options = readOptions({ argv, out, err: process.stderr }, USAGE, {
    exit: { type: 'boolean', default: false },
    s3: { type: 'boolean', default: false },
  })
  if (typeof options === 'number') return options
  if (!options.s3) return { exit: options.exit, s3: {} }
  if (!process.env['S3_BUCKET']?.trim()) {
    process.stderr.write(
      'afterimage demo --s3 expects S3_BUCKET, and credentials where the AWS SDK looks for them.\n',
    )
    return 2
  }
  return {
    exit: options.exit,
    s3: Object.fromEntries(S3_SETTINGS.map((name) => [name, process.env[name]])),
  }
}
