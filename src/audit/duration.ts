const UNITS = [
  ['d', 24 * 3600],
  ['h', 3600],
  ['min', 60],
  ['s', 1],
] as const

/** In its two largest units, such as `1 h 20 min`. */
export function duration(ms: number): string {
  const seconds = Math.round(Math.abs(ms) / 1000)
  const first = Math.max(
    UNITS.findIndex(([, size]) => seconds >= size),
    0,
  )
  const start = seconds < 1 ? UNITS.length - 1 : first
  let rest = seconds
  const words = UNITS.slice(start, start + 2).map(([unit, size]) => {
    const count = Math.floor(rest / size)
    rest -= count * size
    return count > 0 || seconds < 1 ? `${count} ${unit}` : ''
  })
  return `${ms < 0 && seconds > 0 ? '-' : ''}${words.filter(Boolean).join(' ')}`
}
