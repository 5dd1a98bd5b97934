/** SIGHUP: the terminal was closed, or systemd was told to send it after SIGTERM. */
const STOP_SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

/**
 * One stop may be several signals: sent to a whole process group, it also comes from npm, which
 * passes on its own.
 */
const SAME_STOP_MS = 2000

/**
 * Resolves with the first signal to stop. What follows within two seconds is the same stop; one
 * after that ends the process at once, as it would without us.
 */
export function untilSignal() {
  return new Promise<void>((resolve) => {
    let asked = false
    const stop = () => {
      resolve()
      if (asked) return
      asked = true
      setTimeout(
        () => STOP_SIGNALS.forEach((name) => process.off(name, stop)),
        SAME_STOP_MS,
      ).unref()
    }
    for (const name of STOP_SIGNALS) process.on(name, stop)
  })
}
