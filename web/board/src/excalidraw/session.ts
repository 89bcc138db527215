// Between one Excalidraw canvas and one board: out once a frame at most, in once a frame, one page at a time.
//
// Order inside a frame: first what the user did goes into the document, then what others did comes onto the canvas. What
// the user is touching, or has changed and not written yet, is left alone until it is written.

import { CaptureUpdateAction } from '@excalidraw/excalidraw'
import type { ExcalidrawElement } from '@excalidraw/excalidraw/element/types'
import type { AppState, ExcalidrawImperativeAPI } from '@excalidraw/excalidraw/types'
import type { Board, EphemeralState, Value } from '@panseo/sdk'
import { flushSync } from 'react-dom'

import { type Entries, entriesOf, observeEntries, readAll, readEntry, writeEntry } from '../document/entries'
import { setBackground } from '../document/pages'
import type { Properties } from '../document/values'
import { Binding, type Scene } from './binding'
import { Follow } from './follow'
import type { Images } from './images'
import { Others } from './others'
import { Gestures } from './gestures'
import { StrokeSender, dragFrame } from './live'
import { heldIds, isBusy, strokeInMaking, waits } from './touch'

/** A little less than a frame of the browser. */
const FRAME_MS = 12
/** During a drag the document gets a commit this often, for those who do not see the ephemeral channel. */
const COMMIT_INTERVAL_MS = 250
/** 20 times a second, the first at once; frames come a little early or late. */
const LIVE_INTERVAL_MS = 50 - 8
/** A hidden tab draws no frames, but what others do must not pile up without end. */
const HIDDEN_INTERVAL_MS = 1_000

const WHITE = '#ffffff'

export interface SessionHooks {
  /** Edits may be made here. */
  canEdit(): boolean
  /** Number of live elements after each frame that changed it. */
  onCount(count: number): void
  /** After each commit. */
  onEdit(): void
  /** Something was taken off the canvas because no board can hold it. */
  onUnfit(): void
  /** An undo or redo has changed another page only. */
  onElsewhere(page: string): void
  /** Whom the canvas follows now. */
  onLeader(user: string | null): void
}

export class CanvasSession {
  private binding: Binding
  private readonly others: Others
  private readonly follower: Follow
  private readonly gestures: Gestures
  private readonly news = new Set<string>()
  private readonly dragged = new Set<string>()
  private stroke: StrokeSender
  private hasChanged = false
  private wasBusy = false
  private isWriting = false
  private scheduled: { frame: number; timer: ReturnType<typeof setTimeout> } | undefined
  private committedAt = 0
  private awaitsAnswer = false
  /** Elements of the last transaction that others made. */
  private arrived: Iterable<string> = []
  private framedAt = 0
  private hurries = false
  /** Until then what others do waits: the canvas took long to paint. */
  private restsUntil = 0
  private shownLiveAt = 0
  private count = -1
  /** Colour of the page as it was shown last. */
  private background = WHITE
  /** Where the user was on each page. */
  private readonly places = new Map<string, Pick<AppState, 'scrollX' | 'scrollY' | 'zoom'>>()
  private readonly ends: (() => void)[] = []
  private endDoc: () => void = () => {}
  private isClosed = false
  private isLeaving = false

  constructor(
    private readonly board: Board,
    private readonly api: ExcalidrawImperativeAPI,
    private page: string,
    private readonly images: Images,
    container: HTMLElement,
    private readonly hooks: SessionHooks
  ) {
    this.binding = this.newBinding()
    this.stroke = new StrokeSender(page)
    this.gestures = new Gestures(container, () => this.schedule())
    this.others = new Others(
      api,
      (ids) => this.hear(ids),
      () => this.hurry()
    )
    this.follower = new Follow(board, api, {
      page: () => this.page,
      onPage: (page) => hooks.onElsewhere(page),
      onLeader: (user) => hooks.onLeader(user)
    })
    this.ends.push(
      api.onChange((_elements, state) => {
        this.hasChanged = true
        this.follower.tell()
        if (this.gestures.isPointerDown) this.showLive(state, performance.now())
        this.schedule()
      }),
      board.on('ephemeral', (state) => this.hearEphemeral(state)),
      board.on('event', ({ kind, author }) => {
        const ids = this.arrived
        this.arrived = []
        if (author === board.user && /^(un|re)do$/.test(kind)) this.turnTo(ids)
      }),
      board.on('people', () => this.others.setPeople(this.board.people)),
      board.on('document', () => this.open(this.page)),
      images.onReady(() => {
        this.hasChanged = true
        this.schedule()
      })
    )
    const leave = () => this.leave()
    addEventListener('pagehide', leave)
    this.ends.push(() => removeEventListener('pagehide', leave))
    this.others.setPeople(board.people)
    for (const state of board.shown) this.hearEphemeral(state)
    this.open(page)
  }

