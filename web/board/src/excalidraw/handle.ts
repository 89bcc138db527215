// What the rest of the board asks of the canvas.

import {
  CaptureUpdateAction,
  convertToExcalidrawElements,
  sceneCoordsToViewportCoords,
  viewportCoordsToSceneCoords
} from '@excalidraw/excalidraw'
import type { BinaryFiles, ExcalidrawImperativeAPI } from '@excalidraw/excalidraw/types'

import type { Images } from './images'
import type { CanvasSession } from './session'
import type { Undo } from './undo'

export interface Place {
  x: number
  y: number
}

/** Where a thread points to. */
export interface Spot {
  element: string | undefined
  x: number | undefined
  y: number | undefined
}

const NOTE_SIDE = 200
const NOTE_COLOR = '#ffec99'

export class CanvasHandle {
  constructor(
    private readonly api: ExcalidrawImperativeAPI,
    private readonly container: HTMLElement,
    readonly session: CanvasSession,
    readonly undo: Undo,
    readonly images: Images
  ) {}

  toast(message: string): void {
    this.api.setToast({ message, duration: 4_000, closable: true })
  }

  /** Contents of images on the canvas, by what elements call them. */
  get contents(): BinaryFiles {
    return this.api.getFiles()
  }

  toggleSidebar(name: string, force?: boolean): void {
    this.api.toggleSidebar(force === undefined ? { name } : { name, force })
  }

  /** The one selected element. */
  get selected(): string | undefined {
    const ids = Object.keys(this.api.getAppState().selectedElementIds)
    return ids.length === 1 ? ids[0] : undefined
  }

  get isPhone(): boolean {
    return this.container.querySelector('.excalidraw--mobile') !== null
  }

  get center(): Place {
    const { offsetLeft, offsetTop, width, height } = this.api.getAppState()
    return this.toScene(offsetLeft + width / 2, offsetTop + height / 2)
  }

  toScene(clientX: number, clientY: number): Place {
    return viewportCoordsToSceneCoords({ clientX, clientY }, this.api.getAppState())
  }

  /** Place of a spot on the screen, from the corner of the canvas; none if its element is gone. */
  toScreen({ element, x, y }: Spot): Place | undefined {
    const state = this.api.getAppState()
    let [sceneX, sceneY] = [x, y]
    if (element !== undefined) {
      const found = this.api.getSceneElements().find(({ id }) => id === element)
      if (!found) return undefined
      sceneX = found.x + found.width
      sceneY = found.y
    }
    if (sceneX === undefined || sceneY === undefined) return undefined
    const at = sceneCoordsToViewportCoords({ sceneX, sceneY }, state)
    return { x: at.x - state.offsetLeft, y: at.y - state.offsetTop }
  }

  /** Brings a spot into view. */
  reveal({ element, x, y }: Spot): void {
    const found = this.api.getSceneElements().find(({ id }) => id === element)
    if (found) {
      this.api.scrollToContent(found, { animate: true, duration: 200 })
      this.api.updateScene({ appState: { selectedElementIds: { [found.id]: true } } })
    } else if (x !== undefined && y !== undefined) {
      const { width, height, zoom } = this.api.getAppState()
      this.api.updateScene({ appState: { scrollX: width / 2 / zoom.value - x, scrollY: height / 2 / zoom.value - y } })
    }
  }

  /** Calls back when the canvas was scrolled, zoomed or changed. */
  onMove(listener: () => void): () => void {
    const ends = [this.api.onScrollChange(listener), this.api.onChange(listener)]
    return () => ends.forEach((end) => end())
  }

  /** A rectangle in the middle of the screen, open for typing. */
  addStickyNote(): void {
    const { x, y } = this.center
    const [note] = convertToExcalidrawElements([
      {
        type: 'rectangle',
        x: x - NOTE_SIDE / 2,
        y: y - NOTE_SIDE / 2,
        width: NOTE_SIDE,
        height: NOTE_SIDE,
        backgroundColor: NOTE_COLOR,
        strokeColor: '#1e1e1e',
        strokeWidth: 1,
        fillStyle: 'solid',
        roughness: 0
      }
    ])
    if (!note) return
    this.api.updateScene({
      elements: [...this.api.getSceneElementsIncludingDeleted(), note],
      appState: { selectedElementIds: { [note.id]: true } },
      captureUpdate: CaptureUpdateAction.NEVER
    })
    this.api.setActiveTool({ type: 'selection' })
    // Enter on a selected shape opens its text; there is no other way in from outside.
    const enter = () => {
      this.container.querySelector<HTMLElement>('.excalidraw')?.focus()
      document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', code: 'Enter', bubbles: true }))
    }
    requestAnimationFrame(() => requestAnimationFrame(enter))
  }
}
