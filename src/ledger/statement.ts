import { is, Placeholder, type SQLWrapper, sql } from 'drizzle-orm'
import { SQLiteSyncDialect } from 'drizzle-orm/sqlite-core'

/** A statement compiled once; `values` fill its placeholders. */
export interface Statement<Values extends object, Row> {
  readonly sql: string
  readonly bind: (values: Values) => unknown[]
  /** Never set: carries the type of the rows that RETURNING yields, named as in SQL. */
  readonly row?: Row
}

/** A statement with its values, ready to run. */
export interface Bound<Row = unknown> {
  readonly statement: Statement<never, Row>
  readonly params: unknown[]
}

/** The rows of each statement of a list, in its order. */
export type RowsOf<List extends readonly Bound[]> = {
  [K in keyof List]: List[K] extends Bound<infer Row> ? Row[] : never
}

/**
 * Runs a list whole or not at all, and resolves only when it is durable.
 * @throws LedgerUnavailable when it cannot be written now: nothing of the list is kept then, unless
 * it was D1's answer that got lost.
 */
export type Atomically = <const List extends readonly Bound[]>(list: List) => Promise<RowsOf<List>>

const dialect = new SQLiteSyncDialect()

/**
 * Compiles a drizzle query or an `sql` template whose placeholders are named after the keys of
 * `Values`.
 */
export function statement<Values extends object, Row = never>(
  query: SQLWrapper,
): Statement<Values, Row> {
  const { sql: text, params } = dialect.sqlToQuery(query.getSQL())
  const fillers = params.map(filler)
  return {
    sql: text,
    bind: (values) => fillers.map((fill) => fill(values as Record<string, unknown>)),
  }
}

/** drizzle's own fillPlaceholders finds out anew at every call what each parameter is. */
function filler(param: unknown): (values: Record<string, unknown>) => unknown {
  if (!is(param, Placeholder)) return () => param
  const { name } = param
  return (values) => {
    if (!(name in values)) throw new Error(`no value was given for "${name}"`)
    return values[name]
  }
}

export const bind = <Values extends object, Row>(
  to: Statement<Values, Row>,
  values: Values,
): Bound<Row> => ({
  statement: to,
  params: to.bind(values),
})

/** A placeholder for the values of a statement. */
export const value = <Name extends string>(name: Name): Placeholder<Name> => sql.placeholder(name)
