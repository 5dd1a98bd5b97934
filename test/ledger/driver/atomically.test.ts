import Database from 'better-sqlite3'
import { sql } from 'drizzle-orm'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { LedgerInUse, openSqlite } from '../../../src/ledger/driver/sqlite.node.ts'
import { bind, statement, value } from '../../../src/ledger/statement.ts'
import { builtCli } from '../../support/process/built.ts'

const beat = statement<{ id: number; at: number }, { id: number }>(
  sql`insert into heartbeat (id, at) values (${value('id')}, ${value('at')}) returning id`,
)
const all = statement<object, { id: number; at: number }>(
  sql`select id, at from heartbeat order by id`,
)
const raise = statement<{ id: number }>(
  sql`update heartbeat set at = at + 1 where id = ${value('id')}`,
)
const dependent = statement<{ id: number }>(
  sql`insert into heartbeat (id, at) select ${value('id')}, 0 where changes() > 0`,
)

type Open = (path: string) => ReturnType<typeof openSqlite>

/** A thread runs what Node can run by itself: the sources as they are built. */
async function openWithThread(): Promise<Open> {
  const built = join(dirname(await builtCli()), 'ledger', 'driver')
  const sqlite = (await import(
    join(built, 'sqlite.node.js')
  )) as typeof import('../../../src/ledger/driver/sqlite.node.ts')
  const writer = (await import(
    join(built, 'writer.node.js')
  )) as typeof import('../../../src/ledger/driver/writer.node.ts')
  return (path) => sqlite.openSqlite(path, writer.writerThread)
}

const WRITERS: Record<string, () => Promise<Open>> = {
  'the connection that reads': () => Promise.resolve((path: string) => openSqlite(path)),
  'a thread of its own': openWithThread,
}

/** By its code: what was built is another class. */
const unavailable = expect.objectContaining({ code: 'unavailable' }) as Error

describe.each(Object.entries(WRITERS))('a list written by %s', (_name, writer) => {
  async function ledger() {
    const directory = mkdtempSync(join(tmpdir(), 'afterimage-'))
    const path = join(directory, 'ledger.db')
    const opened = (await writer())(path)
    onTestFinished(async () => {
      await opened.close()
      rmSync(directory, { recursive: true })
    })
    const rows = async () => (await opened.atomically([bind(all, {})]))[0]
    return { ...opened, path, rows }
  }

  it('returns the rows of each statement of a list', async () => {
    const { atomically } = await ledger()
    expect(
      await atomically([bind(beat, { id: 1, at: 5 }), bind(raise, { id: 1 }), bind(all, {})]),
    ).toEqual([[{ id: 1 }], [], [{ id: 1, at: 6 }]])
  })

  it('keeps nothing of a list of which one statement fails', async () => {
    const { atomically, rows } = await ledger()
    await expect(
      atomically([bind(beat, { id: 1, at: 5 }), bind(beat, { id: 1, at: 6 })]),
    ).rejects.toThrow(/UNIQUE/u)
    expect(await rows()).toEqual([])
  })

  it('lets a statement depend on whether the one before it wrote anything', async () => {
    const { atomically, rows } = await ledger()
    await atomically([bind(raise, { id: 1 }), bind(dependent, { id: 2 })])
    await atomically([
      bind(beat, { id: 1, at: 5 }),
      bind(dependent, { id: 3 }),
      bind(dependent, { id: 4 }),
    ])
    expect((await rows()).map(({ id }) => id)).toEqual([1, 3, 4])
  })

  it('shares one transaction between lists that arrive in the same turn', async () => {
    const { atomically, path } = await ledger()
    const walBefore = frames(path)
    await Promise.all(
      Array.from({ length: 50 }, (_, id) => atomically([bind(beat, { id, at: 0 })])),
    )
    // One page of one table is rewritten: fifty transactions would have left fifty frames of it in
    // the log.
    expect(frames(path) - walBefore).toBeLessThan(5)
  })

  it('lets no failing list take down those that came with it', async () => {
    const { atomically, rows } = await ledger()
    const results = await Promise.allSettled([
      atomically([bind(beat, { id: 1, at: 0 })]),
      atomically([bind(beat, { id: 2, at: 0 }), bind(beat, { id: 1, at: 0 })]),
      atomically([bind(beat, { id: 3, at: 0 })]),
    ])
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect((await rows()).map(({ id }) => id)).toEqual([1, 3])
  })

  it.each<[string, unknown]>([
    ['that SQLite takes none of', {}],
    ['that cannot be handed to another thread', () => undefined],
  ])(
    'lets no list with a value %s take down those that come with it or after it',
    async (_what, odd) => {
      const { atomically, rows } = await ledger()
      const never = statement<{ at: unknown }>(sql`update heartbeat set at = ${value('at')}`)

      const results = await Promise.allSettled([
        atomically([bind(beat, { id: 1, at: 0 })]),
        atomically([bind(never, { at: odd })]),
      ])
      await atomically([bind(beat, { id: 2, at: 0 })])

      expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
      expect((await rows()).map(({ id }) => id)).toEqual([1, 2])
    },
  )

  it('waits for somebody else’s write to end, and writes then', async () => {
    const { atomically, path, rows } = await ledger()
    const other = new Database(path)
    other.exec('begin immediate')
    const written = atomically([bind(beat, { id: 1, at: 0 })])
    setTimeout(() => other.exec('commit'), 100)
    await written
    expect(await rows()).toHaveLength(1)
    other.close()
  })

  it('says that it cannot be written when the lock is not freed within a second, and blocks nothing meanwhile', async () => {
    const { atomically, path, rows } = await ledger()
    const other = new Database(path)
    other.exec('begin immediate')
    let turns = 0
    const timer = setInterval(() => turns++, 10)
    await expect(atomically([bind(beat, { id: 1, at: 0 })])).rejects.toEqual(unavailable)
    clearInterval(timer)
    other.exec('rollback')
    other.close()
    expect(turns).toBeGreaterThan(20)
    expect(await rows()).toEqual([])
  })

  it('says that it cannot be written when the disk is full, keeps nothing, and writes again when there is room', async () => {
    const { atomically, db, rows } = await ledger()
    const atMost = (pages: number) =>
      atomically([bind(statement(sql.raw(`pragma max_page_count = ${pages}`)), {})])
    const big = statement<{ id: string }>(
      sql`insert into generations (id, status, requested_at, tip) values (${value('id')}, 'requested', 0, hex(zeroblob(100000)))`,
    )
    const { page_count: pages } = db.get<{ page_count: number }>(sql`pragma page_count`)
    await atMost(pages + 2)
    const lists = ['a', 'b'].map((id) =>
      atomically([bind(beat, { id: 1, at: 0 }), bind(big, { id })]),
    )
    const refused = { status: 'rejected', reason: unavailable }
    expect(await Promise.allSettled(lists)).toEqual([refused, refused])
    expect(await rows()).toEqual([])
    await atMost(1_000_000)
    await atomically([bind(big, { id: 'a' })])
  })
})

