// Files dropped on the canvas. Excalidraw puts a drawing that lies in one, a picture too, in the place of what is there.

import { loadFromBlob, serializeAsJSON } from '@excalidraw/excalidraw'

/** The drawing that a file holds, under whatever name, as a file of a board. */
export async function boardIn(file: File): Promise<File | undefined> {
  try {
    const { elements, appState, files } = await loadFromBlob(file, null, null)
    return new File([serializeAsJSON(elements, appState, files, 'local')], 'drawing.excalidraw')
  } catch {
    // An image without one, or no drawing at all: Excalidraw knows what to do.
    return undefined
  }
}

/** Drops a file there once more. */
export function drop(file: File, target: EventTarget, clientX: number, clientY: number): void {
  const dataTransfer = new DataTransfer()
  dataTransfer.items.add(file)
  target.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, clientX, clientY, dataTransfer }))
}
