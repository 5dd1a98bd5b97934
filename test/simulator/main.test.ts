import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { knobNames } from '../../src/simulator/knobs/knobs.ts'
import { runSimulator } from '../../src/simulator/main.ts'
import { post, read, request, start } from '../support/simulator.ts'

/** A terminal that keeps what is written, and a way to interrupt what runs on it. */
function terminal() {
  let interrupt = () => {}
  const interrupted = new Promise<void>((resolve) => (interrupt = resolve))
  const written = { out: '', err: '' }
  let ready: (banner: string) => void = () => {}
  const banner = new Promise<string>((resolve) => (ready = resolve))
  return {
    written,
    banner,
    interrupt: () => interrupt(),
    terminal: {
      out: (text: string) => void (written.out += text),
      err: (text: string) => {
        written.err += text
        if (text.includes('To start Afterimage')) ready(text)
      },
      interrupted: () => interrupted,
    },
  }
}

describe('afterimage simulator', () => {
  it('prints help that names every knob', async () => {
    const screen = terminal()
    expect(await runSimulator(['--help'], 'afterimage', screen.terminal)).toBe(0)
    for (const name of knobNames)
      expect(screen.written.out).toMatch(new RegExp(`^${name}[ =]`, 'm'))
  })

  it.each([
    [['--callback', 'gone'], 'callback=gone is not known to the simulator. Allowed: auto, sent,'],
    [['--port', '70000'], '--port 70000 is not an integer from 0 to 65535.'],
    [['--max-queued', '0'], '--max-queued 0 is not an integer from 1'],
    [['--host', '0.0.0.0'], "Unknown option '--host'"],
    [['somewhere'], 'somewhere'],
  ])('refuses %j with exit code 2, saying why', async (argv, complaint) => {
    const screen = terminal()
    expect(await runSimulator(argv, 'afterimage', screen.terminal)).toBe(2)
    expect(screen.written.err).toContain(complaint)
  })

  it('says where it listens and what to set, serves with the knobs it was given, and ends with 0', async () => {
    const screen = terminal()
    const code = runSimulator(
      ['--port', '0', '--key', 'the-key', '--reply', 'success', '--delay', '0'],
      'afterimage',
      screen.terminal,
    )
    const banner = await screen.banner
    const [, apiUrl = ''] = /MODELSLAB_BASE_URL=(\S+)/.exec(banner) ?? []
    const answer = await read(
      await post(`${apiUrl}/api/v6/images/inpaint`, { ...request, key: 'the-key', track_id: 'x' }),
    )
    expect(answer.status).toBe('success')
    expect(banner).toContain(
      `ALLOWED_PRIVATE_ORIGINS=${new URL(answer.output[0] ?? '').origin},${new URL(answer.proxy_links[0] ?? '').origin}`,
    )
    expect(screen.written.err).toMatch(/^\d\d:\d\d:\d\d inpaint \d+ "x": 200 success$/m)
    screen.interrupt()
    expect(await code).toBe(0)
    await expect(fetch(apiUrl)).rejects.toThrow('fetch failed')
  })

  it('ends with 1 where the port is taken', async () => {
    const screen = terminal()
    const { port } = new URL((await start()).apiUrl)
    expect(await runSimulator(['--port', port], 'npx --no afterimage', screen.terminal)).toBe(1)
    expect(screen.written.err).toContain('EADDRINUSE')
    expect(screen.written.err).toContain(
      'perhaps by another simulator. Any free ports: npx --no afterimage simulator --port 0\n',
    )
  })

  it('prints settings that a shell takes whole, whatever is in the key', async () => {
    const screen = terminal()
    const key = `it's "the" $key`
    const code = runSimulator(['--port', '0', '--key', key], 'npx --no afterimage', screen.terminal)
    const banner = await screen.banner
    screen.interrupt()
    await code
    const exports = banner.match(/^ {2}export .*\n/gmu)?.join('') ?? ''
    const shown = [
      'MODELSLAB_BASE_URL',
      'MODELSLAB_API_KEY',
      'PUBLIC_URL',
      'ALLOWED_PRIVATE_ORIGINS',
    ]

    const asked = shown.map((name) => `"$${name}"`).join(' ')
    const told = execFileSync('sh', ['-c', `${exports}printf '%s\\n' ${asked}`], {
      encoding: 'utf8',
    })

    expect(told.split('\n')).toEqual([
      expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/u),
      key,
      'http://127.0.0.1:8787',
      expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+,http:\/\/127\.0\.0\.1:\d+$/u),
      '',
    ])
    expect(banner).toContain('\n  npx --no afterimage serve\n')
    expect(banner.split('\n').filter(({ length }) => length > 80)).toEqual([])
  })
})
