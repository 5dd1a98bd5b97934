import { extname } from 'node:path'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import Database from 'better-sqlite3'

/** What the thread says to each task, in the order in which it was asked. */
type Answer<T> = { value: T } | { error: { message: string; code: string | null } }

/** What is asked to end. */
const CLOSE = 'close'

interface AskedThread<Task, T> {
  /**
   * Rejects with the failure that the thread met, which goes on. Throws where the task cannot be
   * handed over.
   */
  ask: (task: Task) => Promise<T>
  close: () => Promise<void>
}

/**
 * The thread that `<name>.thread.node` beside this file is, for the ledger at `path`. One that ends
 * unasked ends the process with it: what it did could not be done any more, and the next start
 * finds all that was answered.
 */
export function askedThread<Task, T>(name: string, path: string): AskedThread<Task, T> {
  const file = new URL(`${name}.thread.node${extname(import.meta.url)}`, import.meta.url)
  const thread = new Worker(file, { workerData: path })
  const ended = new Promise<void>((resolve) => thread.once('exit', () => resolve()))
  const waiting: { resolve: (value: T) => void; reject: (error: Error) => void }[] = []
  let closing = false
  thread
    .on('message', (answer: Answer<T>) => {
      const asked = waiting.shift()
      if ('value' in answer) asked?.resolve(answer.value)
      else asked?.reject(failure(answer.error))
    })
    .on('error', (error) => {
      throw error
    })
    .on('exit', () => {
      if (!closing) throw new Error(`the thread of ${file.pathname} has ended`)
    })
  return {
    ask: (task) => {
      if (closing) throw new Error('the ledger is closed')
      thread.postMessage(task)
      return new Promise((resolve, reject) => {
        waiting.push({ resolve, reject })
      })
    },
    close: async () => {
      closing = true
      thread.postMessage(CLOSE)
      await ended
    },
  }
}

/** What a thread does for a ledger. */
interface Answering<Task> {
  answer: (task: Task) => unknown
  close: () => void
}

/** The other side: answers what comes, one after the other, and closes in the end. */
export function answerTasks<Task>(open: (path: string) => Answering<Task>) {
  if (!parentPort) throw new Error('this file is to be run by a thread')
  const port = parentPort
  const { answer, close } = open(String(workerData))
  let last = Promise.resolve()
  port.on('message', (task: unknown) => {
    last = last.then(async () => {
      if (task !== CLOSE) {
        port.postMessage(await attempt(() => answer(task as Task)))
        return
      }
      close()
      port.close()
    })
  })
}

async function attempt(work: () => unknown): Promise<Answer<unknown>> {
  try {
    return { value: await work() }
  } catch (error) {
    const { message } = error instanceof Error ? error : new Error(String(error))
    return { error: { message, code: error instanceof Database.SqliteError ? error.code : null } }
  }
}

const failure = ({ message, code }: { message: string; code: string | null }) =>
  code === null ? new Error(message) : new Database.SqliteError(message, code)
