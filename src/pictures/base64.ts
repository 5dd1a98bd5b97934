const PREFIX = /^\s*data:[^,]{0,200},/u
const NO_BASE64 = /[^A-Za-z0-9+/\-_\s=]/u
const PADDING = /^[=\s]*$/u

/**
 * The picture in what a link showed. Links that end in `.base64` hold base64 text, sometimes with a
 * `data:` prefix; what is no base64 is returned as it came, to be judged by its first bytes.
 */
export function pictureBytes(url: string, bytes: Uint8Array): Uint8Array {
  if (!/\.base64$/iu.test(new URL(url).pathname)) return bytes
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    .toString('latin1')
    .replace(PREFIX, '')
  // Node skips white space by itself; taking it out of crafted megabytes first stood still for
  // seconds.
  return isBase64(text) ? new Uint8Array(Buffer.from(text, 'base64')) : bytes
}

function isBase64(text: string) {
  const end = text.indexOf('=')
  return text.trim() !== '' && !NO_BASE64.test(text) && (end < 0 || PADDING.test(text.slice(end)))
}
