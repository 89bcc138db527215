import { createElement } from 'react'
import { renderToStaticMarkup } from 'react-dom/server'
import { expect, test } from 'vitest'

import { type RefusedEntry, gather } from '../document/refused'
import type { Plain } from '../document/values'
import { fileOf } from '../excalidraw/element'
import { Refused } from './Refused'

const entry = (id: string, properties: Record<string, Plain>, kind = 'element'): RefusedEntry => ({
  kind,
  id,
  properties
})
const made = { type: 'rectangle', x: 1, y: 2, pos: 'V' }

test('what was refused is gathered into a file, each element as it was in the end', async () => {
  let all = gather(new Map(), [entry('a', made), entry('b', { ...made, pos: 'A' }), entry('c', made)])
  all = gather(all, [entry('a', { x: 7 }), entry('c', { deleted: 1 }), entry('c', { x: 2 })])
  all = gather(all, [entry('there', { x: 3 }), entry('talk', { text: 'hello' }, 'comment')])
  all = gather(all, [entry('i', { ...made, type: 'image', pos: 'W', fileId: 'shown' })])
  const file = JSON.parse(await fileOf(all, { shown: { id: 'shown' }, another: { id: 'another' } }).text())
  expect([file.type, file.elements.map(({ id, x }: { id: string; x: number }) => [id, x])]).toEqual([
    'excalidraw',
    [
      ['b', 1],
      ['a', 7],
      ['i', 1]
    ]
  ])
  expect(file.files).toEqual({ shown: { id: 'shown' } })
})

test('says how much it is, and stays until it is dismissed', () => {
  const html = renderToStaticMarkup(createElement(Refused, { count: 12, onSave: () => {}, onClose: () => {} }))
  for (const part of ['role="alert"', '12 drawings were not taken.', 'Save as file', 'Close'])
    expect(html).toContain(part)
})
