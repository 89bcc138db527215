import type { ExcalidrawImperativeAPI } from '@excalidraw/excalidraw/types'
import type { EphemeralState } from '@panseo/sdk'
import { expect, test, vi } from 'vitest'

import type { Properties } from '../document/values'
import { Binding, type Scene } from './binding'
import { Others } from './others'

test('the drags of all who drag are one pass through the scene', () => {
  const made = (pos: string): Properties => ({ type: 'rectangle', x: 0, y: 0, width: 1, height: 1, pos })
  const entries = new Map(['a', 'b', 'c'].map((id) => [id, made(id)]))
  const read = (id: string) => entries.get(id)
  const binding = new Binding('', 'mina')
  const scene = binding.merge([], entries.keys(), read) as Scene
  const others = new Others(
    {} as ExcalidrawImperativeAPI,
    () => {},
    () => {}
  )
  const drag = (session: number, id: string, x: number) =>
    others.hear({ session, kind: 'drag', data: { page: '', elements: { [id]: { x } } } } as unknown as EphemeralState)
  drag(1, 'a', 10)
  drag(2, 'b', 20)
  const merge = vi.spyOn(binding, 'merge')
  const shown = others.show(scene, binding, read, () => false)
  expect(shown.map(({ x }) => x)).toEqual([10, 20, 0])
  expect(merge).toHaveBeenCalledOnce()
})
