import type { GenerationFilter, ListGenerations, WholeGeneration } from '../generations.ts'
import { askedThread } from './asked-thread.node.ts'

/** What the thread that lists is asked for. */
export interface ListTask {
  filter: GenerationFilter
  limit: number
}

/** Lists on a thread of its own: a filter that hardly anything passes looks at all that it might. */
export function listsThread(path: string): { list: ListGenerations; close: () => Promise<void> } {
  const { ask, close } = askedThread<ListTask, WholeGeneration[]>('lists', path)
  return { list: (filter, limit) => ask({ filter, limit }), close }
}
