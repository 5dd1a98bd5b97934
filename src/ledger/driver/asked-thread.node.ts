import { type MessagePort, Worker } from 'node:worker_threads'
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
 * A thread that runs `file` on `workerData`. One that ends unasked ends the process with it: what
 * it did could not be done any more, and the next start finds all that was answered.
 */
export function askedThread<Task, T>(file: URL, workerData: object): AskedThread<Task, T> {
  const thread = new Worker(file, { workerData })
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

/**
 * The other side: answers what comes on `port`, one after the other, and calls `close` in the end.
 */
export function answerTasks(
  port: MessagePort,
  answer: (task: never) => unknown,
  close: () => void,
) {
  let last = Promise.resolve()
  port.on('message', (task: unknown) => {
    last = last.then(async () => {
      if (task !== CLOSE) {
        port.postMessage(await attempt(() => answer(task as never)))
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
