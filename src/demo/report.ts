import type { Config } from '../config.ts'
import type { Client, Generation, TimelineEvent } from './client.ts'
import type { Story } from './stories.ts'
import { table } from '../commands/terminal/table.ts'

/** A story, and how far it got. */
export interface Told {
  story: Story
  generation: Generation
  tookMs: number | null
}

const HEAD = ['generation', 'status', 'archive', 'nsfw', 'copies', 'seconds']

/** A line a generation and, under it, what happened to it: one table would be too wide. */
export async function report(api: Client, told: Told[]) {
  const notes = await Promise.all(
    told.map(async ({ generation }) => whatHappened(await api.timeline(generation.id), generation)),
  )
  const [head = '', ...rows] = table([HEAD, ...told.map(row)]).split('\n')
  return [head, ...rows.flatMap((line, n) => (notes[n] ? [line, `    ${notes[n]}`] : [line]))].join(
    '\n',
  )
}

function row({ story, generation, tookMs }: Told) {
  const archived = generation.images.filter(({ status }) => status === 'archived').length
  return [
    story.name,
    generation.status,
    generation.archive_status,
    generation.nsfw.verdict,
    `${archived}/${generation.images.length}`,
    tookMs === null ? 'not ended' : (tookMs / 1000).toFixed(1),
  ]
}

/** The timeline in a few words. */
function whatHappened(events: TimelineEvent[], generation: Generation) {
  const count = (wanted: string) => events.filter(({ event }) => event === wanted).length
  const callbacks = events
    .filter(({ event }) => event === 'callback')
    .reduce((sum, { detail }) => sum + (detail.count ?? 0), 0)
  return [
    generation.failure?.code,
    count('held') > 0 && 'held, then sent',
    events.some(({ event, detail }) => event === 'replied' && detail.status === 'unreadable') &&
      'no readable reply',
    callbacks === 0 ? 'no callback' : callbacks > 1 && `${callbacks} callbacks`,
    count('fetched') > 0 && 'asked the provider',
    count('attempt') > 0 && `${count('attempt')} failed downloads`,
  ]
    .filter(Boolean)
    .join(', ')
}

interface Kept {
  url: string
  config: Pick<Config, 'databasePath' | 's3' | 'objectsDir'>
}

/**
 * Commands to be pasted as they are; `call` is how ours are called. `token` is null where nobody
 * serves any more.
 */
export function whereToLook({ url, config }: Kept, call: string, token: string | null) {
  const door = [
    `curl -s '${url}/v1/generations?nsfw=flagged' \\`,
    `  -H 'authorization: Bearer ${token ?? ''}'`,
  ]
  const ledger = `DATABASE_PATH=${config.databasePath}`
  const kept = config.s3
    ? [`${ledger} ${call} verify`]
    : [
        `${ledger} OBJECTS_DIR=${config.objectsDir} \\`,
        `  ${call} verify`,
        `ls -R ${config.objectsDir}`,
      ]
  const where = config.s3 ? `Look at the bucket ${config.s3.bucket}, and at` : 'Look at'
  return [where, '', ...[...(token === null ? [] : door), ...kept].map((line) => `  ${line}`)].join(
    '\n',
  )
}
