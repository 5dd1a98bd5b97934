import { setImmediate as turnOfTheLoop } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import { expect } from 'vitest'
import type { Reply as Answer } from '../../../src/model/outcome.ts'
import type { ClaimedImage } from '../../../src/model/attempt.ts'
import type { Ledger } from '../../../src/ledger/ledger.ts'
import type { GetResponse } from '../../../src/deps.ts'
import { readFetch, readReply } from '../../../src/modelslab/read.ts'
import { recordDue } from '../../../src/work/record.ts'
import { newId, uuidTime } from '../../../src/model/uuid.ts'
import { sampleBody, sha256, type World, world } from '../world.ts'
import { compare, compareHistory } from './compare.ts'
import * as model from './model.ts'
import type { Body, Death, LinkName, Page, Reply, Result, Step } from './steps.ts'
import {
  answerOf,
  DOWNLOADED,
  FAILED,
  FULL_SECONDS,
  isDecisive,
  linkIn,
  messageOf,
  noiseOf,
  pageOf,
  PROCESSING,
  textOf,
} from './wire.ts'

/** The process died here. */
class Died extends Error {
  override readonly name = 'Died'
}

/** A message that is on its way into the ledger. */
interface Telling {
  id: string
  road: model.Road
  /** Null: nothing that can be read came. */
  message: model.Message | null
  /** Of a callback. */
  delivered?: { text: string; sha256: string; noise: model.Unusable | null; isStranger: boolean }
}

/**
 * Plays a story through the doors of the real service and, beside it, on the model; they must agree
 * after each step.
 */
export async function play(steps: readonly Step[]) {
  const run = new Play(world())
  try {
    for (const step of steps) await run.step(step)
    await run.end()
  } finally {
    await run.here.driver.close()
  }
}

type Method = (...values: never[]) => Promise<unknown>
type Methods = {
  [Facet in keyof Ledger]: {
    [Name in keyof Ledger[Facet] & string as `${Facet}.${Name}`]: Ledger[Facet][Name]
  }
}[keyof Ledger]
/** Every method of the ledger, by `facet.name`. */
type Calls = (
  Methods extends infer Union ? (Union extends unknown ? (of: Union) => void : never) : never
) extends (of: infer All) => void
  ? All
  : never

/** What the model hears of each call of the ledger that was done. */
type Heard = {
  [Name in keyof Calls]?: Calls[Name] extends (...args: infer Args) => Promise<infer Result>
    ? (args: Args, result: Result) => void
    : never
}

class Play {
  readonly here: World
  private readonly stories = new Map<string, model.Story>()
  private readonly keys = new Map<string, { id: string; prompt: string }>()
  private readonly known = new Map<string, Result>()
  private readonly pages = new Map<LinkName, Page>()
  private readonly shown = new Map<string, model.Downloaded>()
  private readonly versions = new Map<string, number>()
  private readonly wrong: string[] = []
  /** Stories that something may have happened to since they were looked at. */
  private readonly touched = new Set<string>()
  private tellings: Telling[] = []
  private hesitating: {
    id: string
    answer: (reply: Exclude<Reply, 'hesitates'>) => void
    posted: Promise<unknown>
  }[] = []
  private storeWorks = true
  private closedUntil = 0
  private isPosting = false
  private busy = 0
  private dies: Death | null = null
  private isDead = false

  constructor(here: World) {
    this.here = here
    const { deps, store } = here
    const put = store.put.bind(store)
    store.put = (...args) =>
      this.while(() => (this.storeWorks ? put(...args) : Promise.reject(new Error('away'))))
    deps.get = (url) => this.while(() => this.download(url.href))
    deps.provider = {
      ...deps.provider,
      submit: (request, to) => this.submitted(request.prompt ?? '', to.trackId),
      fetch: (id) => this.asked(id),
    }
    deps.ledger = this.watched(deps.ledger)
    this.hurry()
  }

  async step(step: Step) {
    this.dies = ('dies' in step && step.dies) || null
    await this.take(step)
    this.dies = null
    if (this.isDead) await this.restart()
    await this.check()
  }