  close(): void {
    this.commit()
    this.isClosed = true
    this.unschedule()
    this.endDoc()
    for (const end of this.ends) end()
    this.gestures.close()
    this.others.close()
    this.follower.close()
  }

  /** Shows another page, or the same one from a new document. */
  open(page: string): void {
    const isAnother = page !== this.page
    const isOther = isAnother || this.count < 0
    if (isAnother) this.leavePage()
    // What was done since the last commit goes into the new document.
    else if (!isOther) this.commit()
    const before = { binding: this.binding, scene: isOther ? [] : this.scene }
    this.endDoc()
    this.page = page
    this.news.clear()
    this.others.setPage(page)
    this.stroke = new StrokeSender(page)
    this.binding = this.newBinding()
    const entries = this.entries
    const isMine = () => this.isWriting
    const endElements = observeEntries(entries, isMine, (ids) => {
      this.hear((this.arrived = ids))
    })
    const endPages = observeEntries(entriesOf(this.board.doc, 'pages'), isMine, () => this.showBackground())
    const assets = this.board.doc.getMap('board:assets')
    const onAsset = () => this.images.want(this.scene)
    assets.observe(onAsset)
    this.endDoc = () => {
      endElements()
      endPages()
      assets.unobserve(onAsset)
    }
    const ids: string[] = []
    for (const [id, properties] of readAll(entries)) if ((properties.page ?? '') === page) ids.push(id)
    const { newElement, multiElement } = this.api.getAppState()
    const isInMaking = (id: string) => id === newElement?.id || id === multiElement?.id
    const scene = this.binding.renew(before, ids, (id) => readEntry(entries, id), isInMaking)
    this.images.want(scene)
    this.update(scene)
    this.showBackground()
    if (isOther) this.enterPage(scene)
    this.api.history.clear()
    this.tellCount()
    if (isAnother) this.follower.opened(page)
  }

  private leavePage(): void {
    const { scrollX, scrollY, zoom, editingTextElement } = this.api.getAppState()
    // What was typed is on the canvas only once the editor ends.
    if (editingTextElement) (document.activeElement as HTMLElement | null)?.blur()
    this.leave()
    this.places.set(this.page, { scrollX, scrollY, zoom })
    const none = { selectedElementIds: {}, editingGroupId: null, selectedGroupIds: {}, editingTextElement: null }
    // The pen draws no more until it is set down again.
    this.api.updateScene({ appState: { ...none, newElement: null, multiElement: null } })
  }

  private enterPage(scene: Scene): void {
    const place = this.places.get(this.page)
    if (place) this.api.updateScene({ appState: place })
    else if (scene.length > 0) {
      this.api.scrollToContent(undefined, { fitToViewport: true, viewportZoomFactor: 0.8, maxZoom: 1, animate: false })
    }
  }

  private showBackground(): void {
    const entry = readEntry(entriesOf(this.board.doc, 'pages'), this.page)
    const background = typeof entry?.background === 'string' ? entry.background : WHITE
    if (background === this.background) return
    this.background = background
    this.api.updateScene({ appState: { viewBackgroundColor: background } })
  }

  /** Writes now what the user did; before an undo. */
  flush(): void {
    this.commit()
  }

  /**
   * The window closes, another page opens, or the pen rests: a stroke in the making ends here. Whether somebody whose pen
   * was taken may keep it is the server's to say.
   */
  leave(mayEdit?: boolean): void {
    this.isLeaving = true
    this.commit(mayEdit)
    this.isLeaving = false
  }

  get pageId(): string {
    return this.page
  }

  get isTouching(): boolean {
    return isBusy(this.api.getAppState(), this.gestures.isPointerDown)
  }

