// S3's clients send 64 KiB a chunk, others at least 8 KiB: 25 MiB are 3,200.
const MOST_CHUNKS = 20_000
const HEAD = /^([\da-f]{1,8})(?:;[^\r\n]*)?\r\n/iu
const MOST_HEAD_BYTES = 256

/**
 * What stands in the frames of a body that some S3 servers store as it was uploaded
 * (https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html); null where there are no
 * such frames. What is cut off is left out.
 */
export function unframed(bytes: Uint8Array): Uint8Array | null {
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const chunks: Uint8Array[] = []
  let at = 0
  while (chunks.length < MOST_CHUNKS) {
    const head = HEAD.exec(all.toString('latin1', at, at + MOST_HEAD_BYTES))
    const length = Number.parseInt(head?.[1] ?? '0', 16)
    if (head === null || length === 0) break
    const start = at + head[0].length
    chunks.push(all.subarray(start, start + length))
    // Each chunk ends in a line end of its own.
    at = start + length + 2
  }
  return chunks.length > 0 ? new Uint8Array(Buffer.concat(chunks)) : null
}
