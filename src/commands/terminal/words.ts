/** With a comma between thousands. */
export const grouped = (count: number) => count.toLocaleString('en-US')

/** `1 image`, `1,204 images`. */
export const counted = (count: number, one: string, many = `${one}s`) =>
  `${grouped(count)} ${count === 1 ? one : many}`

const SIZES = [
  ['GiB', 2 ** 30],
  ['MiB', 2 ** 20],
  ['KiB', 2 ** 10],
] as const

export function size(bytes: number) {
  const [unit, one] = SIZES.find(([, one]) => bytes >= one) ?? ['bytes', 1]
  return `${one === 1 ? grouped(bytes) : (bytes / one).toFixed(1)} ${unit}`
}

/** Fields of one line; what could end a field or a line is a space. */
export const tabbed = (...fields: string[]) =>
  fields.map((field) => field.replace(/[\t\r\n]+/gu, ' ')).join('\t')
