import { createLedger } from '../ledger.ts'
import { answerTasks } from './asked-thread.node.ts'
import type { ListTask } from './lists.node.ts'
import { readSqlite } from './sqlite.node.ts'

answerTasks((path) => {
  const { close, ...driver } = readSqlite(path)
  const { generations } = createLedger(driver)
  return { answer: ({ filter, limit }: ListTask) => generations.list(filter, limit), close }
})
