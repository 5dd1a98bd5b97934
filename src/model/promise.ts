import type { OfferedImage } from './image.ts'
import type { Known, NewOffer } from './known.ts'
import { linkExpiresAt } from './link.ts'
import { uuidTime } from './uuid.ts'

interface Rules {
  linkLifetimeMs: number
  resultDeadlineMs: number
}

/** Past its deadline a generation waits for such links for this part of the time that it had. */
const PATIENCE = 1 / 24

/** Links that were only promised, as places to try: each until it dies, or its generation ends. */
export function promisedPlaces(links: OfferedImage[], id: string, at: number, rules: Rules) {
  const deadline = Math.max((uuidTime(id) ?? at) + rules.resultDeadlineMs, at)
  const latest = Math.round(deadline + rules.resultDeadlineMs * PATIENCE)
  return links.map((link): NewOffer => ({
    ...link,
    contradicts: false,
    expiresAt: Math.min(linkExpiresAt(link.url, at, rules.linkLifetimeMs), latest),
  }))
}

/** As if none of them had been tried: only a success says what a generation shows. */
export const withoutTried = (known: Known): Known => ({ ...known, images: [], offers: [] })
