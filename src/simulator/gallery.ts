import sharp from 'sharp'
import type { Job } from './jobs.ts'
import { landscape } from './landscape.ts'

// Some 30 MB at the largest size; a picture that fell out is painted again, to the same bytes.
const CACHED_PICTURES = 128
const BLUR_PIXELS = 24

/** Paints each picture when it is first asked for. */
export class Gallery {
  readonly #pictures = new Map<string, Promise<Uint8Array<ArrayBuffer>>>()

  picture(job: Job, position: number) {
    const name = `${job.id}/${position}`
    const cached = this.#pictures.get(name)
    if (cached) return cached
    const painted = paint(job, position)
    this.#pictures.set(name, painted)
    this.#dropOldest()
    return painted
  }

  #dropOldest() {
    const [oldest] = this.#pictures.keys()
    if (oldest !== undefined && this.#pictures.size > CACHED_PICTURES) this.#pictures.delete(oldest)
  }
}

async function paint({ request, knobs, seed }: Job, position: number) {
  const svg = landscape(seed, position, request.width, request.height)
  const image = sharp(Buffer.from(svg)).removeAlpha()
  // What ModelsLab's safety checker does to a flagged picture.
  if (knobs.nsfw === 'flagged' && request.safety_checker === 'yes') image.blur(BLUR_PIXELS)
  return new Uint8Array(await image.toFormat(knobs.format).toBuffer())
}
