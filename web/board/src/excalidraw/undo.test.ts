import type { Board } from '@panseo/sdk'
import { afterEach, expect, test, vi } from 'vitest'

import { Undo } from './undo'

afterEach(() => {
  vi.unstubAllGlobals()
})

test('the keys undo nothing behind a dialog', () => {
  const page = new EventTarget()
  let dialog: object | null = null
  vi.stubGlobal('window', page)
  vi.stubGlobal('document', { querySelector: (what: string) => (what === 'dialog[open]' ? dialog : undefined) })
  vi.stubGlobal('HTMLElement', class {})
  vi.stubGlobal(
    'MutationObserver',
    class {
      observe = () => {}
      disconnect = () => {}
    }
  )
  const op = vi.fn(() => new Promise(() => {}))
  const board = { op, on: () => () => {} } as unknown as Board
  const container = Object.assign(new EventTarget(), { querySelectorAll: () => [] }) as unknown as HTMLElement
  const before = vi.fn()
  const undo = new Undo(board, container, { before, rests: () => null, label: () => '', after: () => {} })
  const press = () => {
    const event = new Event('keydown', { cancelable: true })
    page.dispatchEvent(Object.assign(event, { key: 'z', code: 'KeyZ', ctrlKey: true }))
    return event.defaultPrevented
  }
  dialog = {}
  expect([press(), op.mock.calls.length]).toEqual([true, 0])
  dialog = null
  expect([press(), op.mock.calls.length]).toEqual([true, 1])
  undo.close()
})
