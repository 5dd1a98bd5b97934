import type { ImageSource, OfferedImage } from '../model/image.ts'
import { isObject, type Json } from './body.ts'
import { parseJson } from './nearly-json.ts'
import { textOf } from './words.ts'

/** Images of one message beyond this position are not kept: the provider makes at most 4. */
const MOST_IMAGES = 64

/**
 * The links of a field, each with its position: seen as an array of strings or of objects, one
 * plain string, an object `{"0": url}`, any of them as a text, `""`, null and absent. A field of
 * which no text is an http or https URL has none; beside one that is, any other text is a link that
 * will be refused, so that what is missing is seen.
 */
export function offered(source: ImageSource, value: unknown): OfferedImage[] {
  const named = slots(value, 0).flatMap(({ position, text }) =>
    text === '' ? [] : [{ source, position, url: text }],
  )
  return named.some(({ url }) => isLink(url)) ? named : []
}

const isLink = (text: string) => URL.canParse(text) && /^https?:$/u.test(new URL(text).protocol)

/** What of it is kept, and how many are not. */
export function kept(images: OfferedImage[]) {
  const within = images.filter(({ position }) => position < MOST_IMAGES)
  return { images: within, cutOff: images.length - within.length }
}

/** One place in a list, which may hold nothing. */
interface Slot {
  position: number
  text: string
}

function slots(value: unknown, first: number): Slot[] {
  if (Array.isArray(value)) return inOrder([...value.entries()], first)
  if (isObject(value)) {
    const named = NAMES.map((name) => value[name]).find((one) => !isNothing(one))
    return named === undefined ? inOrder(byIndex(value), first) : slots(named, first)
  }
  return slotsIn(textOf(value) ?? '', first)
}

/** Under which an object names its link or its links. */
const NAMES = ['url', 'image_url', 'image', 'images', 'urls', 'output']

const isNothing = (value: unknown) => value === undefined || value === null || value === ''

const byIndex = (value: Json) =>
  Object.entries(value)
    .filter(([key]) => /^(?:0|[1-9]\d{0,8})$/u.test(key))
    .map(([key, item]): [number, unknown] => [Number(key), item])

/** Each where its index says, unless those before it take more room. */
function inOrder(items: [number, unknown][], first: number): Slot[] {
  const all: Slot[] = []
  let next = first
  for (const [index, item] of items) {
    const theirs = slots(item, Math.max(first + index, next))
    next = (theirs.at(-1)?.position ?? next) + 1
    for (const slot of theirs) all.push(slot)
  }
  return all.length > 0 ? all : [{ position: first, text: '' }]
}

/** A list, an object or a text in quotes that a text spells, or links one after the other. */
function slotsIn(text: string, first: number): Slot[] {
  const spelled = /^[[{"']/u.test(text) ? parseJson(text) : undefined
  if (spelled !== undefined && spelled !== text) return slots(spelled, first)
  return text
    .split(/[\s,;|]+(?=["']?https?:\/\/)/iu)
    .map((piece, n) => ({ position: first + n, text: bare(piece) }))
}

/** As it stands there otherwise: a signature is over every byte. */
const bare = (piece: string) => piece.replace(/^["'\s]+|["'\s,]+$/gu, '')
