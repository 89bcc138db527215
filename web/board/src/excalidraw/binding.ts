// The scene of one page and the document, held together: what changed on the canvas becomes writes (`diff`), what changed
// in the document becomes elements (`merge`). Knows neither Excalidraw nor Yjs at run time, so both directions are tested
// as they are; `session.ts` puts it between the two.
//
// For each element it remembers how it was shown last and from which properties. A difference to that is the user's; a
// difference of the document to that is somebody else's.

import { comparePlaced, reorder } from '../document/order'
import { type Changes, type Properties, isMap, isText } from '../document/values'
import { boundIn, mendBound, showsBound } from './bound'
import { type SceneElement, changesOf, isShowable, toElement } from './element'

export type Scene = readonly SceneElement[]

export interface Write {
  id: string
  /** A new element: `changes` holds all of it. */
  isNew: boolean
  changes: Changes
}

export interface DiffOptions {
  now: number
  /** Whether the element shall wait, because it is not finished. */
  waits?: (element: SceneElement) => boolean
  random?: () => number
}

export interface Diff {
  writes: Write[]
  /** Elements that left the canvas without being deleted: to be shown again. */
  lost: string[]
  /** Elements with what no board can hold: to be shown as the document has them, if it has. */
  unfit: string[]
}

interface Known {
  version: number
  nonce: number
  shown: SceneElement
  base: Properties
}

export class Binding {
  private readonly known = new Map<string, Known>()
  /** Strokes in the making of others: on the canvas, not in the document. */
  private readonly provisional = new Set<string>()
  /** Elements whose list of what hangs on them was not mended, because the user has them under the hand. */
  private readonly late = new Set<string>()
  /** Values that others show while they drag, on top of the document's. */
  private readonly overlays = new Map<string, Properties>()

  constructor(
    readonly page: string,
    private readonly user: string | undefined
  ) {}

  /** Live elements of the page. */
  get size(): number {
    let count = 0
    for (const { shown } of this.known.values()) if (!shown.isDeleted) count++
    return count
  }

  has(id: string): boolean {
    return this.known.has(id)
  }

  /** Properties the element was shown from or written to last. */
  base(id: string): Properties | undefined {
    return this.known.get(id)?.base
  }

  /** What the user changed on the canvas since the last call. */
  diff(scene: Scene, options: DiffOptions): Diff {
    const writes = new Map<string, Write>()
    const waiting = new Set<string>()
    const unfit: string[] = []
    let seen = 0
    let hasChanged = false
    for (const element of scene) {
      const known = this.known.get(element.id)
      if (known) seen++
      if (this.provisional.has(element.id) || (known && isAsShown(element, known))) continue
      hasChanged = true
      try {
        if (options.waits?.(element)) waiting.add(element.id)
        else if (known) this.change(element, known, writes, options)
        else if (!element.isDeleted) this.create(element, writes, options)
      } catch {
        // Pasted, say, with points that cannot be packed.
        this.remember(element, known?.base ?? {})
        if (!known) waiting.add(element.id)
        unfit.push(element.id)
      }
    }
    if (hasChanged) this.order(scene, waiting, writes, options)
    const lost = seen < this.known.size ? this.lostOf(scene) : []
    return { writes: [...writes.values()], lost, unfit }
  }

  /** Known elements that the user changed and that are not written yet. */
  dirty(scene: Scene): Set<string> {
    const dirty = new Set<string>()
    for (const element of scene) {
      const known = this.known.get(element.id)
      if (known && !isAsShown(element, known)) dirty.add(element.id)
    }
    return dirty
  }

  /** Gives up what the user did on the canvas: the scene without new elements, as the document has it. */
  revert(scene: Scene, read: (id: string) => Properties | undefined): Scene {
    const dirty = this.dirty(scene)
    const kept = scene.filter(({ id }) => this.known.has(id) || this.provisional.has(id))
    return this.merge(kept, dirty, read) ?? kept
  }

  private change(element: SceneElement, known: Known, writes: Map<string, Write>, options: DiffOptions): void {
    const changes = changesOf(element, known.shown, known.base, options.now)
    this.remember(element, withChanges(known.base, changes))
    if (Object.keys(changes).length > 0) writes.set(element.id, { id: element.id, isNew: false, changes })
  }

