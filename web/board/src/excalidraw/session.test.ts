import type { ExcalidrawImperativeAPI } from '@excalidraw/excalidraw/types'
import type { Board } from '@panseo/sdk'
import { beforeEach, expect, test, vi } from 'vitest'
import * as Y from 'yjs'

import { entriesOf, readEntry, writeEntry } from '../document/entries'
import { pack, unpack } from '../document/points'
import type { Changes } from '../document/values'
import { type SceneElement, toElement } from './element'
import type { Images } from './images'
import { StrokeSender } from './live'
import { CanvasSession } from './session'

vi.mock('@excalidraw/excalidraw', () => ({ CaptureUpdateAction: { NEVER: 'NEVER' } }))

/** What the session uses of Excalidraw. Whatever the pen makes is changed in place, as Excalidraw does. */
class Canvas {
  scene: SceneElement[] = []
  state: Record<string, unknown> = {
    newElement: null,
    multiElement: null,
    editingTextElement: null,
    selectedElementIds: {},
    viewBackgroundColor: '#ffffff'
  }
  private readonly listeners = new Set<(scene: unknown, state: unknown) => void>()
  readonly api = {
    getAppState: () => this.state,
    getSceneElementsIncludingDeleted: () => this.scene,
    getFiles: () => ({}),
    updateScene: ({ elements, appState }: { elements?: SceneElement[]; appState?: object }) => {
      this.scene = elements ?? this.scene
      this.state = { ...this.state, ...appState }
    },
    onChange: (listener: () => void) => {
      this.listeners.add(listener)
      return () => this.listeners.delete(listener)
    },
    onUserFollow: () => () => {},
    scrollToContent: () => {},
    history: { clear: () => {} }
  } as unknown as ExcalidrawImperativeAPI

  begin(id: string, type: string, keys: object): void {
    const element = { ...toElement(id, { type, x: 0, y: 0, pos: 'V' }, 1, 1), ...keys }
    this.scene = [...this.scene, element]
    this.state = { ...this.state, newElement: element }
    this.tell()
  }

  change(element: SceneElement, keys: object): void {
    Object.assign(element, keys, { version: element.version + 1, versionNonce: Math.random() })
    this.tell()
  }

  get newElement(): SceneElement {
    return this.state.newElement as SceneElement
  }

  lift(): void {
    this.state = { ...this.state, newElement: null }
    this.tell()
  }

  private tell(): void {
    for (const listener of this.listeners) listener(this.scene, this.state)
  }
}

class FakeBoard {
  doc = new Y.Doc()
  readonly user = 'mina'
  readonly shown = []
  readonly people = new Map()
  private readonly listeners = new Map<string, (what?: object) => void>()

  on(name: string, listener: (what?: object) => void): () => void {
    this.listeners.set(name, listener)
    return () => {}
  }

  tell(name: string, what?: object): void {
    this.listeners.get(name)?.(what)
  }

  /** Somebody else's edit, and what the server says of it. */
  hear(id: string, changes: Changes, kind = 'update', author = 'juno'): void {
    this.put(id, changes)
    this.tell('event', { kind, author })
  }

  edit<T>(change: (doc: Y.Doc) => T): T {
    return this.doc.transact(() => change(this.doc))
  }

  stroke(): void {}
  show(): void {}

  /** The same content in a new document, without what was refused. */
  swap(refused?: string): void {
    const old = this.doc
    this.doc = new Y.Doc()
    Y.applyUpdate(this.doc, Y.encodeStateAsUpdate(old))
    if (refused) this.entries.delete(refused)
    this.tell('document')
    old.destroy()
  }

  get entries() {
    return entriesOf(this.doc, 'elements')
  }

  put(id: string, changes: Changes): void {
    this.edit(() => writeEntry(this.entries, id, { type: 'rectangle', x: 0, y: 0, pos: 'V', ...changes }, true))
  }

  read(id: string) {
    return readEntry(this.entries, id)
  }

  pointsOf(id: string) {
    return unpack(this.read(id)?.points as Uint8Array).points
  }
}

let board: FakeBoard
let canvas: Canvas
let session: CanvasSession
let mayEdit: boolean
const turned: string[] = []
const onUnfit = vi.fn()
const frames: (() => void)[] = []

const paint = () => frames.splice(0).forEach((frame) => frame())
const seen = () => canvas.scene.map(({ id }) => id)

/** A page that is open; the pen is down. */
beforeEach(() => {
  const page = new EventTarget()
  vi.stubGlobal('window', page)
  vi.stubGlobal('document', { hidden: true })
  vi.stubGlobal('addEventListener', () => {})
  vi.stubGlobal('removeEventListener', () => {})
  vi.stubGlobal('HTMLCanvasElement', EventTarget)
  vi.stubGlobal('requestAnimationFrame', (frame: () => void) => frames.push(frame))
  vi.stubGlobal('cancelAnimationFrame', () => {})
  frames.length = 0
  turned.length = 0
  onUnfit.mockClear()
  mayEdit = true
  board = new FakeBoard()
  board.put('old', { width: 10, height: 10 })
  canvas = new Canvas()
  const container = new EventTarget() as HTMLElement
  const images = { want: () => {}, onReady: () => () => {}, isReady: () => true } as unknown as Images
  session = new CanvasSession(board as unknown as Board, canvas.api, '', images, container, {
    canEdit: () => mayEdit,
    onCount: () => {},
    onEdit: () => {},
    onUnfit,
    onElsewhere: (page) => turned.push(page),
    onLeader: () => {}
  })
  paint()
  container.dispatchEvent(new Event('pointerdown'))
  return () => {
    session.close()
    vi.unstubAllGlobals()
  }
})

