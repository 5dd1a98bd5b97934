import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eq, sql } from 'drizzle-orm'
import sharp from 'sharp'
import { onTestFinished, vi } from 'vitest'
import { archiveDue, storeCameBack } from '../../src/work/archive.ts'
import { readConfig } from '../../src/config.ts'
import { ImageFailure } from '../../src/errors.ts'
import type { InpaintRequest } from '../../src/model/request.ts'
import type { Reply } from '../../src/model/outcome.ts'
import { watchHealth } from '../../src/observe/health.ts'
import { createApp } from '../../src/http/app.ts'
import { telling } from '../../src/ledger/database.ts'
import { createLedger } from '../../src/ledger/ledger.ts'
import { callbacks } from '../../src/ledger/schema.ts'
import { recordCapability } from '../../src/secrets/links.ts'
import { macs } from '../../src/secrets/mac.ts'
import { diskStore } from '../../src/objects/disk.node.ts'
import { patientStore } from '../../src/objects/patient.ts'
import type { Deps, Get, GetResponse } from '../../src/deps.ts'
import { readCallback, readFetch, readReply } from '../../src/modelslab/read.ts'
import { expireOverdue } from '../../src/work/expire.ts'
import { reconcileDue } from '../../src/work/reconcile.ts'
import { sendHeld } from '../../src/work/held.ts'
import { ledgerPlace } from './driver.ts'

export const API_KEY = 'the-provider-s-api-key'
export const SECRET = 'a-callback-secret-of-the-tests'
const LINK_SECRET = 'a-link-secret-of-the-tests'
export const ADMIN = 'admin-token-of-the-tests'
const START = Date.UTC(2026, 0, 31, 12)

/**
 * The provider, of whom only the words are made up: they are read as if they had come over the
 * wire.
 */
export class FakeProvider {
  readonly submissions: { request: InpaintRequest; trackId: string; webhook: string }[] = []
  readonly fetches: string[] = []
  /** What the next submissions are answered; then `processing` with a fresh id. */
  readonly replies: (() => Reply | Promise<Reply>)[] = []
  /** What the next fetches are answered; then `processing`. */
  readonly results: (() => Reply | Promise<Reply>)[] = []
  #ids = 1000

  answers(body: unknown, httpStatus = 200, waitSeconds: number | null = null) {
    this.replies.push(() => readReply(httpStatus, textOf(body), waitSeconds))
  }

  /** The next submission is refused because enough is out already. */
  isFull(retryAfterSeconds: number) {
    const message = 'Rate limit exceeded. Maximum 5 queued requests allowed.'
    this.answers({ status: 'error', message, retry_after: retryAfterSeconds }, 429)
  }

  /** The next submission meets a closed port: nothing is sent. */
  isNotThere() {
    const reason = 'fetch failed: connect ECONNREFUSED 127.0.0.1:443'
    this.replies.push(() => ({
      status: 'held',
      retryAfterSeconds: null,
      full: false,
      unsent: true,
      reason,
    }))
  }

  /** The next submission is taken, and its answer does not come before the timeout. */
  losesItsAnswer() {
    this.replies.push(() => ({
      status: 'unreadable',
      reason: 'The operation was aborted due to timeout',
    }))
  }

  /** The next submission is taken, and is answered when the returned function is called. */
  hesitates() {
    let answer: (reply: Reply) => void = () => undefined
    const reply = new Promise<Reply>((resolve) => (answer = resolve))
    this.replies.push(() => reply)
    return (body: unknown, httpStatus = 200) => answer(readReply(httpStatus, textOf(body), null))
  }

  /** The next submission meets a wall, or a path that nobody has. */
  isElsewhere(httpStatus = 404, waitSeconds: number | null = null) {
    const reply = readReply(httpStatus, '<h1>There is nothing here</h1>', waitSeconds)
    this.replies.push(() => ({ ...reply, answer: `HTTP ${httpStatus} at /api/v6/images/inpaint` }))
  }

  knows(body: unknown, httpStatus = 200) {
    this.results.push(() => readFetch(httpStatus, textOf(body), null))
  }