  /** What comes next is the answer to an undo: it shall be seen, on whatever page it is. `false`: none will come. */
  awaitAnswer(awaits = true): void {
    this.awaitsAnswer = awaits
  }

  /** Gesture of the newest edit made here, to know one's own records. */
  isOwnGesture(gesture: string): boolean {
    return this.gestures.isOwn(gesture)
  }

  /** The own pointer, in scene coordinates. While something is dragged its place goes with the drag. */
  pointer(x: number, y: number, tool: 'pointer' | 'laser', isPressed: boolean): void {
    this.gestures.pointer = [x, y]
    if (tool === 'laser') this.board.show('pointer', { x, y, page: this.page, laser: isPressed })
    else if (!this.gestures.isPointerDown) this.board.pointer(x, y, { page: this.page })
  }

  /** The canvas goes where this user looks, until one scrolls oneself; `null` ends it. */
  follow(user: string | null): void {
    if (user !== null) this.others.addLeader(user)
    this.follower.start(user)
  }

  private get entries(): Entries {
    return entriesOf(this.board.doc, 'elements')
  }

  private get scene(): Scene {
    return this.api.getSceneElementsIncludingDeleted() as unknown as Scene
  }

  private newBinding(): Binding {
    return new Binding(this.page, this.board.user ?? undefined)
  }

  private hear(ids: Iterable<string>): void {
    for (const id of ids) this.news.add(id)
    this.hurry()
  }

  /** Shows the answer to an undo that was asked for here. */
  private turnTo(ids: Iterable<string>): void {
    if (!this.awaitsAnswer) return
    this.awaitsAnswer = false
    const pages = [...ids].map((id) => readEntry(this.entries, id)?.page ?? '')
    const [other] = pages
    if (typeof other === 'string' && !pages.includes(this.page)) this.hooks.onElsewhere(other)
  }

  private hearEphemeral(state: EphemeralState): void {
    this.others.hear(state)
    this.follower.hear(state)
  }

  /** A frame when the browser draws its next one. */
  private schedule(): void {
    if (this.scheduled || this.isClosed) return
    const run = () => {
      if (this.scheduled) this.frame()
    }
    this.scheduled = { frame: requestAnimationFrame(run), timer: setTimeout(run, HIDDEN_INTERVAL_MS) }
  }

  /** A frame at once if there was none just now: Excalidraw paints in the frame after the one that brings news. */
  private hurry(): void {
    this.schedule()
    if (this.hurries || this.isClosed || document.hidden || performance.now() - this.framedAt < FRAME_MS) return
    this.hurries = true
    queueMicrotask(() => {
      this.hurries = false
      if (this.scheduled) this.frame()
    })
  }

  private unschedule(): void {
    if (!this.scheduled) return
    cancelAnimationFrame(this.scheduled.frame)
    clearTimeout(this.scheduled.timer)
    this.scheduled = undefined
  }

  private frame(): void {
    this.unschedule()
    const now = performance.now()
    this.framedAt = now
    const state = this.api.getAppState()
    if (this.hasChanged) {
      const busy = isBusy(state, this.gestures.isPointerDown)
      // A quick gesture is one commit, at its end.
      if (busy && !this.wasBusy) this.committedAt = now
      this.wasBusy = busy
      if (busy) this.showLive(state, now)
      else this.endLive()
      if (!busy || now - this.committedAt >= COMMIT_INTERVAL_MS) this.commit()
      else this.schedule()
    }
    this.show(state)
    this.gestures.settle(isBusy(this.api.getAppState(), this.gestures.isPointerDown))
  }

