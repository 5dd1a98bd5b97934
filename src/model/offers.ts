import type { OfferedImage } from './image.ts'
import type { Road } from './outcome.ts'
import { withoutQuery } from './link.ts'
import { isStandingOutput, type Known, type KnownOffer } from './known.ts'
import { redactUrl, withoutSecrets } from './shown-url.ts'

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
    return { ...one, url: rememberedUrl(known, one) }
  })
}

/**
 * Every place of it is exhausted, and a fetch was to bring fresh links: whatever it names at its
 * index is one.
 */
const isParked = ({ images }: Known, { source, position }: OfferedImage) =>
  images.some((one) => one.parked && one.source === source && one.position === position)

/**
 * Nobody follows a link to an image that is archived, nor one that contradicts; one to an image that
 * is lost may be followed again.
 */
function rememberedUrl({ images }: Known, { url, source, position, contradicts }: KnownOffer) {
  const image = images.find((one) => one.source === source && one.position === position)
  if (contradicts || image?.status === 'archived') return redactUrl(url)
  return image?.status === 'lost' ? withoutSecrets(url) : url
}

/** Ledgers that are older show more of a link to a final image than would be remembered today. */
export const isNew = ({ offers }: Known, { url, source, position, contradicts }: KnownOffer) =>
  !offers.some(
    (one) =>
      (one.url === url || redactUrl(one.url) === url) &&
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
  const offered = images.filter(({ source }) => source === 'output')
  const standing = standingFor(outputs, offered)
  for (const image of offered) {
    const stands = standing.get(image)
    const isConfirmed = road === 'fetch' && suspected.has(withoutQuery(image.url))
    const isAwaited = outputs.length === 0 || (road === 'fetch' && isParked(known, image))
    if (stands) positions.set(image.position, stands.position)
    else if (isAwaited) positions.set(image.position, image.position)
    else positions.set(image.position, isConfirmed ? free++ : null)
  }
  return positions
}

/**
 * The known output that each link is one more place for. Several may differ in their queries only:
 * then the whole link tells them apart, or what of it is still known, or else their order; each
 * stands for one of its own while there are as many.
 */
function standingFor(outputs: KnownOffer[], images: OfferedImage[]) {
  const pairs = images
    .flatMap((image) =>
      outputs
        .filter(({ url }) => withoutQuery(url) === withoutQuery(image.url))
        .map((output) => ({ image, output, distance: distance(output, image) })),
    )
    .toSorted((a, b) => a.distance - b.distance)
  const standing = new Map<OfferedImage, KnownOffer>()
  const taken = new Set<number>()
  for (const { image, output } of pairs) {
    if (standing.has(image) || taken.has(output.position)) continue
    standing.set(image, output)
    taken.add(output.position)
  }
  for (const { image, output } of pairs) if (!standing.has(image)) standing.set(image, output)
  return standing
}

function distance(output: KnownOffer, { url, position }: OfferedImage) {
  const likeness = output.url === url ? 0 : output.url === redactUrl(url) ? 2 : 4
  return likeness + (output.position === position ? 0 : 1)
}
