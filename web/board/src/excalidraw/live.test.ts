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
