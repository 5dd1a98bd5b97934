import type { Submission } from '../../src/simulator/journal.ts'
import type { Client, Shown } from './client.ts'

export type Figure = [what: string, figure: string]

interface Counted {
  client: Client
  generations: Shown[]
  submissions: Submission[]
  kills: number
  startsMs: number[]
  tookMs: number
}

export function figures({
  client,
  generations,
  submissions,
  kills,
  startsMs,
  tookMs,
}: Counted): Figure[] {
  const callbacks = submissions.flatMap((submission) => submission.callbacks)
  const images = generations.flatMap((generation) => generation.images)
  const count = <T>(list: readonly T[], is: (one: T) => boolean) => String(list.filter(is).length)
  const statuses = [...new Set(generations.map(({ status }) => status))].toSorted()
  return [
    ['seconds', (tookMs / 1000).toFixed(1)],
    ['kills', String(kills)],
    [
      'start, median and longest',
      `${Math.round(median(startsMs))} ms, ${Math.round(Math.max(...startsMs))} ms`,
    ],
    ['requests answered', String(client.answered.size)],
    ['requests repeated', String(client.unanswered)],
    ['submissions', String(submissions.length)],
    ['  refused for now', count(submissions, ({ state }) => state === 'refused')],
    ['callbacks delivered', String(callbacks.length)],
    ['  answered 200', count(callbacks, ({ answer }) => answer === 200)],
    ['  not answered', count(callbacks, ({ answer }) => answer === null)],
    ['generations', String(generations.length)],
    ...statuses.map((status): Figure => [
      `  ${status}`,
      count(generations, (one) => one.status === status),
    ]),
    ['images', String(images.length)],
    ['  archived', count(images, ({ status }) => status === 'archived')],
    ['  lost', count(images, ({ status }) => status === 'lost')],
    [
      'different objects',
      String(new Set(images.flatMap(({ object_key }) => object_key ?? [])).size),
    ],
  ]
}

const median = (list: number[]) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0
