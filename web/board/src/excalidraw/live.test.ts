import { describe, expect, test } from 'vitest'

import { unpack } from '../document/points'
import type { Properties } from '../document/values'
import type { Scene } from './binding'
import { toElement } from './element'
import { LiveStroke, StrokeSender, dragFrame, readDrag } from './live'

const drawn = (count: number) => ({
  ...toElement('s', { type: 'freedraw', x: 10, y: 20, pos: 'V', strokeColor: '#e03131' }, 1, 1),
  points: Array.from({ length: count }, (_, index) => [index, 2 * index] as const),
  pressures: Array.from({ length: count }, () => 0.6),
  simulatePressure: false
})
const pointsOf = (properties: Properties | undefined) => unpack(properties?.points as Uint8Array).points

describe('a stroke in the making', () => {
  test('goes in frames of new points, and is put together again', () => {
    const sender = new StrokeSender('p')
    const frames = [...sender.frames(drawn(3)), ...sender.frames(drawn(3)), ...sender.frames(drawn(1_200))]
    expect(frames.length).toBe(4)
    const stroke = LiveStroke.of(1, frames[0])
    for (const frame of frames) stroke?.add(frame)
    expect(stroke).toMatchObject({ id: 's', page: 'p', tip: [10 + 1_199, 20 + 2 * 1_199] })
    expect(stroke?.properties).toMatchObject({ type: 'freedraw', x: 10, y: 20, strokeColor: '#e03131' })
    expect(pointsOf(stroke?.properties)).toEqual(drawn(1_200).points)
  })

  test('survives frames that are lost, come twice, or are nonsense', () => {
    const sender = new StrokeSender('')
    const [first, second, third, fourth] = [2, 4, 6, 8].flatMap((count) => sender.frames(drawn(count)))
    const stroke = LiveStroke.of(1, first)
    for (const frame of [
      first,
      second,
      second,
      fourth,
      7,
      null,
      [-1, new Uint8Array([0, 0])],
      [8, new Uint8Array([9])]
    ]) {
      stroke?.add(frame)
    }
    expect(pointsOf(stroke?.properties).map(([x]) => x)).toEqual([0, 1, 2, 3, 6, 7])
    expect(LiveStroke.of(1, third)).toBeUndefined()
    expect(LiveStroke.of(1, { id: 's', page: 4 })).toBeUndefined()
  })

  test('the next stroke begins anew', () => {
    const sender = new StrokeSender('')
    sender.frames(drawn(5))
    const [first] = sender.frames({ ...drawn(2), id: 't' })
    expect(LiveStroke.of(1, first)?.id).toBe('t')
  })
})

describe('a drag', () => {
  const base = { type: 'rectangle', x: 0, y: 0, pos: 'V' }
  const scene: Scene = Array.from({ length: 60 }, (_, index) => ({
    ...toElement(`e${index}`, base, 1, 1),
    x: index,
    angle: 0.5
  }))

  test('shows places and sizes of what is dragged', () => {
    const frame = dragFrame('p', scene, () => base, new Set(['e1', 'e2']), [5, 6])
    expect(readDrag(frame)).toMatchObject({ page: 'p', pointer: [5, 6] })
    expect([...(readDrag(frame)?.elements ?? [])].map(([id, { x, angle }]) => [id, x, angle])).toEqual([
      ['e1', 1, 0.5],
      ['e2', 2, 0.5]
    ])
  })

  test('stays below what the server takes', () => {
    /** As `value_bytes` of the server counts. */
    const bytes = (value: unknown): number => {
      if (value instanceof Uint8Array || typeof value === 'string') return 32 + value.length
      const parts = Array.isArray(value) ? value.map((item) => ['', item] as const) : Object.entries(value ?? {})
      return 32 + parts.reduce((sum, [key, item]) => sum + key.length + bytes(item), 0)
    }
    let shown = 0
    for (const points of [0, 10, 40, 150])
      for (let count = 1; count <= 41; count++) {
        const id = (index: number) => `0123456789abcdef-${points}-${index}`
        const stroke = { ...drawn(points), width: 5, height: 6, angle: 0.5 }
        const scene = Array.from({ length: count }, (_, index) => ({ ...stroke, id: id(index) }))
        const dragged = new Set(scene.map((element) => element.id))
        const frame = dragFrame('page', scene, () => base, dragged, [1, 2])
        if (frame) shown = Math.max(shown, bytes(frame))
      }
    expect(shown).toBeLessThanOrEqual(8_192)
    expect(shown).toBeGreaterThan(7_000)
  })

  test('of very many elements, or of none, shows nothing', () => {
    expect(dragFrame('', scene, () => base, new Set(scene.map(({ id }) => id)), undefined)).toBeUndefined()
    expect(dragFrame('', scene, () => undefined, new Set(['e1']), undefined)).toBeUndefined()
  })

  test('of somebody else changes places only', () => {
    const elements = { e1: { x: 4, text: 'mine', y: 'no', points: new Uint8Array([0, 0]) }, e2: 'what' }
    expect([...(readDrag({ page: '', elements })?.elements ?? [])]).toEqual([
      ['e1', { x: 4, points: new Uint8Array([0, 0]) }]
    ])
    expect(readDrag({ page: '' })).toBeUndefined()
    expect(readDrag(null)).toBeUndefined()
  })
})
