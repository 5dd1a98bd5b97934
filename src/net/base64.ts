const PREFIX = /^\s*data:[^,]{0,200},/u
const BASE64 = /^[A-Za-z0-9+/\-_]+={0,2}$/u

/**
 * The picture in what a link showed. Links that end in `.base64` hold base64 text, sometimes with a `data:` prefix; what
 * is no base64 is returned as it came, to be judged by its first bytes.
 */
export function pictureBytes(url: string, bytes: Uint8Array): Uint8Array {
  if (!/\.base64$/iu.test(new URL(url).pathname)) return bytes
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    .toString('latin1')
    .replace(PREFIX, '')
    .replace(/\s+/gu, '')
  return BASE64.test(text) ? new Uint8Array(Buffer.from(text, 'base64')) : bytes
}