  readonly port = {
    submit: async (request: InpaintRequest, to: { trackId: string; webhook: string }) => {
      this.submissions.push({ request, ...to })
      return (
        this.replies.shift() ??
        (() =>
          readReply(
            200,
            JSON.stringify({ status: 'processing', id: this.#ids++, eta: 2, output: [] }),
            null,
          ))
      )()
    },
    fetch: async (providerId: string) => {
      this.fetches.push(providerId)
      return (
        this.results.shift() ??
        (() =>
          readFetch(200, '{"status":"processing","message":"try again later.","output":""}', null))
      )()
    },
    readCallback,
  }
}

const textOf = (body: unknown) => (typeof body === 'string' ? body : JSON.stringify(body))

type Page =
  | Uint8Array
  | ImageFailure
  | { status: number; bytes?: Uint8Array; headers?: Record<string, string> }
  | (() => Promise<Uint8Array>)

/** Strangers' image hosts: what each link shows just now. What is not here is 404. */
export class FakeCdn {
  readonly pages = new Map<string, Page>()
  readonly gets: string[] = []

  readonly get: Get = async (url) => {
    this.gets.push(url.href)
    const page = this.pages.get(url.href) ?? { status: 404 }
    if (page instanceof ImageFailure) throw page
    if (typeof page === 'function') return respond({ status: 200, bytes: await page() })
    return page instanceof Uint8Array ? respond({ status: 200, bytes: page }) : respond(page)
  }
}

function respond({
  status,
  bytes = new Uint8Array(),
  headers = {},
}: Extract<Page, { status: number }>): GetResponse {
  const all: Record<string, string> = { 'content-length': String(bytes.byteLength), ...headers }
  return {
    status,
    header: (name) => all[name],
    body: ReadableStream.from([bytes]),
    discard: () => undefined,
  }
}

/**
 * A world with a real ledger and a real store, in which only the provider, its CDN and the clock
 * are stood in for.
 */
export function world(settings: Record<string, string> = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'afterimage-'))
  const config = readConfig({
    MODELSLAB_API_KEY: API_KEY,
    PUBLIC_URL: 'https://images.example.com',
    DATABASE_PATH: join(directory, 'afterimage.db'),
    OBJECTS_DIR: join(directory, 'objects'),
    CALLBACK_SECRETS: SECRET,
    LINK_SECRETS: LINK_SECRET,
    API_TOKENS: `admin:admin:${ADMIN}`,
    ...settings,
  })
  const place = ledgerPlace(config.databasePath)
  let driver = place.open()
  const clock = { now: START }
  const provider = new FakeProvider()
  const cdn = new FakeCdn()
  const logged: { level: string; message: string; fields: Record<string, unknown> }[] = []
  const background: Promise<void>[] = []
  const postponed: (() => Promise<void>)[] = []
  const capability = macs('callback', config.callbackSecrets)
  const log: Deps['log'] = (level, message, fields = {}) => logged.push({ level, message, fields })
  const now = () => clock.now
  const health = watchHealth(log, now)
  const store = diskStore(config.objectsDir)
  const cameBack = () => deps.track(storeCameBack(deps))
  const deps: Deps = {
    ledger: createLedger(telling(driver, health.ledger)),
    objects: patientStore(store, { health, cameBack, log, now }),
    provider: provider.port,
    get: cdn.get,
    wake: () => undefined,
    now,
    later: (_delayMs, task) => postponed.push(task),
    track: (work) => background.push(work),
    callbackUrl: (id) => `${config.publicUrl}/callbacks/${id}/${capability.sign(id)}`,
    verifiesCallback: capability.verifies,
    ...recordCapability(config),
    secretsOf: (id) => [config.modelsLab.apiKey, ...capability.accepted(id)],
    log,
    health,
    config,
  }
  const app = createApp(deps, { isDraining: () => false })
  onTestFinished(async () => {
    await driver.close()
    place.release()
    rmSync(directory, { recursive: true })
  })
  return {
    deps,
    config,
    directory,
    /** What is behind `deps.objects`: whatever goes wrong there is seen by the health. */
    store,
    /** What the ledger runs on. */
    get driver() {
      return driver
    },
    /** The ledger itself, for what no door shows. */
    get db() {
      return driver.db
    },
    /** The ledger's file. In D1 there is none. */
    get sqlite() {
      return place.sqlite
    },
    /** Every request to D1 so far. */
    requests: place.requests,
    /** What others read in the ledger: what is not committed is not there. */
    committed: place.committed,
    /** From now on the ledger takes no writes, until the returned function is called. */
    refuseWrites: place.refuseWrites,
    provider,
    cdn,
    logged,
    clock: {
      get now() {
        return clock.now
      },
      advance: (seconds: number) => {
        clock.now += seconds * 1000
      },
    },
    /**
     * Resolves when everything that goes on in the background has ended, what was postponed
     * included.
     */
    idle: async () => {
      background.push(...postponed.splice(0).map((task) => task()))
      while (background.length > 0) await Promise.all(background.splice(0))
    },
    /**
     * The process is killed and starts again on the same files. What was under way is not heard of
     * any more.
     */
    restart: async () => {
      await driver.close()
      background.length = postponed.length = 0
      driver = place.open()
      deps.ledger = createLedger(telling(driver, health.ledger))
      await deps.ledger.due.writeReleased()
      await deps.ledger.expire.writeAbandoned(clock.now, clock.now)
    },
    /** One turn at everything that is due. */
    turn: async () => {
      await expireOverdue(deps)
      await sendHeld(deps)
      while (background.length > 0) await Promise.all(background.splice(0))
      await reconcileDue(deps, 100)
      await archiveDue(deps, 100)
    },
    /** A request at the front door, with the admin's token unless another is given. */
    call: (path: string, init: RequestInit & { token?: string | null } = {}) => {
      const { token = ADMIN, ...rest } = init
      const headers = new Headers(rest.headers)
      if (token !== null) headers.set('authorization', `Bearer ${token}`)
      return Promise.resolve(app.request(path, { ...rest, headers }))
    },
    /** Delivers a callback for a generation, as the provider would. */
    callback: (id: string, body: unknown) =>
      Promise.resolve(
        app.request(new URL(deps.callbackUrl(id)).pathname, { method: 'POST', body: textOf(body) }),
      ),
  }
}

