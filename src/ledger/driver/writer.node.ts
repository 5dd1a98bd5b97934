import { askedThread } from './asked-thread.node.ts'
import type { Writer } from './connection.node.ts'

/** What the thread that writes is asked for. */
export interface WriterTask {
  /** Statements that were not named before: from now on they go by their number, in this order. */
  added: string[]
  lists: [statement: number, params: unknown[]][][]
}

/** Writes on a thread of its own, so that no fsync holds up the event loop. */
export function writerThread(path: string): Writer {
  const numbers = new Map<string, number>()
  const { ask, close } = askedThread<WriterTask, unknown[][][]>('writer', path)
  const numberOf = (sql: string) => {
    const number = numbers.get(sql) ?? numbers.size
    numbers.set(sql, number)
    return number
  }
  let named = 0
  return {
    run: async (groups) => {
      const lists = groups.map((list) =>
        list.map(({ statement, params }): [number, unknown[]] => [numberOf(statement.sql), params]),
      )
      const rows = ask({ added: [...numbers.keys()].slice(named), lists })
      named = numbers.size
      return rows
    },
    close,
  }
}
