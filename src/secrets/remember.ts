/** How many are remembered: what many messages at a time ask for again and again. */
const MOST_REMEMBERED = 256

/**
 * `make`, which always makes the same of the same key, asked again only for what was not asked for
 * lately.
 */
export function remembered<T>(make: (key: string) => T) {
  const made = new Map<string, T>()
  return (key: string): T => {
    const known = made.get(key)
    if (known !== undefined) return known
    const [oldest] = made.keys()
    if (made.size >= MOST_REMEMBERED && oldest !== undefined) made.delete(oldest)
    const one = make(key)
    made.set(key, one)
    return one
  }
}