  private create(element: SceneElement, writes: Map<string, Write>, options: DiffOptions): void {
    const changes = changesOf(element, undefined, undefined, options.now)
    if (this.page) changes.page = this.page
    if (this.user) changes.author = this.user
    changes.created = options.now
    this.remember(element, withChanges({}, changes))
    writes.set(element.id, { id: element.id, isNew: true, changes })
  }

  /** Gives new elements their place, and those that were moved up or down another one. */
  private order(scene: Scene, waiting: ReadonlySet<string>, writes: Map<string, Write>, options: DiffOptions): void {
    const wanted: { id: string; pos: string | undefined }[] = []
    let isOrdered = true
    for (const { id, isDeleted } of scene) {
      const known = this.known.get(id)
      if (!known || isDeleted || waiting.has(id)) continue
      const pos = isText(known.base.pos) ? known.base.pos : undefined
      const last = wanted.at(-1)
      isOrdered &&=
        pos !== undefined && (last?.pos === undefined || comparePlaced({ id: last.id, pos: last.pos }, { id, pos }) < 0)
      wanted.push({ id, pos })
    }
    if (isOrdered) return
    for (const [id, pos] of reorder(wanted, options.random)) {
      const known = this.known.get(id) as Known
      known.base = { ...known.base, pos }
      const write = writes.get(id) ?? { id, isNew: false, changes: {} }
      write.changes.pos = pos
      writes.set(id, write)
    }
  }

  private lostOf(scene: Scene): string[] {
    const there = new Set(scene.map(({ id }) => id))
    const lost = [...this.known.keys()].filter((id) => !there.has(id))
    for (const id of lost) this.known.delete(id)
    return lost
  }

  private remember(element: SceneElement, base: Properties): void {
    // A copy: Excalidraw changes its elements in place, and the part of an image that is shown as well.
    const shown = isMap(element.crop) ? { ...element, crop: { ...element.crop } } : { ...element }
    this.known.set(element.id, { version: element.version, nonce: element.versionNonce, shown, base })
  }

  /**
   * The scene with the entries named by `ids` as the document has them now, or `undefined` if nothing is to be shown.
   * What the user changed must have been taken by `diff` before; it would be lost otherwise. What is held and not named
   * stays as it is.
   */
  merge(
    scene: Scene,
    ids: Iterable<string>,
    read: (id: string) => Properties | undefined,
    isHeld: (id: string) => boolean = () => false
  ): Scene | undefined {
    const named = new Set(ids)
    const fresh = new Map<string, SceneElement>()
    const gone = new Set<string>()
    let isMoved = false
    const present = new Map<string, SceneElement>()
    for (const element of scene) if (named.has(element.id)) present.set(element.id, element)
    for (const id of named) {
      const properties = read(id)
      const before = present.get(id)
      if (!properties || (properties.page ?? '') !== this.page || !isShowable(properties)) {
        if (before && (this.known.has(id) || this.provisional.has(id))) gone.add(id)
        this.forget(id)
        continue
      }
      if (!before && properties.deleted !== undefined) continue
      isMoved ||= !before || this.known.get(id)?.base.pos !== properties.pos
      fresh.set(id, this.show(id, properties, before))
    }
    if (fresh.size === 0 && gone.size === 0) return undefined
    const next: SceneElement[] = []
    for (const element of scene) {
      const shown = fresh.get(element.id) ?? element
      if (gone.has(element.id)) continue
      if (this.isOver(shown) && !isHeld(element.id)) this.forget(element.id)
      else next.push(shown)
    }
    for (const [id, element] of fresh) if (!present.has(id)) next.push(element)
    return this.mended(isMoved ? this.sorted(next, scene) : next, isHeld)
  }

  /** A deleted element that the document has so, too: on the canvas it would weigh on each frame of a long lesson. */
  private isOver(element: SceneElement): boolean {
    const known = element.isDeleted ? this.known.get(element.id) : undefined
    return known !== undefined && isAsShown(element, known)
  }

  /**
   * The scene from a new document. What was not written into the one before stays, on top; what is in the making stays
   * the object that it is, for the canvas goes on changing that.
   */
  renew(
    { binding, scene }: { binding: Binding; scene: Scene },
    ids: Iterable<string>,
    read: (id: string) => Properties | undefined,
    isInMaking: (id: string) => boolean
  ): Scene {
    const own = new Map(scene.filter(({ id }) => isInMaking(id)).map((element) => [element.id, element]))
    const shown = (this.merge([], ids, read) ?? []).map((element) => own.get(element.id) ?? element)
    return [...shown, ...scene.filter((element) => binding.isUnwritten(element) && !this.known.has(element.id))]
  }

