import { describe, expect, test } from 'vitest'

import { random } from '../testing/random'
import { type Stroke, pack, roundPx, unpack } from './points'

describe('packed points', () => {
  test('a stroke comes back within its rounding', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const { int, real, flip } = random(seed)
      const count = int(60)
      const list = <T>(value: () => T) => Array.from({ length: count }, value)
      const stroke: Stroke = { points: list(() => [real(-1e6, 1e6), real(-1e6, 1e6)] as const) }
      if (flip()) stroke.pressures = list(() => real(0, 1))
      if (flip()) stroke.times = list(() => int(4_000_000_000))
      const packed = pack(stroke)
      const back = unpack(packed)
      expect(back.points).toEqual(stroke.points.map(([x, y]) => [roundPx(x), roundPx(y)]))
      back.pressures?.forEach((pressure, index) => {
        expect(Math.abs(pressure - (stroke.pressures?.[index] ?? 9))).toBeLessThanOrEqual(1 / 509)
      })
      expect(back.times).toEqual(stroke.times)
      expect(pack(back)).toEqual(packed)
    }
  })

  test('any bytes give a stroke or an error', () => {
    for (let seed = 1; seed <= 2_000; seed++) {
      const { int } = random(seed)
      const bytes = Uint8Array.from({ length: int(40) }, (_, index) => (index === 0 ? int(4) : int(256)))
      let points = 0
      try {
        points = unpack(bytes).points.length
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError)
      }
      expect(points).toBeLessThanOrEqual(bytes.length)
    }
  })

  test("the server's bytes: two points, halves away from zero", () => {
    expect([
      ...pack({
        points: [
          [0, 0],
          [-1 / 32, 8]
        ]
      })
    ]).toEqual([0, 4, 0, 0, 1, 128, 2])
  })
})
