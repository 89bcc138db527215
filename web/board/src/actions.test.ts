import type { Board, Save } from '@panseo/sdk'
import { createElement } from 'react'
import { renderToStaticMarkup } from 'react-dom/server'
import { expect, test, vi } from 'vitest'

import { useFiles } from './actions'
import type { MenuItem } from './excalidraw/Canvas'
import type { CanvasHandle } from './excalidraw/handle'
import { en } from './i18n/en'

vi.mock('./excalidraw/Canvas', () => ({ COMMENTS: 'comments' }))

test('a page is not cleared without a connection: on the way back it would be another one', () => {
  const state: { save: Save } = { save: 'saved' }
  const op = vi.fn(() => Promise.resolve())
  const toast = vi.fn()
  const board = { state, op } as unknown as Board
  const handle = { toast, undo: { edited: () => {} } } as unknown as CanvasHandle
  const context = { board, rest: {} as never, words: en, handle, page: '', title: '', canEdit: true, isTeacher: true }
  let menu: MenuItem[] = []
  const Page = () => {
    menu = useFiles({ ...context, ask: ({ onYes }) => onYes() }).menu
    return null
  }
  renderToStaticMarkup(createElement(Page))
  const clear = () => menu.find(({ key }) => key === 'clear')?.onSelect()
  clear()
  expect(op).toHaveBeenCalledOnce()
  state.save = 'offline'
  clear()
  expect(op).toHaveBeenCalledOnce()
  expect(toast).toHaveBeenCalledWith('Clearing rests: no connection')
})