  /** Everything that is owed is paid in time, and what is final stays what it is. */
  async end() {
    if (this.hesitating.length > 0) await this.restart()
    this.storeWorks = true
    for (const id of this.stories.keys()) {
      const result = this.known.get(id) ?? 'page'
      if (typeof result === 'string' || !isDecisive(result)) this.known.set(id, FAILED)
    }
    for (let turns = 0; turns < 400 && !(await this.isAtRest()); turns++) {
      this.here.clock.advance(turns < 100 ? 700 : 7000)
      await this.turn()
    }
    await this.check()
    for (const story of this.stories.values()) {
      expect({ ...(await this.debts(story.id)), story, isAtRest: model.isAtRest(story) }).toEqual({
        fetch_due_at: null,
        record_due_at: null,
        story,
        isAtRest: true,
      })
      await compareHistory(this.here, story)
    }
  }

  private async take(step: Step) {
    switch (step.do) {
      case 'submit':
        return this.submit(step.replies, step.key)
      case 'answer':
        return this.answer(step.reply)
      case 'callback':
        return this.callbacks(this.storyAt(step.of).id, step.bodies, step.beside)
      case 'stranger':
        return this.callbacks(newId(this.here.clock.now), [step.body], false)
      case 'forged':
        return this.forged(this.storyAt(step.of).id)
      case 'flood':
        for (let n = 0; n < 22; n++)
          await this.callbacks(this.storyAt(step.of).id, [{ ...PROCESSING, n: 100 + n }], false)
        return
      case 'knows':
        this.known.set(this.storyAt(step.of).id, step.result)
        return
      case 'page':
        this.pages.set(step.link, step.page)
        return
      case 'store':
        this.storeWorks = step.works
        return
      case 'pass':
        this.here.clock.advance(step.seconds)
        for (let turn = 0; turn < step.turns && !this.isDead; turn++) await this.turn()
        return
      case 'restart':
        return this.restart()
      case 'retry':
        await this.here.call(`/v1/generations/${this.storyAt(step.of).id}/retry`, {
          method: 'POST',
        })
    }
  }

  private storyAt(of: number) {
    const all = [...this.stories.values()]
    const story = all.at(-1 - (of % all.length))
    if (!story) throw new Error('a story begins with a submission')
    this.touched.add(story.id)
    return story
  }

  private story(id: string) {
    const story = this.stories.get(id)
    if (!story) throw new Error(`nobody submitted ${id}`)
    this.touched.add(id)
    return story
  }

  // What the client and the provider do

  private async submit(replies: Reply[], key: string | null) {
    const prompt = JSON.stringify(replies)
    const headers: Record<string, string> = key === null ? {} : { 'idempotency-key': key }
    const winner = key === null ? undefined : this.keys.get(key)
    this.isPosting = true
    const progress = { isAnswered: false }
    const hesitated = this.hesitating.length
    const posted = this.here
      .call('/v1/generations', {
        method: 'POST',
        body: JSON.stringify({ ...sampleBody, prompt }),
        headers,
      })
      .finally(() => (progress.isAnswered = true))
    while (!progress.isAnswered && this.hesitating.length === hesitated) await turnOfTheLoop()
    this.isPosting = false
    const asked = this.hesitating[hesitated]
    if (asked) {
      asked.posted = posted
      return
    }
    const response = await posted
    if (this.isDead) return
    const expected = winner && winner.prompt !== prompt ? 422 : 202
    this.claim(
      response.status === expected,
      `a submission was answered ${response.status}, not ${expected}`,
    )
    if (winner && expected === 202) {
      const { id } = (await response.json()) as { id: string }
      this.claim(
        id === winner.id && response.headers.get('idempotency-replayed') === 'true',
        'a key was used for two',
      )
    }
  }

  /** How the provider answers the submission of `id`: as its prompt says, then by accepting it. */
  private submitted(prompt: string, id: string): Promise<Answer> {
    const story = this.story(id)
    this.claim(story.submission === 'out' && story.sent === 0, `${id} was submitted twice`)
    story.sent += 1
    const replies = JSON.parse(prompt) as Reply[]
    const reply = replies[story.tries++] ?? PROCESSING
    if (reply !== 'hesitates') return Promise.resolve(this.replied(id, reply))
    if (!this.isPosting) return Promise.resolve(this.replied(id, 'lost'))
    return new Promise((resolve) => {
      this.hesitating.push({
        id,
        answer: (later) => resolve(this.replied(id, later)),
        posted: Promise.resolve(),
      })
    })
  }