  private isUnwritten({ id, isDeleted }: SceneElement): boolean {
    return !isDeleted && !this.known.has(id) && !this.provisional.has(id)
  }

  /** Each element with the list of what hangs on it as the other ends say. Shown only; who binds next writes it. */
  private mended(scene: Scene, isHeld: (id: string) => boolean): Scene {
    const bound = boundIn(scene)
    return scene.map((element) => {
      const known = this.known.get(element.id)
      if (!known || element.isDeleted) return element
      const boundElements = mendBound(known.base, bound.get(element.id) ?? [])
      if (showsBound(element, boundElements)) return element
      if (isHeld(element.id) || !isAsShown(element, known)) {
        this.late.add(element.id)
        return element
      }
      const mended = { ...element, boundElements, version: element.version + 1, versionNonce: nonce() }
      this.remember(mended, known.base)
      return mended
    })
  }

  /** Elements to be named again when they are not held any more. */
  takeLate(): string[] {
    const late = [...this.late]
    this.late.clear()
    return late
  }

  private show(id: string, properties: Properties, before: SceneElement | undefined): SceneElement {
    this.provisional.delete(id)
    const overlay = this.overlays.get(id)
    const seen = overlay ? { ...properties, ...overlay } : properties
    const element = { ...toElement(id, seen, (before?.version ?? 0) + 1, nonce()), index: before?.index ?? null }
    this.remember(element, properties)
    return element
  }

  private forget(id: string): void {
    this.known.delete(id)
    this.provisional.delete(id)
    this.overlays.delete(id)
  }

  /** All in the order of the document. What has no place there yet stays above its neighbour. */
  private sorted(next: readonly SceneElement[], scene: Scene): Scene {
    const placed: { id: string; pos: string; element: SceneElement }[] = []
    const rest = new Map<string | undefined, SceneElement[]>()
    const last = scene.at(-1)?.id
    const isKnown = (id: string) => isText(this.known.get(id)?.base.pos)
    let below: string | undefined
    for (const element of next) {
      const pos = this.known.get(element.id)?.base.pos
      if (isText(pos)) {
        placed.push({ id: element.id, pos, element })
        below = element.id
        continue
      }
      const under = element.id === last || this.provisional.has(element.id) ? TOP : below
      rest.set(under, [...(rest.get(under) ?? []), element])
    }
    placed.sort(comparePlaced)
    const list = [...(rest.get(undefined) ?? [])]
    for (const { id, element } of placed) list.push(element, ...(isKnown(id) ? (rest.get(id) ?? []) : []))
    list.push(...(rest.get(TOP) ?? []))
    return list
  }

  /** Shows a stroke in the making of somebody else. Not to be selected, never written. */
  provide(scene: Scene, id: string, properties: Properties): Scene | undefined {
    if (this.known.has(id)) return undefined
    const before = scene.find((element) => element.id === id)
    if (before && !this.provisional.has(id)) return undefined
    this.provisional.add(id)
    const made = toElement(id, { ...properties, locked: true }, (before?.version ?? 0) + 1, nonce())
    const element = { ...made, index: before?.index ?? null }
    return before ? scene.map((other) => (other.id === id ? element : other)) : [...scene, element]
  }

  /** Takes a stroke in the making away, if it did not come into the document. */
  withdraw(scene: Scene, id: string): Scene | undefined {
    if (!this.provisional.delete(id)) return undefined
    return scene.filter((element) => element.id !== id)
  }

  /** Sets what others show while they drag; `undefined` ends it. Shown by the next `merge` that names the element. */
  overlay(id: string, properties: Properties | undefined): void {
    if (properties) this.overlays.set(id, properties)
    else this.overlays.delete(id)
  }

  hasOverlay(id: string): boolean {
    return this.overlays.has(id)
  }
}

const TOP = '\u0000top'

function isAsShown(element: SceneElement, known: Known): boolean {
  return element.version === known.version && element.versionNonce === known.nonce
}

function nonce(): number {
  return Math.floor(Math.random() * 2 ** 31)
}

/** Properties with changes made. */
export function withChanges(base: Properties, changes: Changes): Properties {
  const next: Record<string, Properties[string]> = { ...base }
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) delete next[key]
    else next[key] = value
  }
  return next
}
