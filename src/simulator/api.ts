import type { HttpBindings } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { Hono, type Context } from 'hono'
import { describe, firstHalf, statusOf, type Answer } from './answer.ts'
import { fetchAnswer } from './fetch-answers.ts'
import { Refusal } from './refusal.ts'
import { checkKey, submit } from './submit.ts'
import type { World } from './world.ts'

interface Env {
  Bindings: HttpBindings
}

const IMAGES = '/api/:version{v[67]}/images'

/** The provider's own door, and the simulator's journal. */
export function api(world: World) {
  return new Hono<Env>()
    .post(`${IMAGES}/inpaint`, async (c) => {
      const { outgoing } = c.env
      const replied = new Promise<void>((resolve) => outgoing.once('close', resolve))
      const body = await readJson(c)
      return send(c, await submit(world, { body, key: readKey(c, body), replied }))
    })
    .post(`${IMAGES}/fetch/:id`, async (c) =>
      send(c, fetched(world, c, await readJson(c), c.req.param('id'))),
    )
    .post(`${IMAGES}/fetch`, async (c) => {
      const body = await readJson(c)
      return send(c, fetched(world, c, body, field(body, 'request_id')))
    })
    .get('/simulator/journal', (c) => c.json(world.journal.submissions()))
    .notFound((c) =>
      c.json(new Refusal(`The simulator has no ${c.req.method} ${c.req.path}.`).body, 404),
    )
    .onError((error, c) => {
      if (error instanceof Refusal) return c.json(error.body)
      if (!world.background.over)
        world.log(`${c.req.method} ${c.req.path} broke: ${error.stack ?? error.message}`)
      return c.json(new Refusal('The simulator broke; its log says how.').body, 500)
    })
}

function fetched(world: World, c: Context<Env>, body: unknown, id: unknown) {
  checkKey(world, readKey(c, body))
  const job = world.jobs.find(id)
  if (!job) world.log(`fetch ${JSON.stringify(id)}: no such id`)
  if (!job) throw new Refusal('The requested image was not found.')
  const answer = fetchAnswer(world, job)
  job.submission.fetches.push({ at: world.now(), code: answer.code, status: statusOf(answer) })
  world.journal.changed()
  world.log(`fetch ${job.id}: ${describe(answer)}`)
  return answer
}

function send(c: Context<Env>, answer: Answer) {
  switch (answer.kind) {
    case 'json':
      return c.json(answer.body, answer.code)
    case 'page':
      return c.html(
        `<html><title>${answer.code}</title><h1>Something went wrong</h1></html>`,
        answer.code,
      )
    case 'text':
      return c.body(answer.text, answer.code, { 'content-type': 'application/json' })
    case 'cut':
      return cut(c, JSON.stringify(answer.body))
  }
}

function cut(c: Context<Env>, json: string) {
  const { outgoing } = c.env
  outgoing.writeHead(200, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(json),
  })
  outgoing.write(firstHalf(json), () => outgoing.destroy())
  return RESPONSE_ALREADY_SENT
}

/** Null where the body is no JSON. */
async function readJson(c: Context<Env>): Promise<unknown> {
  try {
    return JSON.parse(await c.req.text())
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}

/** From the body, a `key` header, or `Authorization: Bearer`; empty where there is none. */
function readKey(c: Context<Env>, body: unknown) {
  const key =
    field(body, 'key') ??
    c.req.header('key') ??
    c.req.header('authorization')?.replace(/^Bearer /i, '')
  return typeof key === 'string' ? key : ''
}

function field(body: unknown, name: string) {
  return (body as Record<string, unknown> | null)?.[name]
}
