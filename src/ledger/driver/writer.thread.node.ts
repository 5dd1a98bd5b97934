import { answerTasks } from './asked-thread.node.ts'
import { openForWriting, type Step, transactions } from './connection.node.ts'
import type { WriterTask } from './writer.node.ts'

answerTasks((path) => {
  const client = openForWriting(path)
  // Whoever asks waits by timer instead.
  client.pragma('busy_timeout = 0')
  const run = transactions(client)
  const statements: string[] = []
  const write = ({ added, lists }: WriterTask) => {
    statements.push(...added)
    return run(lists.map((list) => list.map(([n, params]): Step => [statements[n] ?? '', params])))
  }
  return { answer: write, close: () => client.close() }
})
