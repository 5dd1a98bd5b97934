import { describe, expect, it } from 'vitest'
import { inpaint, start } from '../support/simulator.ts'

describe('words in a prompt', () => {
  it('are refused where no knob has that name, and the names are told', async () => {
    const { status, message } = await inpaint(await start(), 'a harbour [calback=lost]')
    expect(status).toBe('error')
    expect(message).toMatch(/no knob "calback=lost"\. Allowed: reply, .*callback,/)
  })

  it.each([
    ['callback=gone', 'Allowed: auto, sent, lost, doubled, early, failed.'],
    ['delay=soon', 'delay=soon is not a number from 0 to 3600 (seconds).'],
    ['delay=', 'delay= is not a number from 0 to 3600 (seconds).'],
    ['late=-1', 'late=-1 is not a number'],
    ['callback_tries=9', 'from 1 to 5 (times)'],
    ['callback_says=result+silence', 'Allowed: result, processing, failed, other.'],
    ['callback_says=', 'callback_says= is not known'],
    ['lifetime=604801', 'from 0 to 604800 (seconds)'],
    ['delay=1 lost', 'no knob "lost"'],
    ['result=never callback=early', 'no end'],
  ])('[%s] is refused: %s', async (words, complaint) => {
    const { status, message } = await inpaint(await start(), `[${words}]`)
    expect(status).toBe('error')
    expect(message).toContain(complaint)
  })

  it('without an equals sign belong to the picture', async () => {
    expect((await inpaint(await start(), 'a [quiet] harbour (at dawn:1.2)')).status).toBe(
      'processing',
    )
  })

  it('may be spread over the prompt and separated by commas', async () => {
    const body = await inpaint(
      await start(),
      '[reply=success, nsfw=flagged] a harbour [format=webp]',
    )
    expect(body).toMatchObject({ status: 'success', nsfw_content_detected: true })
    expect(body.output[0]).toMatch(/\.webp$/)
  })

  it('go before the defaults of the simulator', async () => {
    const simulator = await start({ knobs: { reply: 'success', nsfw: 'silent' } })
    const silent = await inpaint(simulator, 'a harbour')
    const clear = await inpaint(simulator, 'a harbour [nsfw=clear]')
    expect(silent).not.toHaveProperty('nsfw_content_detected')
    expect(clear).toMatchObject({ status: 'success', nsfw_content_detected: false })
  })
})
