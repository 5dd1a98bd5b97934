/** A number from 0 (inclusive) to 1. */
type Dice = () => number

const HORIZON = 560
const HILLS = 5
const GOLDEN_ANGLE = 137.5

/**
 * An SVG of hills under a sun or moon, the same for the same seed and position, and of another
 * colour for every position.
 */
export function landscape(seed: number, position: number, width: number, height: number) {
  const dice = diceOf(`${seed}/${position}`)
  const hue = Math.round((diceOf(String(seed))() * 360 + position * GOLDEN_ANGLE) % 360)
  const night = dice() < 0.3
  const scene = [
    sky(hue, night),
    night ? stars(dice) : '',
    sun(dice, night),
    ...hills(dice, hue, night),
  ]
  const frame = `width="${width}" height="${height}" viewBox="0 0 1000 1000" preserveAspectRatio="xMidYMid slice"`
  return `<svg xmlns="http://www.w3.org/2000/svg" ${frame}>${scene.join('')}</svg>`
}

function sky(hue: number, night: boolean) {
  const [top, middle, low] = night ? [10, 22, 42] : [52, 74, 90]
  return `
    <linearGradient id="sky" x2="0" y2="1">
      <stop offset="0" stop-color="hsl(${hue},55%,${top}%)"/>
      <stop offset=".38" stop-color="hsl(${hue + 25},60%,${middle}%)"/>
      <stop offset=".62" stop-color="hsl(${hue + 60},75%,${low}%)"/>
    </linearGradient>
    <rect width="1000" height="1000" fill="url(#sky)"/>`
}

function stars(dice: Dice) {
  return Array.from({ length: 90 }, () => {
    const at = `cx="${round(dice() * 1000)}" cy="${round(dice() * HORIZON)}"`
    return `<circle ${at} r="${round(0.8 + dice() * 2)}" fill="#fff" opacity="${round(0.3 + dice() * 0.7)}"/>`
  }).join('')
}

function sun(dice: Dice, night: boolean) {
  const at = `cx="${round(200 + dice() * 600)}" cy="${round(180 + dice() * 320)}"`
  const colour = night ? '#f4f1e4' : '#fff3c9'
  return `
    <radialGradient id="glow">
      <stop offset="0" stop-color="${colour}" stop-opacity=".7"/>
      <stop offset="1" stop-color="${colour}" stop-opacity="0"/>
    </radialGradient>
    <circle ${at} r="330" fill="url(#glow)"/>
    <circle ${at} r="${round(50 + dice() * 45)}" fill="${colour}"/>`
}

/** From the farthest, palest ridge to the nearest, darkest. */
function hills(dice: Dice, hue: number, night: boolean) {
  return Array.from({ length: HILLS }, (_, layer) => {
    const nearness = layer / (HILLS - 1)
    const light = night ? 30 - 24 * nearness : 66 - 48 * nearness
    const fill = `hsl(${hue + 40 - 50 * nearness},${round(30 + 15 * nearness)}%,${round(light)}%)`
    return `<path d="${ridge(dice, HORIZON + layer * 85, 90 - 10 * layer)}" fill="${fill}"/>`
  })
}

function ridge(dice: Dice, base: number, swing: number) {
  const waves = [1, 2.3, 5.1].map((pace) => ({
    pace: (pace * (0.7 + dice() * 0.6)) / 160,
    phase: dice() * 7,
    swing: swing / pace,
  }))
  const heightAt = (x: number) =>
    waves.reduce((y, wave) => y + wave.swing * Math.sin(x * wave.pace + wave.phase), base)
  const points = Array.from(
    { length: 51 },
    (_, step) => `${step * 20},${round(heightAt(step * 20))}`,
  )
  return `M0,1000L${points.join('L')}L1000,1000Z`
}

/** FNV-1a over the name starts mulberry32. */
function diceOf(name: string): Dice {
  let state = Buffer.from(name).reduce(
    (hash, byte) => Math.imul(hash ^ byte, 0x01000193),
    0x811c9dc5,
  )
  return () => {
    state = (state + 0x6d2b79f5) | 0
    const mixed = Math.imul(state ^ (state >>> 15), state | 1)
    const again = mixed ^ (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61))
    return ((again ^ (again >>> 14)) >>> 0) / 2 ** 32
  }
}

function round(value: number) {
  return Number(value.toFixed(2))
}
