/**
 * As much of a stream as progress needs; a terminal has `columns` and `rows`, 0 where nobody told
 * it its size.
 */
export interface Output {
  write: (text: string) => unknown
  isTTY?: boolean
  columns?: number
  rows?: number
}
