// Pointing without the pen: Excalidraw out of its view mode, where a drag would move the board, but with the laser as its
// only tool. What slips through is given up by the session, as all that is done on the canvas without the pen.

import type { ExcalidrawImperativeAPI } from '@excalidraw/excalidraw/types'
import { type RefObject, useEffect } from 'react'

import { isLetter, isTextField } from './undo'

type Pressed = Pick<KeyboardEvent, 'key' | 'code' | 'ctrlKey' | 'metaKey' | 'altKey' | 'shiftKey'>

const ZOOMS: ReadonlySet<string> = new Set(['Equal', 'Minus', 'Digit0', 'NumpadAdd', 'NumpadSubtract', 'Numpad0'])
const MOVES: ReadonlySet<string> = new Set([' ', 'PageUp', 'PageDown'])

/** The laser's key in Excalidraw. */
export function isPointKey(event: Pressed): boolean {
  return !event.ctrlKey && !event.metaKey && !event.altKey && isLetter(event, 'k')
}

/** Whether a key only moves the view, or makes it larger or smaller. */
export function movesView(event: Pressed): boolean {
  if (event.altKey) return false
  if (event.ctrlKey || event.metaKey) return ZOOMS.has(event.code)
  return MOVES.has(event.key) || (event.shiftKey && event.code === 'Digit1')
}

export interface PointingProps {
  /** Whoever is here has no pen. */
  canPoint: boolean
  isPointing: boolean
  onPointing: (isPointing: boolean) => void
}

export function usePointing(
  api: ExcalidrawImperativeAPI | null,
  container: RefObject<HTMLElement | null>,
  { canPoint, isPointing, onPointing }: PointingProps
): void {
  useEffect(() => {
    if (!canPoint) return
    const onKey = (event: KeyboardEvent) => {
      if (isTextField(event.target)) return
      if (isPointKey(event)) {
        if (!event.repeat) onPointing(!isPointing)
      } else if (isPointing && event.key === 'Escape') onPointing(false)
      else if (!isPointing || movesView(event)) return
      event.stopPropagation()
    }
    return listen(outermost(), 'keydown', onKey)
  }, [canPoint, isPointing, onPointing])

  useEffect(() => {
    const root = container.current
    if (!isPointing || !api || !root) return
    const keepLaser = () => {
      const { activeTool, selectedElementIds, contextMenu } = api.getAppState()
      if (activeTool.type !== 'laser') api.setActiveTool({ type: 'laser' })
      if (contextMenu || Object.keys(selectedElementIds).length > 0)
        api.updateScene({ appState: { selectedElementIds: {}, contextMenu: null } })
    }
    const stop = (event: Event) => {
      if (isTextField(event.target)) return
      event.preventDefault()
      event.stopPropagation()
    }
    const ends = [
      api.onChange(keepLaser),
      listen(outermost(), 'paste', stop),
      listen(outermost(), 'cut', stop),
      listen(root, 'drop', stop, true),
      listen(root, 'dblclick', stop, true),
      listen(root, 'contextmenu', stop, true)
    ]
    keepLaser()
    return () => {
      for (const end of ends) end()
      api.setActiveTool({ type: 'selection' })
    }
  }, [api, container, isPointing])
}

/** Excalidraw listens one further out, at the document; all else that listens has heard it by then. */
function outermost(): HTMLElement {
  return document.documentElement
}

function listen<K extends keyof HTMLElementEventMap>(
  target: HTMLElement,
  name: K,
  listener: (event: HTMLElementEventMap[K]) => void,
  isEarly = false
): () => void {
  target.addEventListener(name, listener, isEarly)
  return () => target.removeEventListener(name, listener, isEarly)
}