const STROKE = { points: [[0, 0]], pressures: [] }
const draw = (...points: [number, number][]) => canvas.change(canvas.newElement, { points: [[0, 0], ...points] })

test('a stroke in the making goes on when another document takes the place of the old one', () => {
  canvas.begin('stroke', 'freedraw', STROKE)
  draw([1, 1])
  paint()
  board.swap()
  expect(seen()).toEqual(['old', 'stroke'])
  expect(board.read('stroke')).toBeUndefined()
  draw([1, 1], [2, 2])
  canvas.lift()
  window.dispatchEvent(new Event('pointerup'))
  paint()
  expect(board.pointsOf('stroke')).toEqual([
    [0, 0],
    [1, 1],
    [2, 2]
  ])
})

test('an element that no board can hold is taken off and told, and the rest is saved', () => {
  window.dispatchEvent(new Event('pointerup'))
  canvas.begin('bad', 'freedraw', { points: [[0, 0], [1]] })
  canvas.begin('good', 'ellipse', { width: 5, height: 5 })
  canvas.lift()
  paint()
  expect([board.read('good')?.width, board.read('bad'), seen()]).toEqual([5, undefined, ['old', 'good']])
  canvas.change(canvas.scene[0] as SceneElement, { x: 100 })
  paint()
  expect(board.read('old')?.x).toBe(100)
  expect(onUnfit).toHaveBeenCalledOnce()
})

test('a shape in the making grows on in the new document', () => {
  canvas.begin('shape', 'ellipse', { width: 5, height: 5 })
  board.swap()
  expect(board.read('shape')).toMatchObject({ type: 'ellipse', width: 5 })
  canvas.change(canvas.newElement, { width: 50 })
  canvas.lift()
  window.dispatchEvent(new Event('pointerup'))
  paint()
  expect(board.read('shape')).toMatchObject({ type: 'ellipse', width: 50 })
  expect(seen()).toEqual(['old', 'shape'])
})

test('a drag that no commit has taken yet goes into the new document', () => {
  canvas.change(canvas.scene[0] as SceneElement, { x: 100 })
  board.swap()
  expect(board.read('old')?.x).toBe(100)
  expect(canvas.scene[0]?.x).toBe(100)
})

test('what was refused leaves the canvas with the old document, under the pen too', () => {
  canvas.begin('shape', 'ellipse', { width: 5, height: 5 })
  session.flush()
  board.swap('shape')
  expect(seen()).toEqual(['old'])
})

test('a stroke in the making ends on its page when another page opens', () => {
  canvas.begin('stroke', 'freedraw', STROKE)
  draw([1, 1], [2, 2])
  session.open('next')
  expect(board.pointsOf('stroke')).toHaveLength(3)
  expect(board.read('stroke')?.page).toBeUndefined()
  expect([seen(), canvas.newElement]).toEqual([[], null])
})

test('what is under the pen is written when the rights pause', () => {
  canvas.begin('stroke', 'freedraw', STROKE)
  draw([1, 1], [2, 2])
  mayEdit = false
  session.leave(true)
  paint()
  expect(board.pointsOf('stroke')).toHaveLength(3)
  expect(seen()).toEqual(['old', 'stroke'])
})

test('the page turns to the answer of an undo, and to nothing else', () => {
  board.hear('early', { page: 'second' }, 'undo', 'mina')
  session.awaitAnswer()
  board.hear('other', { page: 'third' })
  board.hear('theirs', { page: 'third' }, 'undo')
  expect(turned).toEqual([])
  board.hear('mine', { page: 'second' }, 'undo', 'mina')
  board.hear('late', { page: 'third' }, 'redo', 'mina')
  expect(turned).toEqual(['second'])
})

test('the page stays where it is when an undo came to nothing and another device undoes', () => {
  session.awaitAnswer()
  session.awaitAnswer(false)
  board.hear('mine', { page: 'second' }, 'undo', 'mina')
  expect(turned).toEqual([])
})

test('a stroke of somebody else that was erased stays away when its page comes back', () => {
  const stroke = { ...toElement('live', { type: 'freedraw', x: 0, y: 0, pos: 'V' }, 1, 1), points: [[0, 0]] }
  const [data] = new StrokeSender('').frames({ ...stroke, pressures: [] } as unknown as SceneElement)
  board.tell('ephemeral', { session: 7, kind: 'stroke', gesture: 'g', data })
  session.open('next')
  session.open('')
  paint()
  expect(seen()).toContain('live')
  board.put('live', { type: 'freedraw', points: pack({ points: [[0, 0]] }) })
  paint()
  board.entries.delete('live')
  paint()
  session.open('next')
  session.open('')
  paint()
  expect(seen()).toEqual(['old'])
})

test('a page that opens ends the text editor first', () => {
  const blur = vi.fn()
  vi.stubGlobal('document', { hidden: true, activeElement: { blur } })
  canvas.state = { ...canvas.state, editingTextElement: {} }
  session.open('next')
  expect(blur).toHaveBeenCalledOnce()
  expect(canvas.state.editingTextElement).toBeNull()
})
