import { type SQL, sql } from 'drizzle-orm'
import { archiveDue } from '../../src/work/archive.ts'
import { reconcileDue } from '../../src/work/reconcile.ts'
import { onD1 } from './driver.ts'
import { dump, submitted, success, type World } from './world.ts'

export const MEBIBYTE = 1024 * 1024
export const HOUR = 3600
export const absent = { status: 404 }

/** A generation of whom nobody can be asked, because the provider's id is not known. */
export async function offered(here: World, links: Record<string, unknown>) {
  here.provider.losesItsAnswer()
  const { id } = await submitted(here)
  await here.callback(id, success(id, { id: '', ...links }))
  return id
}

export async function offeredById(here: World, links: Record<string, unknown>) {
  const { id } = await submitted(here)
  await here.callback(id, success(id, links))
  return id
}

/** Lets `seconds` pass, and tells at which of them something was downloaded. */
export async function attempts(here: World, seconds: number, step = 1) {
  const at: number[] = []
  const from = here.clock.now
  for (;;) {
    const before = here.cdn.gets.length
    while ((await archiveDue(here.deps, 100)) > 0);
    const elapsed = (here.clock.now - from) / 1000
    for (let n = before; n < here.cdn.gets.length; n++) at.push(elapsed)
    if (elapsed >= seconds) return at
    here.clock.advance(await idle(here, step, seconds - elapsed, IMAGES))
  }
}

export async function attemptsAndFetches(here: World, seconds: number, step: number) {
  for (let elapsed = 0; elapsed <= seconds;) {
    await archiveDue(here.deps, 100)
    await reconcileDue(here.deps, 100)
    await archiveDue(here.deps, 100)
    const pause = await idle(here, step, seconds - elapsed, BOTH)
    here.clock.advance(pause)
    elapsed += pause
  }
}

const IMAGES = sql`select min(due_at) as at from images where status = 'pending'`
export const FETCHES = sql`select min(fetch_due_at) as at from generations`
const BOTH = sql`select min(at) as at from (${IMAGES} union all ${FETCHES})`

/**
 * One step; over D1, where each look costs milliseconds, all the steps at which nothing will be due
 * of what is done: what else waits is due at every one of them.
 */
export async function idle({ db, clock }: World, step: number, atMost: number, of: SQL) {
  if (!onD1) return step
  const [row] = await db.all<{ at: number | null }>(of)
  const seconds = row?.at === null || row?.at === undefined ? atMost : (row.at - clock.now) / 1000
  return Math.max(1, Math.ceil(Math.min(seconds, atMost) / step)) * step
}

export const pauses = (at: number[]) =>
  at.slice(1).map((one, n) => Math.round((one - (at[n] ?? 0)) * 1000) / 1000)

/** How far the place of any is from where it belongs. */
export function outOfOrder(times: number[]) {
  const place = new Map(times.toSorted((a, b) => a - b).map((time, n) => [time, n]))
  return Math.max(...times.map((time, n) => Math.abs((place.get(time) ?? 0) - n)))
}

export async function keys({ deps }: World) {
  const found: string[] = []
  for await (const { key } of deps.objects.list('')) found.push(key)
  return found
}

/** Every link that the ledger has of images; bodies of callbacks are evidence, and stay. */
export async function linksInLedger(here: World) {
  return (
    await Promise.all(['images', 'offers', 'events'].map((table) => dump(here, table)))
  ).join()
}

/** A host that answers 200 and never stops, without saying how much is to come. */
export function endless() {
  return {
    status: 200,
    bytes: new Uint8Array(25 * MEBIBYTE + 1),
    headers: { 'content-length': 'unknown' },
  }
}

/** A download that goes on until it is ended here. */
export function hanging({ cdn }: World, link: string) {
  let send: (bytes: Uint8Array) => void = () => undefined
  let fail: (error: Error) => void = () => undefined
  let wasAsked = () => {}
  const asked = new Promise<void>((resolve) => (wasAsked = resolve))
  const bytes = new Promise<Uint8Array>((resolve, reject) => {
    send = resolve
    fail = reject
  })
  cdn.pages.set(link, () => {
    wasAsked()
    return bytes
  })
  return { asked, send: (sent: Uint8Array) => send(sent), fail: (error: Error) => fail(error) }
}