  private async answer(reply: Reply) {
    const [first, ...others] = this.hesitating
    if (!first) return
    this.hesitating = others
    first.answer(reply === 'hesitates' ? 'lost' : reply)
    await first.posted
  }

  private replied(id: string, reply: Exclude<Reply, 'hesitates'>): Answer {
    if (typeof reply !== 'string') {
      this.tellings.push({ id, road: 'reply', message: messageOf(id, reply) })
      return readReply(200, textOf(id, reply), null)
    }
    const answer = answerOf(reply)
    if (answer.status !== 'held') this.tellings.push({ id, road: 'reply', message: null })
    return answer
  }

  private asked(providerId: string): Promise<Answer> {
    const story = [...this.stories.values()].find((one) => one.providerId === providerId)
    if (!story) throw new Error(`nobody is ${providerId}`)
    this.claim(model.mayBeAsked(story), `${story.id} was asked for in vain`)
    const result = this.known.get(story.id) ?? PROCESSING
    const message = typeof result === 'string' ? null : messageOf(story.id, result)
    this.tellings.push({ id: story.id, road: 'fetch', message })
    if (result === 'page') return Promise.resolve(readFetch(502, '<h1>Bad Gateway</h1>', null))
    if (result === 'full')
      return Promise.resolve(
        readFetch(429, '{"status":"error","message":"Rate limit exceeded."}', 30),
      )
    return Promise.resolve(readFetch(200, textOf(story.id, result), null))
  }

  private async callbacks(id: string, bodies: Body[], beside: boolean) {
    const isStranger = !this.stories.has(id)
    if (beside && !isStranger) {
      await Promise.all([...bodies.map((body) => this.callback(id, body, false)), this.turn()])
      return
    }
    for (const body of bodies) if (!this.isDead) await this.callback(id, body, isStranger)
  }

  private async callback(id: string, body: Body, isStranger: boolean) {
    const noise = 'noise' in body ? body.noise : null
    const text = 'noise' in body ? noiseOf(body, id) : textOf(id, body)
    const kept = noise === 'too_large' ? `${text.slice(0, 4096)}…` : text
    const message = 'noise' in body ? null : messageOf(id, body)
    const telling: Telling = {
      id,
      road: 'callback',
      message,
      delivered: { text, sha256: sha256(new TextEncoder().encode(kept)), noise, isStranger },
    }
    this.tellings.push(telling)
    const { status } = await this.here.callback(id, text)
    if (this.isDead) return
    this.claim(
      status === (noise === 'too_large' ? 413 : 200),
      `a callback was answered ${status}: ${String(this.here.logged.at(-1)?.fields['error'])}`,
    )
    this.claim(
      !this.tellings.includes(telling),
      `a callback was answered and not kept: ${text.slice(0, 200)}`,
    )
  }

  private async forged(id: string) {
    const path = new URL(this.here.deps.callbackUrl(id)).pathname
    const mac = path.endsWith('0') ? '1' : '0'
    const { status } = await this.here.call(path.slice(0, -1) + mac, {
      method: 'POST',
      body: textOf(id, { ...PROCESSING, says: 'failed' }),
      token: null,
    })
    this.claim(status === 404, `a forged callback was answered ${status}`)
  }

  private async turn() {
    try {
      await this.here.turn()
      await recordDue(this.here.deps, 100)
    } catch (error) {
      if (!(error instanceof Died)) throw error
    }
  }

  /** What was under way ends in nothing, and the service starts on the same files. */
  private async restart() {
    this.isDead = true
    do await turnOfTheLoop()
    while (this.busy > 0)
    for (let n = 0; n < 5; n++) await turnOfTheLoop()
    this.isDead = false
    this.tellings = []
    this.hesitating = []
    await this.here.restart()
    this.here.deps.ledger = this.watched(this.here.deps.ledger)
    this.hurry()
    await this.here.deps.ledger.expire.writeAbandoned(Number.MAX_SAFE_INTEGER, this.here.clock.now)
    for (const id of this.stories.keys())
      if (this.story(id).submission === 'out') model.unanswered(this.story(id))
  }

