import type { BoardState } from '@panseo/sdk'
import { createElement, useEffect } from 'react'
import { renderToStaticMarkup } from 'react-dom/server'
import { expect, test, vi } from 'vitest'

import { useLeaveQuestion } from './hooks'
import { SaveState } from './SaveState'

vi.mock('react', async (original) => ({ ...(await original<object>()), useEffect: vi.fn() }))

const STATE: BoardState = { save: 'saved', unsaved: 0, why: null, device: 'kept' }

const shown = (state: Partial<BoardState>) =>
  renderToStaticMarkup(createElement(SaveState, { state: { ...STATE, ...state } }))

test.each(['unauthenticated', 'forbidden', 'no_board', 'fault'] as const)('%s: says that edits wait', (why) => {
  expect(shown({ save: 'read-only', why, unsaved: 2 })).toContain('Waiting here: 2 edits.')
  expect(shown({ save: 'read-only', why })).not.toContain('Waiting')
})

test('the browser asks before the page closes only while that loses something', () => {
  const page = new EventTarget()
  vi.stubGlobal('addEventListener', page.addEventListener.bind(page))
  vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page))
  const asks = (state: Partial<BoardState>, more = false) => {
    vi.mocked(useEffect).mockClear()
    useLeaveQuestion({ ...STATE, ...state }, more)
    const end = vi.mocked(useEffect).mock.lastCall?.[0]()
    const event = new Event('beforeunload', { cancelable: true })
    Object.defineProperty(event, 'returnValue', { writable: true })
    page.dispatchEvent(event)
    end?.()
    return event.defaultPrevented
  }
  expect(asks({ unsaved: 1, device: 'off' })).toBe(true)
  expect(asks({ unsaved: 1, device: 'full' })).toBe(true)
  expect(asks({ unsaved: 1 })).toBe(false)
  expect(asks({ device: 'off' })).toBe(false)
  expect(asks({}, true)).toBe(true)
  vi.unstubAllGlobals()
})