it('asks for the lock fifty times a second at most, however many lists wait for it', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'afterimage-'))
  const path = join(directory, 'ledger.db')
  const { atomically, db, close } = openSqlite(path)
  const run = vi.spyOn(
    Object.getPrototypeOf(db.$client.prepare('commit')) as Database.Statement,
    'run',
  )
  const other = new Database(path)
  other.exec('begin immediate')
  run.mockClear()
  const lists = Array.from({ length: 1000 }, (_, id) => atomically([bind(beat, { id, at: 0 })]))
  const results = await Promise.allSettled(lists)
  const asked = (run.mock.contexts as Database.Statement[]).filter(
    ({ source }) => source === 'begin immediate',
  ).length
  run.mockRestore()
  other.close()
  await close()
  rmSync(directory, { recursive: true })
  expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(1000)
  expect(asked).toBeGreaterThan(10)
  // And once for each group that is given up.
  expect(asked).toBeLessThanOrEqual(50 + 4)
})

it('refuses a second opening of the same ledger, and opens once the first is closed', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'afterimage-'))
  const path = join(directory, 'ledger.db')
  const first = openSqlite(path)
  expect(() => openSqlite(path)).toThrow(LedgerInUse)
  await first.close()
  await openSqlite(path).close()
  rmSync(directory, { recursive: true })
})

it('is written with synchronous=FULL to a write-ahead log', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'afterimage-'))
  const { db, close } = openSqlite(join(directory, 'ledger.db'))
  expect([db.get(sql`pragma synchronous`), db.get(sql`pragma journal_mode`)]).toEqual([
    { synchronous: 2 },
    { journal_mode: 'wal' },
  ])
  await close()
  rmSync(directory, { recursive: true })
})

/** How many frames the write-ahead log holds. */
function frames(path: string) {
  const reader = new Database(path)
  const [row] = reader.pragma('wal_checkpoint(PASSIVE)') as { log: number }[]
  reader.close()
  return row?.log ?? 0
}
