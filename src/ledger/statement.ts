import {
  type Column,
  type GetColumnData,
  is,
  Placeholder,
  type SQL,
  sql as untyped,
  type SQLWrapper,
} from 'drizzle-orm'
import { SQLiteSyncDialect } from 'drizzle-orm/sqlite-core'

/** A piece of SQL whose placeholders want `Values`. */
export type Fragment<Values extends object = object> = SQL & Wants<Values>

interface Wants<Values> {
  /** Never set: carries the type. */
  readonly wants?: Values
}

/** A placeholder that declares its name and the type of its value. */
export class Value<Name extends string, T>
  extends Placeholder<Name>
  implements Wants<Record<Name, T>>
{
  declare readonly wants?: Record<Name, T>
  /** Makes of the value what SQLite takes. */
  readonly encode: (value: T) => unknown

  constructor(name: Name, encode: (value: T) => unknown) {
    super(name)
    this.encode = encode
  }
}

const plain = (value: unknown) => value
const declared =
  <T>(encode: (value: T) => unknown = plain) =>
  <Name extends string>(name: Name) =>
    new Value<Name, T>(name, encode)

export const text = declared<string>()
export const number = declared<number>()
export const bytes = declared<Uint8Array>()
export const flag = declared<boolean>(Number)
/** Stored, or read by json_each, as JSON; what is undefined is NULL. */
export const json = declared<unknown>((value) =>
  value === undefined ? null : JSON.stringify(value),
)

/** The same value, which may be absent. */
export const orNull = <Name extends string, T>({ name, encode }: Value<Name, T>) =>
  new Value<Name, T | null>(name, (value) => (value === null ? null : encode(value)))

type UnionToIntersection<Union> = (Union extends unknown ? (one: Union) => void : never) extends (
  all: infer All,
) => void
  ? All
  : never
type WantedBy<Part> =
  Part extends Wants<infer Values> ? (unknown extends Values ? never : Values) : never
/** What all parts want together. */
type WantedByAll<Parts extends readonly unknown[]> =
  UnionToIntersection<WantedBy<Parts[number]>> extends infer All extends object ? All : object

/** drizzle's `sql`, but it remembers what its placeholders want. */
export const sql = <const Parts extends readonly unknown[]>(
  strings: TemplateStringsArray,
  ...parts: Parts
): Fragment<WantedByAll<Parts>> => untyped(strings, ...parts)

/** SQL as it stands. Never of anything that came from outside. */
export const raw = (text: string): Fragment => untyped.raw(text)

export const join = <Values extends object>(parts: readonly Fragment<Values>[], between: string) =>
  untyped.join([...parts], untyped.raw(between)) as Fragment<Values>

/** `a = ?, b = ?` for every column, whose values go by the names that drizzle has for them. */
export const assignments = <Columns extends Record<string, Column>>(columns: Columns) =>
  join(
    Object.entries(columns).map(([name, column]) => {
      const value = new Value(name, (given) =>
        given === null ? null : column.mapToDriverValue(given),
      )
      return untyped`${untyped.raw(column.name)} = ${value}`
    }),
    ', ',
  ) as unknown as Fragment<{ [Name in keyof Columns]: GetColumnData<Columns[Name]> }>

/** A statement compiled once; `values` fill its placeholders. */
export interface Statement<Values extends object, Row = never> {
  readonly sql: string
  readonly bind: (values: Values) => unknown[]
  /** The same statement, whose RETURNING yields rows of this type, named as in SQL. */
  readonly yields: <Yielded>() => Statement<Values, Yielded>
  /** Never set: carries the type of the rows. */
  readonly row?: Row
}

/** A statement with its values, ready to run. */
export interface Bound<Row = unknown> {
  readonly statement: { readonly sql: string; readonly row?: Row }
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

/** Compiles a piece of SQL. */
export function statement<Values extends object>(
  query: SQLWrapper & Wants<Values>,
): Statement<Values> {
  const { sql: compiled, params } = dialect.sqlToQuery(query.getSQL())
  const fillers = params.map(filler)
  const made = {
    sql: compiled,
    bind: (values: Values) => fillers.map((fill) => fill(values as Record<string, unknown>)),
    yields: <Yielded>() => made as unknown as Statement<Values, Yielded>,
  }
  return made
}

/** drizzle's own fillPlaceholders finds out anew at every call what each parameter is. */
function filler(param: unknown): (values: Record<string, unknown>) => unknown {
  if (!is(param, Placeholder)) return () => param
  const { name } = param
  const encode = param instanceof Value ? (param.encode as (value: unknown) => unknown) : plain
  return (values) => {
    if (!(name in values)) throw new Error(`no value was given for "${name}"`)
    return encode(values[name])
  }
}

export const bind = <Values extends object, Row>(
  to: Statement<Values, Row>,
  values: NoInfer<Values>,
): Bound<Row> => ({ statement: to, params: to.bind(values) })
