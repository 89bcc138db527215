import { describe, expect, test } from 'vitest'

import { random } from '../testing/random'
import { between, comparePlaced, reorder, sequence } from './order'

describe('keys of the order', () => {
  test('ten thousand on top or below stay short', () => {
    let top = between(undefined, undefined)
    let bottom = top
    for (let count = 0; count < 10_000; count++) {
      const above = between(top, undefined)
      const below = between(undefined, bottom)
      expect(above > top && below < bottom).toBe(true)
      top = above
      bottom = below
    }
    expect([top.length, bottom.length]).toEqual([9, 9])
  })

  test('there is always room between two keys', () => {
    for (let seed = 1; seed <= 100; seed++) {
      const { int, pick, real } = random(seed)
      const draw = () => real(0, 1)
      const keys = sequence(undefined, undefined, 2, draw)
      for (let step = 0; step < 60; step++) {
        const at = int(keys.length - 1)
        const fresh = sequence(keys[at], keys[at + 1], pick([1, 1, 2, 5]), draw)
        keys.splice(at + 1, 0, ...fresh)
      }
      expect([...keys].sort((a, b) => (a < b ? -1 : 1))).toEqual(keys)
      expect(new Set(keys).size).toBe(keys.length)
    }
  })

  test('odd neighbours give keys above the lower one', () => {
    for (const [lower, upper] of [
      ['b', 'a'],
      ['a', 'a'],
      ['가', '나'],
      ['a', 'a0'],
      ['z'.repeat(2_000), 'zz'],
      ['', '']
    ] as const) {
      const keys = sequence(lower, upper, 3)
      expect(keys[0]! < keys[1]! && keys[1]! < keys[2]!).toBe(true)
    }
    expect(between('b', 'a') > 'b').toBe(true)
  })

  test('a list gets its order with few new keys', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const { int, flip } = random(seed)
      const keys = sequence(undefined, undefined, 20)
      const items = keys.map((pos, index) => ({ id: `e${index}`, pos: flip() ? pos : (keys[int(20)] as string) }))
      items.sort(comparePlaced)
      const moved = items.splice(int(items.length), 1)
      items.splice(int(items.length), 0, ...moved)
      const wanted = items.map((item, index) => (index % 7 === 3 ? { id: item.id, pos: undefined } : item))
      const fresh = reorder(wanted)
      const after = wanted.map(({ id, pos }) => ({ id, pos: fresh.get(id) ?? (pos as string) }))
      expect([...after].sort(comparePlaced).map(({ id }) => id)).toEqual(after.map(({ id }) => id))
    }
  })

  test('one that moved is the only one with a new key', () => {
    const keys = sequence(undefined, undefined, 10)
    const items = keys.map((pos, index) => ({ id: `e${index}`, pos }))
    items.splice(7, 0, ...items.splice(2, 1))
    expect([...reorder(items).keys()]).toEqual(['e2'])
  })
})
