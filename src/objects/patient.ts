import type { Health, Log, ObjectStore } from '../deps.ts'

const PUT_PATIENCE_MS = 10_000
/**
 * 8 Mbit/s: a store that is slower than this, and takes nothing of anybody else meanwhile, counts
 * as away.
 */
const PUT_BYTES_PER_MS = 1024
const SAY_AGAIN_MS = 60_000

export interface Watched {
  health: Pick<Health, 'objects'>
  /** The store was away, and takes objects again. */
  cameBack: () => void
  log: Log
  now: () => number
}

/**
 * A store that is waited for with patience, and not longer; whether it is away is told here and
 * nowhere else. It is what it does with a put: who cannot read an object knows of that object only,
 * unless nobody is there at all, and a store that lets itself be read may still take nothing.
 */
export function patientStore(
  store: ObjectStore,
  { health, cameBack, log, now }: Watched,
): ObjectStore {
  let puts = 0
  let nobodyThere = false
  let saidAt = -Infinity
  const answered = () => {
    nobodyThere = false
    if (health.objects(true)) cameBack()
  }
  const failed = (error: unknown) => {
    nobodyThere = isNobodyThere(error)
    health.objects(false, error)
  }
  const put: ObjectStore['put'] = async (key, bytes, options) => {
    const patienceMs = PUT_PATIENCE_MS + bytes.byteLength / PUT_BYTES_PER_MS
    try {
      const there = await unlessSilent(store.put(key, bytes, options), patienceMs, () => puts)
      puts++
      answered()
      return there
    } catch (error) {
      failed(error)
      throw error
    }
  }
  const get: ObjectStore['get'] = async (key, range) => {
    try {
      const object = await store.get(key, range)
      if (nobodyThere) answered()
      return object
    } catch (error) {
      if (isNobodyThere(error)) failed(error)
      // Either way: the clock may have been set back.
      else if (Math.abs(now() - saidAt) >= SAY_AGAIN_MS) {
        saidAt = now()
        log('warn', 'an object cannot be read', { key, error })
      }
      throw error
    }
  }
  return {
    put,
    get,
    head: (key) => store.head(key),
    delete: (key) => store.delete(key),
    list: (prefix) => store.list(prefix),
    ...(store.presign && { presign: store.presign.bind(store) }),
  }
}

/**
 * Gives a put up once the store has taken nothing of anybody for as long as this one may last: it
 * takes connections and never answers, and would hold every slot until it is restarted. The given
 * up one may still succeed: keys name their content.
 */
async function unlessSilent<T>(put: Promise<T>, patienceMs: number, puts: () => number) {
  let timer: ReturnType<typeof setTimeout> | undefined
  const silent = new Promise<never>((_resolve, reject) => {
    const wait = (before: number) => {
      timer = setTimeout(() => {
        if (puts() > before) wait(puts())
        else {
          const seconds = Math.round(patienceMs / 1000)
          reject(new Error(`the object store has answered nobody for ${seconds} s`))
        }
      }, patienceMs)
    }
    wait(puts())
  })
  try {
    return await Promise.race([put, silent])
  } finally {
    clearTimeout(timer)
  }
}

const NOBODY = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']

/** No connection came about: nothing that was asked for can be the reason. */
const isNobodyThere = (error: unknown) =>
  error instanceof Error && 'code' in error && NOBODY.includes(String(error.code))
