import { describe, expect, it, vi } from 'vitest'
import { startSimulator } from '../../src/simulator/simulator.ts'
import { download, generate, inpaint, send, start, webhook } from '../support/simulator.ts'

/** Less than a kept-alive connection is left open, and much less than an hour. */
const AT_ONCE_MS = 4000

describe('the journal', () => {
  it('tells who asked for what, and all that came of it', async () => {
    const [simulator, hook] = [await start(), await webhook([503])]
    const { id, output } = await generate(simulator, 'a harbour', {
      webhook: hook.url,
      track_id: 'mine',
    })
    await fetch(output[0] ?? '', { method: 'HEAD' })
    await (await fetch(output[0] ?? '')).arrayBuffer()
    await (await fetch(output[0] ?? '')).arrayBuffer()
    await simulator.until(([only]) => only?.callbacks.length === 1)
    expect(simulator.submissions()).toMatchObject([
      {
        trackId: 'mine',
        providerId: id,
        webhook: hook.url,
        state: 'success',
        reply: { code: 200, status: 'processing' },
        links: [
          { source: 'output', position: 0, url: output[0], gets: [200, 200] },
          { source: 'proxy', position: 0, gets: [] },
        ],
        callbacks: [{ status: 'success', answer: 503 }],
        fetches: [{ status: 'success' }],
      },
    ])
  })

  it('lists what was refused, also where nothing of it could be read', async () => {
    const simulator = await start()
    await inpaint(simulator, '[reply=error]', { track_id: 7, webhook: 'http://127.0.0.1:1/' })
    await fetch(`${simulator.apiUrl}/api/v6/images/inpaint`, { method: 'POST', body: 'hello' })
    expect(simulator.submissions()).toMatchObject([
      { state: 'refused', trackId: '7', webhook: 'http://127.0.0.1:1/', providerId: null },
      { state: 'refused', trackId: null, webhook: null, providerId: null },
    ])
  })

  it('is handed out as a copy, in which nothing changes any more', async () => {
    const simulator = await start()
    const before = simulator.submissions()
    await inpaint(simulator, null)
    expect(before).toEqual([])
    expect(simulator.submissions()).toHaveLength(1)
  })

  it('is the same over HTTP', async () => {
    const simulator = await start()
    await generate(simulator, 'a harbour')
    const response = await fetch(`${simulator.apiUrl}/simulator/journal`)
    expect(await response.json()).toEqual(simulator.submissions())
  })

  it('says what it held when a wait was in vain', async () => {
    const simulator = await start()
    await inpaint(simulator, '[result=never]', { track_id: 'mine' })
    await expect(simulator.until(([only]) => only?.endedAt, 20)).rejects.toThrow(
      /within 20 ms.*"trackId": "mine"/s,
    )
  })
})

describe('the simulator', () => {
  it('closes at once, whatever is under way', async () => {
    const simulator = await startSimulator()
    const deaf = await webhook()
    await inpaint(simulator, '[delay=3600]', { webhook: deaf.url })
    const hanging = send(simulator, '[reply_delay=3600]').catch((error: unknown) => error)
    const succeeding = send(simulator, '[reply=success delay=3600]').catch(
      (error: unknown) => error,
    )
    await simulator.until((all) => all.length === 3)
    const before = performance.now()
    await simulator.close()
    expect(performance.now() - before).toBeLessThan(AT_ONCE_MS)
    expect(await hanging).toBeInstanceOf(Error)
    expect(await succeeding).toBeInstanceOf(Error)
    expect(deaf.received).toEqual([])
    await expect(send(simulator, null)).rejects.toThrow()
    await simulator.close()
  })

  it('does not wait for a picture that comes slowly, and says nothing of it', async () => {
    const printed = vi.spyOn(console, 'error')
    const simulator = await startSimulator({ knobs: { delay: 0, slow: 3600 } })
    const { output } = await generate(simulator, 'a harbour')
    const response = await fetch(output[0] ?? '')
    const before = performance.now()
    await simulator.close()
    expect(performance.now() - before).toBeLessThan(AT_ONCE_MS)
    await expect(response.arrayBuffer()).rejects.toThrow('terminated')
    expect(printed).not.toHaveBeenCalled()
    printed.mockRestore()
  })

  it('goes on when a client leaves in the middle of a picture', async () => {
    const printed = vi.spyOn(console, 'error')
    const simulator = await start({ knobs: { slow: 0.2 } })
    const { output } = await generate(simulator, 'a harbour')
    const leaving = await fetch(output[0] ?? '')
    await leaving.body?.cancel()
    expect((await download(output[0])).length).toBe(Number(leaving.headers.get('content-length')))
    expect(printed).not.toHaveBeenCalled()
    printed.mockRestore()
  })

  it('does not wait for a webhook that never answers', async () => {
    const simulator = await startSimulator({ knobs: { delay: 0 } })
    const outer = await start({ knobs: { reply_delay: 3600 } })
    await inpaint(simulator, null, { webhook: `${outer.apiUrl}/api/v6/images/inpaint` })
    await outer.until((all) => all.length === 1)
    await simulator.close()
    expect(simulator.submissions()[0]?.callbacks).toMatchObject([{ answer: null }])
  })

  it('listens on 127.0.0.1 only', async () => {
    const simulator = await start()
    for (const origin of [simulator.apiUrl, simulator.outputOrigin, simulator.proxyOrigin]) {
      expect((await fetch(`${origin}/nothing`)).status).toBe(404)
      await expect(fetch(origin.replace('127.0.0.1', '127.0.0.2'))).rejects.toThrow('fetch failed')
    }
  })

  it('opens no port where one is taken', async () => {
    const first = await start()
    const taken = Number(new URL(first.apiUrl).port)
    const gone = await startSimulator()
    await gone.close()
    const outputPort = Number(new URL(gone.outputOrigin).port)
    await expect(startSimulator({ apiPort: taken, outputPort })).rejects.toThrow('EADDRINUSE')
    expect((await start({ outputPort })).outputOrigin).toBe(gone.outputOrigin)
  })
})
