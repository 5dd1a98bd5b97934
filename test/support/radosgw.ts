import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { randomInt, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { cephConf } from './radosgw-conf.ts'

/**
 * A real S3 server on loopback: Ceph's radosgw over one monitor and one OSD that keeps everything
 * in memory.
 */
export interface Radosgw {
  endpoint: string
  bucket: string
  credentials: { accessKeyId: string; secretAccessKey: string }
  /** Kills the gateway as an outage would; what was stored stays. */
  stopGateway(): Promise<void>
  /** On the same port, with the same objects; resolves once it answers. */
  startGateway(): Promise<void>
  /** Ends every process and removes everything. */
  stop(): Promise<void>
}

const READY_TIMEOUT_MS = 30_000
const TOOLS = ['radosgw', 'radosgw-admin', 'ceph', 'ceph-mon', 'ceph-osd', 'monmaptool', 'setpriv']

const run = promisify(execFile)

/** False, said loudly, where radosgw is not installed; with `CI=true` that throws. */
export function radosgwInstalled(suite: string) {
  const folders = (process.env.PATH ?? '').split(delimiter)
  const missing = TOOLS.filter((tool) => !folders.some((folder) => existsSync(join(folder, tool))))
  if (missing.length === 0) return true
  const message = `SKIPPED: ${suite} needs ${missing.join(', ')} (apt-get install radosgw ceph-mon ceph-osd ceph-common)`
  if (process.env.CI === 'true') throw new Error(message)
  console.warn(message)
  return false
}

/** Takes about two seconds. */
export async function startRadosgw(): Promise<Radosgw> {
  const cluster = await Cluster.make()
  try {
    await cluster.start()
  } catch (error) {
    await cluster.stop()
    throw error
  }
  return cluster
}

class Cluster implements Radosgw {
  static async make() {
    const folder = await mkdtemp(join(tmpdir(), 'afterimage-radosgw-'))
    return new Cluster(folder, await freePort(), await freePort())
  }

  readonly bucket = 'afterimage'
  readonly credentials = { accessKeyId: 'AFTERIMAGETESTKEY', secretAccessKey: randomUUID() }
  readonly endpoint: string
  private readonly folder: string
  private readonly port: number
  private readonly monitorPort: number
  private readonly daemons = new Map<string, ChildProcess>()

  constructor(folder: string, port: number, monitorPort: number) {
    this.folder = folder
    this.port = port
    this.monitorPort = monitorPort
    this.endpoint = `http://127.0.0.1:${port}`
  }

  async start() {
    await this.startMonitor()
    await this.startStorage()
    const { accessKeyId, secretAccessKey } = this.credentials
    const user = [
      '--uid=test',
      '--display-name=test',
      `--access-key=${accessKeyId}`,
      `--secret=${secretAccessKey}`,
    ]
    await this.run('radosgw-admin', '-n', 'client.rgw.a', 'user', 'create', ...user)
    await this.startGateway()
    await this.createBucket()
  }

  async startGateway() {
    const gateway = this.spawn('radosgw', '-n', 'client.rgw.a')
    const giveUpAt = Date.now() + READY_TIMEOUT_MS
    while (!(await answers(this.endpoint))) {
      if (gateway.exitCode !== null || Date.now() > giveUpAt)
        throw new Error(`radosgw does not answer: ${this.endpoint}`)
      await delay(20)
    }
  }

  async stopGateway() {
    await this.kill('radosgw')
  }

  async stop() {
    for (const name of [...this.daemons.keys()].reverse()) await this.kill(name)
    await rm(this.folder, { recursive: true, force: true })
  }

  private async startMonitor() {
    const fsid = randomUUID()
    for (const name of ['mon', 'osd', 'run', 'rgw']) await mkdir(join(this.folder, name))
    await writeFile(join(this.folder, 'ceph.conf'), cephConf({ ...this.places(), fsid }))
    const map = join(this.folder, 'monmap')
    await this.run(
      'monmaptool',
      '--create',
      '--fsid',
      fsid,
      '--addv',
      'a',
      `v1:127.0.0.1:${this.monitorPort}`,
      map,
    )
    await this.run('ceph-mon', '--mkfs', '-i', 'a', '--monmap', map)
    this.spawn('ceph-mon', '-i', 'a')
  }

  /** An OSD may refuse to start under another UUID than it was made with. */
  private async startStorage() {
    const uuid = randomUUID()
    await this.run('ceph-osd', '-i', '0', '--mkfs', '--osd-uuid', uuid)
    await this.askMonitor('osd', 'create', uuid, '0')
    await this.askMonitor('osd', 'crush', 'add', 'osd.0', '1.0', 'root=default', 'host=localhost')
    this.spawn('ceph-osd', '-i', '0')
  }

  /**
   * A young monitor on a busy machine may refuse to say what commands it has (EPERM), and say so a
   * moment later.
   */
  private async askMonitor(...args: string[]) {
    const giveUpAt = Date.now() + READY_TIMEOUT_MS
    for (;;) {
      const refusal = await this.run('ceph', ...args).then(() => null, String)
      if (refusal === null) return
      if (!refusal.includes('command descriptions') || Date.now() > giveUpAt)
        throw new Error(refusal)
      await delay(100)
    }
  }

  private async createBucket() {
    process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true'
    const { endpoint, credentials } = this
    const client = new S3Client({
      endpoint,
      credentials,
      region: 'us-east-1',
      forcePathStyle: true,
    })
    await client.send(new CreateBucketCommand({ Bucket: this.bucket }))
    client.destroy()
  }

  private places() {
    return { folder: this.folder, port: this.port, monitorPort: this.monitorPort }
  }

  private environment() {
    return { ...process.env, CEPH_CONF: join(this.folder, 'ceph.conf') }
  }

  private run(command: string, ...args: string[]) {
    return run(...boundToUs(command, args), { env: this.environment(), timeout: READY_TIMEOUT_MS })
  }

  private spawn(command: string, ...args: string[]) {
    const daemon = spawn(...boundToUs(command, ['-f', ...args]), {
      env: this.environment(),
      stdio: 'ignore',
    })
    this.daemons.set(command, daemon)
    return daemon
  }

  private async kill(name: string) {
    const daemon = this.daemons.get(name)
    this.daemons.delete(name)
    if (daemon?.exitCode !== null || daemon.signalCode !== null) return
    daemon.kill('SIGKILL')
    await once(daemon, 'exit')
  }
}

/**
 * The kernel kills what we start when the test run is killed (prctl(2), PR_SET_PDEATHSIG): nothing
 * stays behind.
 */
function boundToUs(command: string, args: string[]): [string, string[]] {
  return ['setpriv', ['--pdeathsig', 'KILL', command, ...args]]
}

async function answers(endpoint: string) {
  try {
    const response = await fetch(endpoint)
    await response.arrayBuffer()
    return response.ok
  } catch {
    return false
  }
}

/**
 * Below the range from which the kernel picks ports by itself, so that a stopped gateway finds its
 * own still free.
 */
async function freePort(): Promise<number> {
  const port = randomInt(20_000, 30_000)
  const server = createServer()
  const taken = await new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(true))
    server.listen(port, '127.0.0.1', () => resolve(false))
  })
  if (taken) return freePort()
  await promisify(server.close.bind(server))()
  return port
}
