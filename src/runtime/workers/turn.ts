import type { Deps } from '../../deps.ts'
import { loudness } from '../../errors.ts'
import { type Copying, type DueWork, WORK } from '../../work/due.ts'

interface Turn {
  images: Copying
  /** Resolves when what goes on in the background has ended. */
  idle: () => Promise<void>
  /** Resolves when nothing goes on any more, downloads from hosts that hang included. */
  ended: () => Promise<void>
  /** Woken by the clock: looks for what nothing else announces. */
  isCron: boolean
}

/**
 * Does what is due, as far as one invocation may. Returns when the next is wanted: now or earlier
 * where more is due already, null where nothing is known to come, or where something failed and the
 * clock is to try again.
 */
export async function takeTurn(
  deps: Deps,
  { images, idle, ended, isCron }: Turn,
  work: Readonly<Record<string, DueWork>> = WORK,
): Promise<number | null> {
  const left = new Map(
    Object.values(work)
      .filter(({ when }) => isCron || when !== 'clock')
      .map((kind) => [kind, kind.room.turn.most]),
  )
  let failures = 0
  const attempt = async (kind: DueWork, most: number) => {
    try {
      const room = { ...kind.room.turn, most }
      left.set(kind, most - (await kind.run(deps, room, images)))
    } catch (error) {
      failures++
      deps.log(loudness(error), `${kind.what} failed`, { error })
    }
  }
  for (const [kind, most] of left) await attempt(kind, most)
  await idle()
  // Replies and fetches bring images: what is left of their room is theirs.
  for (const [kind, most] of left) if (kind.when === 'woken' && most > 0) await attempt(kind, most)
  await ended()
  if (failures > 0) return null
  const isCutShort = [...left.values()].some((most) => most <= 0)
  return isCutShort ? deps.now() : deps.ledger.due.readNext(deps.now())
}
