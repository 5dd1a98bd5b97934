import { parentPort, workerData } from 'node:worker_threads'
import { createLedger } from '../ledger.ts'
import type { GenerationFilter, WholeGeneration } from '../generations.ts'
import { readSqlite } from './sqlite.node.ts'
import { answerTasks, askedThread } from './asked-thread.node.ts'

interface Task {
  filter: GenerationFilter
  limit: number
}

/**
 * Reads lists on a thread of its own: a filter that hardly anything passes looks at all that it
 * might.
 */
export function listingThread(path: string) {
  const { ask, close } = askedThread<Task, WholeGeneration[]>(new URL(import.meta.url), {
    lists: path,
  } satisfies Job)
  return {
    generations: (filter: GenerationFilter, limit: number) => ask({ filter, limit }),
    close,
  }
}

interface Job {
  lists: string
}

const isJob = (data: unknown): data is Job =>
  typeof data === 'object' && data !== null && 'lists' in data

// This file is what the thread runs, too.
if (parentPort && isJob(workerData)) {
  const { close, ...driver } = readSqlite(workerData.lists)
  const { generations } = createLedger(driver)
  answerTasks(parentPort, ({ filter, limit }: Task) => generations(filter, limit), close)
}