  /** Nobody pulls the plug here: what is written need not reach the disk. */
  private hurry() {
    this.here.sqlite.db.$client.pragma('synchronous = OFF')
  }

  // What the model is told

  /** The ledger, whose every word the model hears, and in which the process may die. */
  private watched(ledger: Ledger): Ledger {
    const watch =
      (name: string, method: Method) =>
      async (...args: never[]) => {
        this.mayDie(name, 'before')
        const result = await method(...args)
        this.note(name, args, result)
        this.mayDie(name, 'after')
        return result
      }
    const facets = Object.entries(ledger as unknown as Record<string, Record<string, Method>>)
    return Object.fromEntries(
      facets.map(([facet, methods]) => [
        facet,
        Object.fromEntries(
          Object.entries(methods).map(([name, method]) => [
            name,
            watch(`${facet}.${name}`, method),
          ]),
        ),
      ]),
    ) as unknown as Ledger
  }

  private mayDie(name: string, when: Death['when']) {
    if (this.dies?.at === name && this.dies.when === when) this.isDead = true
    if (this.isDead) throw new Died()
  }

  private note(name: string, args: unknown[], result: unknown) {
    const heard = this.heard[name as keyof Heard] as unknown as
      ((args: unknown[], result: unknown) => void) | undefined
    heard?.(args, result)
  }

  private readonly heard: Heard = {
    'submit.write': (args, result) => this.noteRequested(args, result),
    'held.claim': (_, id) => {
      if (id !== null) this.noteSent(id)
    },
    'held.writeRefusal': (args) => this.noteRefused(args),
    'settle.writeRecovered': ([id]) => this.noteRecovered(id),
    'settle.writeRepeat': ([, { bodySha256 }]) => this.noteRepeated(bodySha256),
    'settle.writeDecision': (args, won) => {
      if (won) this.noteSettled(args)
    },
    'archive.writeArchived': ([image, { url }, , places]) =>
      this.noteTried(image, url, true, places),
    'archive.writeFailed': ([image, { place }, places], wasWritten) => {
      if (wasWritten) this.noteTried(image, place.url, false, places)
    },
    'expire.writeExpired': () => {
      for (const story of this.stories.values())
        if (model.outOfTime(story, this.here.clock.now)) this.touched.add(story.id)
    },
    'promise.writeTried': ([{ id }], begun) => {
      if (begun) model.tryPromised(this.story(id), this.here.clock.now)
    },
    'retry.write': ([id, , now]) => model.retried(this.story(id), now),
  }

  private noteRequested(
    [{ id, idempotencyKey, request, requestedAt }]: Parameters<Calls['submit.write']>,
    result: string,
  ) {
    const isTaken = idempotencyKey !== null && this.keys.has(idempotencyKey)
    this.claim(isTaken === (result === 'taken'), `an Idempotency-Key was found ${result}`)
    if (result === 'taken') return
    if (idempotencyKey !== null) this.keys.set(idempotencyKey, { id, prompt: request.prompt ?? '' })
    this.stories.set(id, model.begun(id, requestedAt))
    if (result === 'sent') this.noteSent(id)
  }

  private noteSent(id: string) {
    const story = this.story(id)
    const others = [...this.stories.values()].filter((one) => one !== story && model.waits(one))
    this.claim(model.waits(story), `${id} was sent and did not wait`)
    this.claim(
      others.every((other) => model.goesBefore(story, other)) ||
        story.requestedAt > this.here.clock.now,
      `${id} was sent before its turn`,
    )
    this.claim(!this.isClosed(), `${id} was sent too early`)
    story.submission = 'out'
    story.departures += 1
  }

  private noteRefused([id, { full, isOwn }]: Parameters<Calls['held.writeRefusal']>) {
    const story = this.story(id)
    if (story.status !== 'requested') return
    model.heldBack(story, isOwn, [...this.stories.values()])
    if (full)
      this.closedUntil = Math.max(
        this.isClosed() ? this.closedUntil : 0,
        this.here.clock.now + FULL_SECONDS * 1000,
      )
  }

