import { type OfferedImage, type Road, withoutQuery } from './generation.ts'
import type { Known, KnownOffer } from './ledger/settling.ts'

/**
 * Says of each link of a message which image it is one more place for. Outputs are the same when they are equal without
 * query string. What stands beside an earlier success that did not name it contradicts, and counts only once a fetch names
 * it too; proxies go with the output of their index.
 */
export function placed(known: Known, images: OfferedImage[], road: Road): KnownOffer[] {
  const positions = outputPositions(known, images, road)
  return images.map((image) => {
    const position = positions.has(image.position) ? positions.get(image.position) : image.position
    return { ...image, position: position ?? image.position, contradicts: position === null }
  })
}

export const isNew = ({ offers }: Known, { url, source, position, contradicts }: KnownOffer) =>
  !offers.some(
    (one) => one.url === url && one.source === source && one.position === position && one.contradicts === contradicts,
  )

/** By the index in the message: the position of each output, null where it contradicts what is known. */
function outputPositions(known: Known, images: OfferedImage[], road: Road) {
  const outputs = known.offers.filter(({ source, contradicts }) => source === 'output' && !contradicts)
  const suspected = new Set(known.offers.filter(({ contradicts }) => contradicts).map(({ url }) => withoutQuery(url)))
  let free = 1 + Math.max(-1, ...known.images.map(({ position }) => position))
  const positions = new Map<number, number | null>()
  for (const image of images.filter(({ source }) => source === 'output')) {
    const isConfirmed = road === 'fetch' && suspected.has(withoutQuery(image.url))
    const unknown = outputs.length === 0 ? image.position : isConfirmed ? free++ : null
    positions.set(image.position, closest(outputs, image)?.position ?? unknown)
  }
  return positions
}

/** Several outputs may differ in their queries only: then the whole link tells them apart, or else their order. */
function closest(outputs: KnownOffer[], { url, position }: OfferedImage) {
  const distance = (one: KnownOffer) => (one.url === url ? 0 : one.position === position ? 1 : 2)
  return outputs
    .filter((one) => withoutQuery(one.url) === withoutQuery(url))
    .toSorted((a, b) => distance(a) - distance(b))
    .at(0)
}
