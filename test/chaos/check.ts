import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { withoutQuery } from '../../src/model/link.ts'
import type { Link, Submission } from '../../src/simulator/jobs/journal.ts'
import { defaultKnobs, readKnobs } from '../../src/simulator/knobs/knob-words.ts'
import type { Knobs } from '../../src/simulator/knobs/knobs.ts'
import { recordKey } from '../../src/json/record.ts'
import type { Client, Event, Shown } from './client.ts'
import { USUAL } from './stories.ts'

type Image = Shown['images'][number]

/** Everything that is known in the end, by both sides. */
interface Evidence {
  client: Client
  generations: Shown[]
  submissions: Submission[]
  /** Where the objects are. */
  objects: string
}

/**
 * Compares what was answered, submitted and delivered with what is there; returns what is wrong, a
 * sentence each.
 */
export async function check(evidence: Evidence): Promise<string[]> {
  const problems = [...missing(evidence), ...sentTwice(evidence)]
  for (const generation of evidence.generations)
    problems.push(...(await wrongWith(evidence, generation)))
  return problems
}

function missing({ client, generations, submissions }: Evidence) {
  const known = new Map(generations.map(({ id, prompt }) => [id, prompt]))
  const prompts = generations.map(({ prompt }) => prompt)
  return [
    ...[...client.answered]
      .filter(([id, prompt]) => known.get(id) !== prompt)
      .map(([id]) => `${id}: its request was answered 202, and it is not there`),
    ...submissions
      .filter(({ trackId }) => !known.has(trackId ?? ''))
      .map(({ trackId }) => `${String(trackId)}: was submitted, and is not there`),
    ...repeated(prompts).map(
      (prompt) => `${String(prompt)}: one request became several generations`,
    ),
  ]
}

/** A submission that was refused for too many queued requests is sent again; no other ever is. */
function sentTwice({ submissions }: Evidence) {
  const mayCost = submissions.filter(
    ({ reply }) => reply === null || reply === 'cut' || !wasHeld(reply),
  )
  return repeated(mayCost.map(({ trackId }) => trackId)).map(
    (id) => `${String(id)}: was submitted twice`,
  )
}

const wasHeld = ({ code }: Exclude<NonNullable<Submission['reply']>, 'cut'>) => code === 429

async function wrongWith(evidence: Evidence, generation: Shown) {
  const { id, prompt } = generation
  const knobs = readKnobs(prompt, { ...defaultKnobs, ...USUAL })
  const submission = evidence.submissions.findLast(({ trackId }) => trackId === id)
  const events = await evidence.client.timeline(id)
  const problems = [
    ...unfinished(generation),
    ...callbacksLost(submission, events),
    ...resultLost(generation, knobs, submission),
    ...generation.images.flatMap((image) => imageLost(image, knobs, submission, events)),
    ...(await objectsWrong(evidence, generation, submission)),
    ...(await recordWrong(evidence.objects, generation)),
  ]
  return problems.map((problem) => `${id} (${String(prompt)}): ${problem}`)
}

const isFinal = ({ status, archive_status }: Shown) =>
  ['succeeded', 'failed'].includes(status) && archive_status !== 'pending'

function unfinished(generation: Shown) {
  const { status, archive_status, failure } = generation
  if (!isFinal(generation)) return [`is not final: ${status}, ${archive_status}`]
  return status === 'failed' && !failure ? ['failed, and does not say why'] : []
}

function callbacksLost(submission: Submission | undefined, events: Event[]) {
  const answered = submission?.callbacks.filter(({ answer }) => answer === 200).length ?? 0
  const kept = events
    .filter(({ event }) => event === 'callback')
    .reduce((sum, { detail }) => sum + Number(detail['count']), 0)
  return kept < answered ? [`${answered} callbacks were answered 200, and ${kept} are kept`] : []
}