  /** A clock that was set back makes no wait longer than the longest there is. */
  private isClosed() {
    const leftMs = this.closedUntil - this.here.clock.now
    return leftMs > 0 && leftMs <= 15 * 60_000
  }

  private noteRecovered(id: string) {
    if (!this.stories.has(id)) this.stories.set(id, model.adopted(id, uuidTime(id) ?? 0))
  }

  private noteRepeated(bodySha256: string) {
    const { id, delivered } = this.told((one) => one.delivered?.sha256 === bodySha256)
    const kept = this.story(id).callbacks.find(({ text }) => text === delivered?.text)
    if (kept) kept.count += 1
    this.claim(kept !== undefined, 'a new callback was taken for a repeated one')
  }

  private noteSettled([{ generation }, { road, callback }]: Parameters<
    Calls['settle.writeDecision']
  >) {
    const telling = this.told((one) =>
      callback
        ? one.delivered?.sha256 === callback.bodySha256
        : one.id === generation.id && one.road === road,
    )
    const { message, delivered } = telling
    const story = this.story(generation.id)
    const decision = delivered?.noise
      ? model.unusable(story, delivered.noise)
      : message
        ? model.hear(story, road, message, this.here.clock.now)
        : road === 'reply'
          ? (model.unanswered(story), '')
          : ''
    if (!delivered) return
    this.claim(
      !story.callbacks.some(({ text }) => text === delivered.text),
      'a repeated callback was taken for a new one',
    )
    const isRecovered = delivered.isStranger && !delivered.noise
    story.callbacks.push({
      text: delivered.text,
      decision: isRecovered ? 'recovered' : decision,
      count: 1,
    })
  }

  private noteTried(
    image: ClaimedImage,
    url: string,
    cameHome: boolean,
    places: { url: string }[],
  ) {
    const story = this.story(image.generationId)
    const picture = story.pictures.find(
      ({ source, position }) => source === image.source && position === image.position,
    )
    const what = this.shown.get(url)
    if (!picture || !what)
      throw new Error(`${image.source} ${image.position} of ${story.id} was copied from ${url}`)
    // Another's copy may have served this one meanwhile; it serves those that waited all the same.
    if (cameHome && picture.state === 'archived') model.cameHome(story, url)
    else model.tried(story, picture, url, what, this.here.clock.now)
    if (picture.state !== 'pending') model.forget(story, places)
  }

  private told(is: (telling: Telling) => boolean) {
    const telling = this.tellings.find(is)
    if (!telling) throw new Error('something was settled that nobody told')
    this.tellings = this.tellings.filter((one) => one !== telling)
    return telling
  }

  // What must be so

  private claim(holds: boolean, otherwise: string) {
    if (!holds) this.wrong.push(otherwise)
  }

  private async check() {
    expect(this.wrong).toEqual([])
    for (const id of this.touched) {
      const story = this.stories.get(id)
      if (!story) continue
      const version = await compare(this.here, story)
      expect(version).toBeGreaterThanOrEqual(this.versions.get(id) ?? 0)
      this.versions.set(id, version)
    }
    this.touched.clear()
  }

  private async debts(id: string) {
    const [owed] = await this.here.db.all<Record<string, number | null>>(
      sql`select fetch_due_at, record_due_at from generations where id = ${id}`,
    )
    return owed
  }

  private async isAtRest() {
    const open = await this.here.db.all(sql`
      select 1 from generations
      where fetch_due_at is not null or record_due_at is not null or status not in ('succeeded', 'failed')
      union select 1 from images where status = 'pending'`)
    return open.length === 0
  }

  // Words

  private async while<T>(work: () => Promise<T>) {
    this.busy += 1
    try {
      return await work()
    } finally {
      this.busy -= 1
    }
  }

  private async download(url: string): Promise<GetResponse> {
    await turnOfTheLoop()
    const page = this.pages.get(linkIn(url)) ?? 'whole'
    const what = DOWNLOADED[page]
    const isStored = this.storeWorks || (what !== 'whole' && what !== 'short')
    this.shown.set(url, isStored ? what : 'not stored')
    return pageOf(url, page)
  }
}
