// What the user is in the middle of: read from Excalidraw's state, so that the binding knows what to leave alone.

import type { AppState } from '@excalidraw/excalidraw/types'

import type { SceneElement } from './element'

type State = Pick<
  AppState,
  | 'newElement'
  | 'multiElement'
  | 'editingTextElement'
  | 'resizingElement'
  | 'editingLinearElement'
  | 'selectedLinearElement'
  | 'croppingElementId'
  | 'pendingImageElementId'
  | 'selectedElementIds'
>

/** Whether a gesture is under way that ends later: a drag, a stroke, typing, a line of many clicks. */
export function isBusy(state: State, isPointerDown: boolean): boolean {
  return isPointerDown || isTyping(state) || state.multiElement !== null
}

export function isTyping(state: State): boolean {
  return state.editingTextElement !== null
}

/** Elements that keep their local value: those under the pointer or in an editor. */
export function heldIds(state: State, isPointerDown: boolean): Set<string> {
  const held = new Set<string>()
  const add = (id: string | null | undefined) => {
    if (id) held.add(id)
  }
  for (const element of [state.newElement, state.multiElement, state.editingTextElement]) add(element?.id)
  const text = state.editingTextElement
  if (text?.type === 'text') add(text.containerId)
  add(state.editingLinearElement?.elementId)
  add(state.croppingElementId)
  add(state.pendingImageElementId)
  if (isPointerDown) {
    add(state.resizingElement?.id)
    add(state.selectedLinearElement?.elementId)
    for (const id of Object.keys(state.selectedElementIds)) add(id)
  }
  return held
}

/** The stroke that is being drawn just now. */
export function strokeInMaking(state: State): string | undefined {
  return state.newElement?.type === 'freedraw' ? state.newElement.id : undefined
}

/**
 * Whether an element is not yet to be written: a stroke before pen-up, a shape without size, a text without a letter
 * (with the shape it is bound to), an image that has no place yet or whose content is not known by its hash.
 */
export function waits(
  element: SceneElement,
  state: State,
  find: (id: string) => SceneElement | undefined,
  isKnown: (id: string) => boolean,
  isImageReady: (fileId: unknown) => boolean
): boolean {
  if (element.type === 'image' && !element.isDeleted) {
    if (!isImageReady(element.fileId) || element.id === state.pendingImageElementId) return true
  }
  if (element.id === strokeInMaking(state)) return true
  // The editor's own element is that of its beginning; what was typed is in the scene.
  const editor = state.editingTextElement
  if (editor && !isKnown(editor.id)) {
    const text = find(editor.id)
    const isEmpty = text?.text === ''
    if (isEmpty && (element.id === text.id || element.id === text.containerId)) return true
  }
  const isFresh = element.id === state.newElement?.id && !isKnown(element.id)
  return isFresh && element.width === 0 && element.height === 0
}
