/**
 * The milliseconds of processor that this process has used since: a busy machine does not make them
 * more.
 */
export function cpuClock() {
  const before = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  }
}
