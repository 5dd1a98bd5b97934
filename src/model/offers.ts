import { type OfferedImage, type Road, withoutQuery } from './generation.ts'
import { isStandingOutput, type Known, type KnownOffer } from '../ledger/settle.ts'
import { redactUrl } from './shown-url.ts'

/**
 * Says of each link of a message which image it is one more place for. Outputs are the same when
 * they are equal without query string. What stands beside an earlier success that did not name it
 * contradicts, and counts only once a fetch names it too; proxies go with the output of their
 * index.
 */
export function placed(known: Known, images: OfferedImage[], road: Road): KnownOffer[] {
  const positions = outputPositions(known, images, road)
  return images.map((image) => {
    const position = positions.has(image.position) ? positions.get(image.position) : image.position
    const one = { ...image, position: position ?? image.position, contradicts: position === null }
    return one.contradicts || isFinal(known, one) ? { ...one, url: redactUrl(image.url) } : one
  })
}

/**
 * Every place of it is exhausted, and a fetch was to bring fresh links: whatever it names at its
 * index is one.
 */
const isParked = ({ images }: Known, { source, position }: OfferedImage) =>
  images.some((one) => one.parked && one.source === source && one.position === position)

/**
 * Nobody follows a link to an image that is final, nor one that contradicts: its secrets are of no
 * more use.
 */
const isFinal = ({ images }: Known, { source, position }: KnownOffer) =>
  images.some(
    (one) => one.source === source && one.position === position && one.status !== 'pending',
  )

export const isNew = ({ offers }: Known, { url, source, position, contradicts }: KnownOffer) =>
  !offers.some(
    (one) =>
      one.url === url &&
      one.source === source &&
      one.position === position &&
      one.contradicts === contradicts,
  )

/** The known outputs that a message leaves out. */
export function leftOut({ offers }: Known, images: OfferedImage[]): KnownOffer[] {
  const named = new Set(images.map(({ url }) => withoutQuery(url)))
  return offers.filter((offer) => isStandingOutput(offer) && !named.has(withoutQuery(offer.url)))
}

/**
 * By the index in the message: the position of each output, null where it contradicts what is
 * known.
 */
function outputPositions(known: Known, images: OfferedImage[], road: Road) {
  const outputs = known.offers.filter(isStandingOutput)
  const suspected = new Set(
    known.offers.filter(({ contradicts }) => contradicts).map(({ url }) => withoutQuery(url)),
  )
  let free = 1 + Math.max(-1, ...known.images.map(({ position }) => position))
  const positions = new Map<number, number | null>()
  for (const image of images.filter(({ source }) => source === 'output')) {
    const stands = closest(outputs, image)
    const isConfirmed = road === 'fetch' && suspected.has(withoutQuery(image.url))
    const isAwaited = outputs.length === 0 || (road === 'fetch' && isParked(known, image))
    if (stands) positions.set(image.position, stands.position)
    else if (isAwaited) positions.set(image.position, image.position)
    else positions.set(image.position, isConfirmed ? free++ : null)
  }
  return positions
}

/**
 * Several outputs may differ in their queries only: then the whole link tells them apart, or else
 * their order.
 */
function closest(outputs: KnownOffer[], { url, position }: OfferedImage) {
  const distance = (one: KnownOffer) =>
    (one.url === url ? 0 : 2) + (one.position === position ? 0 : 1)
  return outputs
    .filter((one) => withoutQuery(one.url) === withoutQuery(url))
    .toSorted((a, b) => distance(a) - distance(b))
    .at(0)
}