  /** Canvas -> document. */
  private commit(mayEdit = this.hooks.canEdit()): void {
    this.hasChanged = false
    this.committedAt = performance.now()
    const state = this.api.getAppState()
    const scene = this.scene
    if (!mayEdit) {
      const reverted = this.binding.revert(scene, (id) => readEntry(this.entries, id))
      if (reverted.length !== scene.length || reverted.some((element, index) => element !== scene[index]))
        this.update(reverted)
      return
    }
    const { writes, lost, unfit } = this.binding.diff(scene, {
      now: Date.now(),
      waits: (element) =>
        waits(
          element,
          this.isLeaving ? { ...state, newElement: null } : state,
          (id) => scene.find((other) => other.id === id),
          (id) => this.binding.has(id),
          (fileId) => this.images.isReady(fileId, this.api.getFiles())
        )
    })
    this.hear([...lost, ...unfit])
    if (unfit.length > 0) this.hooks.onUnfit()
    const { viewBackgroundColor } = state
    const isRepainted = viewBackgroundColor !== this.background
    if (writes.length === 0 && !isRepainted) return
    this.background = viewBackgroundColor
    this.isWriting = true
    try {
      this.board.edit((doc) => {
        for (const { id, changes, isNew } of writes) writeEntry(this.entries, id, changes, isNew)
        if (isRepainted) setBackground(doc, this.page, viewBackgroundColor === WHITE ? undefined : viewBackgroundColor)
      }, this.gestures.current)
    } finally {
      this.isWriting = false
    }
    this.gestures.used()
    this.hooks.onEdit()
    // Excalidraw's own steps are never used: undo belongs to the server.
    this.api.history.clear()
    this.tellCount()
  }

  /** Document and ephemeral channel -> canvas. */
  private show(state: AppState): void {
    this.others.showPointers()
    if (this.news.size === 0 && !this.others.hasNews) return
    if (performance.now() < this.restsUntil) return this.schedule()
    const before = this.scene
    const held = heldIds(state, this.gestures.isPointerDown)
    const dirty = this.binding.dirty(before)
    const now: string[] = []
    for (const id of this.news) if (!held.has(id) && !dirty.has(id)) now.push(id)
    for (const id of now) {
      this.news.delete(id)
      this.others.committed(id, this.binding)
    }
    const entries = this.entries
    const read = (id: string): Properties | undefined => readEntry(entries, id)
    const isHeld = (id: string) => held.has(id) || dirty.has(id)
    let scene = this.binding.merge(before, now, read, isHeld) ?? before
    scene = this.others.show(scene, this.binding, read, isHeld)
    for (const id of this.binding.takeLate()) this.news.add(id)
    if (scene !== before) {
      this.images.want(scene)
      // Left to itself, Excalidraw would paint in the frame after the next one.
      const begun = performance.now()
      flushSync(() => this.update(scene))
      // It paints all that is in view, however little has changed. At most half of the time goes there, so that the
      // user's own hand is not held up where much is in view.
      const ended = performance.now()
      this.restsUntil = ended + (ended - begun)
      this.tellCount()
    }
    // What is held is looked at again when the gesture ends: that brings a change, and so a frame.
  }

  private update(scene: Scene): void {
    this.api.updateScene({
      elements: scene as unknown as readonly ExcalidrawElement[],
      captureUpdate: CaptureUpdateAction.NEVER
    })
  }

  /** Shows others what is being drawn or dragged. */
  private showLive(state: AppState, now: number): void {
    if (now - this.shownLiveAt < LIVE_INTERVAL_MS || !this.gestures.isPointerDown || !this.hooks.canEdit()) {
      this.schedule()
      return
    }
    this.shownLiveAt = now
    const id = strokeInMaking(state)
    if (id) {
      const element = this.scene.find((other) => other.id === id)
      if (element)
        for (const frame of this.stroke.frames(element)) this.board.stroke(this.gestures.current, frame as Value)
      return
    }
    const scene = this.scene
    for (const dirty of this.binding.dirty(scene)) this.dragged.add(dirty)
    if (this.dragged.size === 0) return
    const frame = dragFrame(this.page, scene, (name) => this.binding.base(name), this.dragged, this.gestures.pointer)
    if (frame) this.board.show('drag', frame as Value, this.gestures.current)
  }

  private endLive(): void {
    if (this.stroke.isOpen) {
      this.stroke.end()
      // Ends by itself with the commit; a stroke that was called off has none.
      const gesture = this.gestures.current
      queueMicrotask(() => {
        if (!this.gestures.isOwn(gesture)) this.board.stroke(gesture, null)
      })
    }
    if (this.dragged.size > 0) {
      this.dragged.clear()
      this.board.show('drag', null, this.gestures.current)
    }
  }

  private tellCount(): void {
    const count = this.binding.size
    if (count === this.count) return
    this.count = count
    this.hooks.onCount(count)
  }
}
