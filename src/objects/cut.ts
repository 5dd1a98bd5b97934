/**
 * The `length` bytes of a body that follow its first `skip`; what comes after them is not read.
 * Fails where the body ends before them.
 */
export function cut(
  body: ReadableStream<Uint8Array>,
  skip: number,
  length: number,
): ReadableStream<Uint8Array> {
  const reader = body.getReader()
  let before = skip
  let left = length
  /** The next bytes that are wanted; those before them are read over. */
  const next = async () => {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) throw new Error(`the body ended ${before + left} bytes early`)
      const from = Math.min(before, value.byteLength)
      const wanted = value.subarray(from, from + left)
      before -= from
      left -= wanted.byteLength
      if (wanted.byteLength > 0) return wanted
    }
  }
  return new ReadableStream({
    pull: async (controller) => {
      if (left > 0) controller.enqueue(await next())
      if (left > 0) return
      controller.close()
      await reader.cancel()
    },
    cancel: (reason) => reader.cancel(reason),
  })
}
