import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const ROOT = join(import.meta.dirname, '../..')

export interface Bundle {
  /** The one module that is uploaded. */
  script: string
  /** What wrangler said of it. */
  output: string
  remove: () => Promise<void>
}

/** What `wrangler deploy` would upload, made by wrangler itself; it asks nobody. */
export async function bundled(): Promise<Bundle> {
  const folder = await mkdtemp(join(tmpdir(), 'afterimage-bundle-'))
  const wrangler = join(ROOT, 'node_modules/wrangler/bin/wrangler.js')
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [wrangler, 'deploy', '--dry-run', '--outdir', folder],
    {
      cwd: ROOT,
      env: { ...process.env, WRANGLER_SEND_METRICS: 'false', WRANGLER_HIDE_BANNER: 'true' },
    },
  )
  return {
    script: join(folder, 'worker.js'),
    output: stdout,
    remove: () => rm(folder, { recursive: true }),
  }
}