export type World = ReturnType<typeof world>

/** The seed's own sample body. */
export const sampleBody = {
  key: 'your_api_key',
  model_id: 'pony_realism',
  prompt: 'a cat sitting on a bench',
  negative_prompt: null,
  init_image: 'https://example.com/overture-creations.png',
  mask_image: 'https://example.com/overture-creations_mask.png',
  width: '512',
  height: '512',
  samples: '1',
  steps: '21',
  safety_checker: 'no',
  guidance_scale: 7.5,
  strength: 0.7,
  scheduler: 'DPMSolverMultistepScheduler',
  use_karras_sigmas: 'yes',
  algorithm_type: 'sde-dpmsolver++',
  clip_skip: '2',
  seed: null,
  webhook: null,
  track_id: null,
}

/** Submits through the front door and returns the Generation. */
export async function submitted(
  { call }: World,
  body: Record<string, unknown> = {},
  headers: Record<string, string> = {},
) {
  const response = await call('/v1/generations', {
    method: 'POST',
    body: JSON.stringify({ ...sampleBody, ...body }),
    headers,
  })
  if (response.status !== 202)
    throw new Error(`not accepted: ${response.status} ${await response.text()}`)
  return (await response.json()) as GenerationJson
}

export async function shown({ call }: World, id: string) {
  return (await (await call(`/v1/generations/${id}`)).json()) as GenerationJson
}

/** What happened to a generation, as its timeline door tells it. */
export async function happened({ call }: World, id: string, event: string) {
  const { data } = (await (await call(`/v1/generations/${id}/timeline`)).json()) as {
    data: { at: string; event: string; detail: Record<string, unknown> }[]
  }
  return data.filter((entry) => entry.event === event).map(({ at, detail }) => ({ at, ...detail }))
}

/**
 * The callbacks of a generation as they are kept, in the order in which they came: no door shows
 * their bodies.
 */
export async function evidence({ db }: World, id: string) {
  const rows = await db
    .select()
    .from(callbacks)
    .where(eq(callbacks.generationId, id))
    .orderBy(sql`rowid`)
  return rows.map((row) => ({ ...row, body: row.body?.toString() ?? null }))
}

/** What was decided of each callback. */
export const decisions = async (here: World, id: string) =>
  (await evidence(here, id)).map(({ decision }) => decision)

/** A callback of success, with all that the provider can tell. */
export const success = (trackId: string, more: Record<string, unknown> = {}) => ({
  status: 'success',
  id: 134712448,
  track_id: trackId,
  generationTime: 9.07,
  output: [LINK],
  proxy_links: '',
  nsfw_content_detected: false,
  webhook_status: '',
  meta: { seed: 4139316548, W: 512, H: 512, model_id: 'pony_realism' },
  ...more,
})

/** A callback of failure, as the provider's documentation shows it. */
export const failure = (trackId: string, more: Record<string, unknown> = {}) => ({
  status: 'failed',
  id: 134712448,
  message: 'Processing failed: Invalid input dimensions',
  track_id: trackId,
  ...more,
})

export const LINK = 'https://pub-1.r2.dev/generations/a.png'
export const OTHER_LINK = 'https://pub-1.r2.dev/generations/b.png'
export const MIRROR = 'https://cdn2.stablediffusionapi.com/generations/a.png'

/** Every wait is exactly as long as the contract says. */
export function withoutJitter() {
  const random = vi.spyOn(Math, 'random').mockReturnValue(0.5)
  onTestFinished(() => random.mockRestore())
}

/** As much of a Generation as tests look at. */
export interface GenerationJson {
  id: string
  status: string
  archive_status: string
  provider_id: string | null
  client_track_id: string | null
  nsfw: {
    verdict: string
    disputed: boolean
    reports: { value: unknown; by: string; at: string }[]
  }
  finished_at: string | null
  archived_at: string | null
  seed: number | null
  meta: Record<string, unknown> | null
  failure: { code: string; message: string } | null
  images: {
    source: string
    position: number
    status: string
    source_url: string
    url: string
    sha256: string | null
    bytes: number | null
    content_type: string | null
    width: number | null
    height: number | null
    object_key: string | null
    attempts: number
    suspect: string | null
    failure: { code: string; message: string } | null
  }[]
}

/** Everything that the ledger holds in a table, as text. */
export async function dump({ db }: World, table: string) {
  return JSON.stringify(await db.all(sql.raw(`select * from ${table}`)))
}

/** A real PNG, different for each colour. */
export async function png(color: string, side = 16): Promise<Uint8Array> {
  return new Uint8Array(
    await sharp({ create: { width: side, height: side, channels: 3, background: color } })
      .png()
      .toBuffer(),
  )
}

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
