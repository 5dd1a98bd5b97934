import sharp, { type Sharp } from 'sharp'
import type { Job } from './jobs.ts'
import { landscape } from './landscape.ts'

// Some 30 MB at the largest size; a picture that fell out is painted again, to the same bytes.
const CACHED_PICTURES = 128
const BLUR_PIXELS = 24
const SQUARE_PIXELS = 32

/** Paints each picture when it is first asked for. */
export class Gallery {
  readonly #pictures = new Map<string, Promise<Uint8Array<ArrayBuffer>>>()

  picture(job: Job, picture: number) {
    const name = `${job.id}/${picture}`
    const cached = this.#pictures.get(name)
    if (cached) return cached
    const painted = paint(job, picture)
    this.#pictures.set(name, painted)
    this.#dropOldest()
    return painted
  }

  #dropOldest() {
    const [oldest] = this.#pictures.keys()
    if (oldest !== undefined && this.#pictures.size > CACHED_PICTURES) this.#pictures.delete(oldest)
  }
}

async function paint(job: Job, picture: number) {
  const image = await canvas(job, picture)
  return new Uint8Array(await image.toFormat(job.knobs.format).toBuffer())
}

function canvas({ request, knobs, seed }: Job, picture: number) {
  const { width, height } = request
  if (knobs.picture === 'black')
    return sharp({ create: { width, height, channels: 3, background: 'black' } })
  const image = sharp(Buffer.from(landscape(seed, picture, width, height))).removeAlpha()
  if (knobs.picture === 'pixelated') return pixelated(image, width, height)
  // What ModelsLab's safety checker does to a flagged picture.
  return knobs.nsfw === 'flagged' && request.safety_checker === 'yes'
    ? image.blur(BLUR_PIXELS)
    : image
}

async function pixelated(image: Sharp, width: number, height: number) {
  const squares = image.resize(Math.ceil(width / SQUARE_PIXELS), Math.ceil(height / SQUARE_PIXELS))
  return sharp(await squares.png().toBuffer()).resize(width, height, {
    kernel: 'nearest',
    fit: 'fill',
  })
}