/** It was told of success, or knows whom to ask; and nobody said that it failed. */
function resultLost(
  { status, provider_id, images }: Shown,
  knobs: Knobs,
  submission: Submission | undefined,
) {
  if (submission?.state !== 'success' || knobs.result !== 'images') return []
  const told = (status: string) =>
    submission.callbacks.some((one) => one.answer === 200 && one.status === status)
  // One whose answer was lost with the process may have been kept.
  const mayKnowFailure = submission.callbacks.some((one) => one.status === 'failed')
  const failed = mayKnowFailure || knobs.fetch === 'failed' || knobs.fetch === 'error'
  if (!told('success') && (provider_id === null || failed)) return []
  if (status !== 'succeeded') return [`its result could be had, and it is ${status}`]
  const positions = new Set(
    submission.links.filter(({ other }) => !other).map(({ position }) => position),
  )
  const offered = knobs.outputs_shape === 'text' ? 1 : positions.size
  const has = new Set(
    images.filter(({ source }) => source === 'output').map(({ position }) => position),
  )
  return has.size < offered ? [`${offered} outputs could be had, and it knows of ${has.size}`] : []
}

function imageLost(
  image: Image,
  knobs: Knobs,
  submission: Submission | undefined,
  events: Event[],
) {
  const { source, position, status, suspect, failure } = image
  const name = `${source} ${position}`
  const link = linkOf(image, submission)
  const fate = (link?.source ?? source) === 'output' ? knobs.outputs : knobs.proxies
  const archived = events.filter(
    ({ event, detail }) =>
      event === 'archived' && detail['source'] === source && detail['position'] === position,
  ).length
  if (fate === 'dead') {
    if (knobs.unready === 'half' && suspect !== 'truncated')
      return [`${name}: a cut-short copy could be had`]
    return status === 'lost' && !failure ? [`${name} is lost, and does not say why`] : []
  }
  if (status !== 'archived')
    return [`${name} could be had, and is ${status} (${failure?.code ?? 'no reason'})`]
  if (suspect !== null) return [`${name} could be had whole, and is ${suspect}`]
  return archived === 1 ? [] : [`${name} was archived ${archived} times`]
}

/**
 * The bytes are those of their hash; and those that the link shows, where it needs no signature and
 * is whole.
 */
async function objectsWrong(
  { objects }: Evidence,
  { images, prompt }: Shown,
  submission: Submission | undefined,
) {
  const wrong: string[] = []
  for (const image of images.filter(({ status }) => status === 'archived')) {
    const name = `${image.source} ${image.position}`
    const bytes = await readFile(join(objects, image.object_key ?? '')).catch(() => null)
    const link = linkOf(image, submission)
    if (!bytes || sha256(bytes) !== image.sha256)
      wrong.push(`${name}: its object ${bytes ? 'is another' : 'is missing'}`)
    else if (
      link &&
      image.suspect === null &&
      isPlain(prompt) &&
      sha256(await download(link.url)) !== image.sha256
    )
      wrong.push(`${name}: its object is not what its link shows`)
  }
  return wrong
}

const isPlain = (prompt: string | null) => !/signed=|encoding=|slow=/u.test(prompt ?? '')

async function download(url: string) {
  return Buffer.from(await (await fetch(url)).arrayBuffer())
}

/** It is final, and its record says so: nothing more is to come. */
export const hasEnded = async (objects: string, generation: Shown) =>
  isFinal(generation) && (await recordWrong(objects, generation)).length === 0

async function recordWrong(objects: string, generation: Shown) {
  const { id, status, archive_status, requested_at } = generation
  const text = await readFile(join(objects, recordKey(id, Date.parse(requested_at))), 'utf8').catch(
    () => null,
  )
  if (text === null) return isFinal(generation) ? ['has no record in the bucket'] : []
  const record = JSON.parse(text) as Shown
  const isSame = record.status === status && record.archive_status === archive_status
  return isSame ? [] : [`its record says ${record.status}, ${record.archive_status}`]
}

const linkOf = ({ source_url }: Image, submission: Submission | undefined): Link | undefined =>
  submission?.links.find(({ url }) => url === withoutQuery(source_url))

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

const repeated = <T>(list: T[]) => {
  const seen = new Set<T>()
  return list.filter((one) => seen.has(one) || !seen.add(one))
}
