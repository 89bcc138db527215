// One element: properties of the document -> what Excalidraw draws, and what changed on the canvas -> properties.
//
// Only keys that changed on the canvas since they were shown are written, so whatever the document holds besides (of
// newer clients, of imported files) stays as it is. Pure: nothing of Excalidraw runs here.

import { type Point, pack, roundPressure, roundPx, unpack } from '../document/points'
import {
  type Changes,
  type Plain,
  type PlainMap,
  type Properties,
  isList,
  isMap,
  isNumber,
  isText,
  plain,
  same
} from '../document/values'
import { BINDINGS, KINDS, LENGTHS, PLAIN, SHOWABLE, UNWRITTEN, defaultsOf } from './keys'

/** An element of Excalidraw's scene. Its own type is a closed union; here all keys are alike. */
export interface SceneElement {
  readonly id: string
  readonly type: string
  readonly version: number
  readonly versionNonce: number
  readonly isDeleted: boolean
  readonly index?: unknown
  readonly [key: string]: unknown
}

/** Lines of a hatched filling that are drawn without anybody waiting for them. */
const HATCHES_MAX = 10_000
/** Distance of those lines by width of the stroke, and the least there is, as Excalidraw has them. */
const HATCH_GAP = 4
const HATCH_GAP_MIN = 0.1

/** Key in `extra` under which the server keeps what an export needs. */
const KEPT = 'panseo'

/** Whether the canvas can show an entry at all. */
export function isShowable(properties: Properties): boolean {
  const { type, x, y, pos } = properties
  return isText(type) && KINDS.has(type) && isNumber(x) && isNumber(y) && isText(pos)
}

/** The element as Excalidraw wants it: complete and well-formed, whatever the document holds. */
export function toElement(id: string, properties: Properties, version: number, nonce: number): SceneElement {
  const type = properties.type as string
  const extra = isMap(properties.extra) ? properties.extra : {}
  const element: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(defaultsOf(type))) element[key] = value
  for (const [key, value] of Object.entries(extra)) {
    if (key !== KEPT && isFit(key, value)) element[key] = value
  }
  for (const key in PLAIN) {
    const value = properties[key]
    if (value !== undefined && isFit(key, value)) element[key] = value
  }
  const bindings = isMap(properties.bindings) ? properties.bindings : {}
  for (const [key, name] of Object.entries(BINDINGS)) {
    const value = bindings[name]
    if (value !== undefined && isFit(key, value)) element[key] = value
  }
  for (const key of LENGTHS) if (isNumber(properties[key])) element[key] = properties[key]
  if (isText(properties.fileId)) element.fileId = properties.fileId
  addPoints(element, type, properties)
  addSize(element, properties)
  if (element.fillStyle !== 'solid' && hatchesOf(element) > HATCHES_MAX) element.fillStyle = 'solid'
  if (isMap(element.customData)) {
    // A page that a file brings along would open in everybody's browser.
    const { generationData: _page, ...rest } = element.customData
    element.customData = rest
  }
  if (type === 'text' && !isWrapped(element)) element.originalText = element.text
  element.seed ??= numberFrom(id)
  element.updated ??= isNumber(properties.created) ? properties.created : 1
  if (isText(properties.author)) {
    element.customData = { ...(element.customData as object | undefined), [KEPT]: { author: properties.author } }
  }
  element.index = null
  return { ...element, id, type, version, versionNonce: nonce, isDeleted: properties.deleted !== undefined }
}

/** A file that Excalidraw and the board open, with what of the elements can be shown, and the `images` among them. */
export function fileOf(
  elements: Iterable<readonly [id: string, properties: Properties]>,
  images: Readonly<Record<string, unknown>>
): Blob {
  const shown = [...elements]
    .filter(([, properties]) => isShowable(properties))
    .sort(([, one], [, other]) => ((one.pos as string) < (other.pos as string) ? -1 : 1))
    .map(([id, properties]) => toElement(id, properties, 1, 1))
  const used = new Set(shown.map(({ fileId }) => fileId))
  const files = Object.fromEntries(Object.entries(images).filter(([fileId]) => used.has(fileId)))
  return new Blob([JSON.stringify({ type: 'excalidraw', version: 2, elements: shown, appState: {}, files })])
}

function hatchesOf({ points, width, height, strokeWidth }: Record<string, unknown>): number {
  const [across, down] = isList(points) ? extentOf(points as readonly Point[]) : [width as number, height as number]
  return (Math.abs(across) + Math.abs(down)) / Math.max(HATCH_GAP_MIN, HATCH_GAP * (strokeWidth as number))
}

function extentOf(points: readonly Point[]): [width: number, height: number] {
  const extent = (axis: 0 | 1) => {
    const values = points.map((point) => point[axis])
    return values.reduce((a, b) => Math.max(a, b), -Infinity) - values.reduce((a, b) => Math.min(a, b), Infinity)
  }
  return [extent(0), extent(1)]
}

/** Whether `originalText` is the shown text before it was broken into lines, and not that of an older text. */
function isWrapped(element: Record<string, unknown>): boolean {
  const letters = (text: unknown) => (isText(text) ? text.replace(/\s+/g, '') : undefined)
  return letters(element.originalText) === letters(element.text)
}

function isFit(key: string, value: unknown): boolean {
  const check = SHOWABLE[key]
  return check === undefined || check(value)
}

function addPoints(element: Record<string, unknown>, type: string, properties: Properties): void {
  const isStroke = type === 'freedraw'
  if (!isStroke && type !== 'line' && type !== 'arrow') return
  let points = (element.points as readonly Point[] | undefined) ?? []
  let pressures: readonly number[] | undefined
  if (properties.points instanceof Uint8Array) {
    try {
      ;({ points, pressures } = unpack(properties.points))
    } catch {
      points = []
    }
  }
  if (isStroke) {
    if (points.length === 0) points = [[0, 0]]
    element.pressures = pressures ?? element.pressures ?? []
    // Without it the line is drawn not quite to its end, because more may come.
    element.lastCommittedPoint = points.at(-1)
    element.simulatePressure ??= (element.pressures as readonly number[]).length === 0
  } else if (points.length < 2) {
    const side = (key: string) => (isNumber(properties[key]) ? (properties[key] as number) : 100)
    points = [
      [0, 0],
      [side('width'), side('height')]
    ]
  }
  element.points = points
}

const SIDE = 100
const WIDTH_OF_LETTER = 0.6

/** Size of an element that an op made without one. */
function addSize(element: Record<string, unknown>, properties: Properties): void {
  if (isNumber(element.width) && isNumber(element.height)) return
  let [width, height] = [SIDE, SIDE]
  if (isList(element.points)) [width, height] = extentOf(element.points as readonly Point[])
  else if (isText(properties.text)) {
    const lines = properties.text.split('\n')
    const font = element.fontSize as number
    width = Math.max(...lines.map((line) => line.length)) * font * WIDTH_OF_LETTER
    height = lines.length * font * (element.lineHeight as number)
  }
  element.width = isNumber(element.width) ? element.width : width
  element.height = isNumber(element.height) ? element.height : height
}

/** FNV-1a, cut to 31 bits, as the server's export: wobbly lines look the same everywhere. */
function numberFrom(id: string): number {
  let hash = 0x811c9dc5
  for (const byte of new TextEncoder().encode(id)) hash = Math.imul(hash ^ byte, 0x01000193)
  return (hash >>> 0) >>> 1
}

/** An element without anything: what a new one is compared with. */
function blank(type: string): Record<string, unknown> {
  return { type, ...defaultsOf(type), x: undefined, y: undefined }
}

/**
 * What to write so that the document says what the canvas says.
 *
 * `shown` is the element as it was shown last, `base` the properties it was shown from; both absent for a new one.
 * `now` is the time of a delete.
 */
export function changesOf(
  local: SceneElement,
  shown: SceneElement | undefined,
  base: Properties | undefined,
  now: number
): Changes {
  const old = base ?? {}
  const before: Record<string, unknown> = shown ?? blank(local.type)
  const draft = new Draft(local, old)
  const touched = new Set([...Object.keys(before), ...Object.keys(local)])
  for (const key of touched) if (UNWRITTEN.has(key) || same(local[key], before[key])) touched.delete(key)
  // Without a value of their own these follow the other one, so they must be looked at with it.
  if (touched.has('text')) touched.add('originalText')
  if (touched.has('points') || touched.has('pressures')) touched.add('simulatePressure')
  for (const key of touched) if (key in local || key in before) draft.take(key, local[key], now)
  if (!shown) draft.changes.type = local.type
  const changes = draft.finish()
  for (const key of Object.keys(changes)) if (same(changes[key], old[key])) delete changes[key]
  return changes
}

class Draft {
  readonly changes: Changes = {}
  private readonly defaults: Readonly<Record<string, Plain>>
  private extra: Record<string, Plain> | undefined
  private bindings: Record<string, Plain> | undefined
  private hasPoints = false

  constructor(
    private readonly local: SceneElement,
    private readonly base: Properties
  ) {
    this.defaults = defaultsOf(local.type)
  }

  take(key: string, value: unknown, now: number): void {
    const binding = BINDINGS[key]
    if (key === 'isDeleted') this.changes.deleted = value === true ? (this.base.deleted ?? now) : undefined
    else if (key === 'points' || key === 'pressures') this.hasPoints = true
    else if (key === 'fileId') this.changes.fileId = isText(value) ? value : undefined
    else if (key === 'customData') this.putExtra(key, withoutOwn(value))
    else if (binding) this.putBinding(binding, key, value)
    else if (LENGTHS.has(key)) this.changes[key] = isNumber(value) ? roundPx(value) : undefined
    else this.takePlain(key, value)
  }

  private takePlain(key: string, value: unknown): void {
    const isDefault = value === undefined || same(value, this.defaults[key])
    const isProperty = PLAIN[key]?.(value) === true
    if (key in PLAIN) this.changes[key] = isProperty && !isDefault ? plain(value) : undefined
    if (!(key in PLAIN) || !isProperty || this.extraOf()[key] !== undefined) {
      this.putExtra(key, isDefault || isProperty ? undefined : value)
    }
  }

  private putBinding(name: string, key: string, value: unknown): void {
    this.bindings ??= isMap(this.base.bindings) ? { ...this.base.bindings } : {}
    const isNone = value === null || value === undefined || same(value, this.defaults[key])
    if (isNone) delete this.bindings[name]
    else this.bindings[name] = plain(value)
  }

  private extraOf(): Record<string, Plain> {
    this.extra ??= isMap(this.base.extra) ? { ...this.base.extra } : {}
    return this.extra
  }

  private putExtra(key: string, value: unknown): void {
    if (value === undefined) delete this.extraOf()[key]
    else this.extraOf()[key] = plain(value)
  }

  private putPoints(): void {
    const points = this.local.points as readonly Point[]
    const given = this.local.pressures
    let pressures: number[] | undefined
    if (isList(given) && given.length > 0) {
      // Excalidraw's two lists differ by one now and then.
      pressures = points.map((_, index) => roundPressure((given[Math.min(index, given.length - 1)] as number) ?? 0.5))
    }
    this.changes.points = pack(pressures ? { points: [...points], pressures } : { points: [...points] })
    for (const key of ['points', 'pressures']) if (this.extraOf()[key] !== undefined) this.putExtra(key, undefined)
  }

  finish(): Changes {
    if (this.hasPoints && isList(this.local.points)) this.putPoints()
    this.dropDerived()
    if (this.bindings) this.changes.bindings = orNothing(this.bindings)
    if (this.extra) this.changes.extra = orNothing(this.extra)
    return this.changes
  }

  /** What follows from other properties is not kept. */
  private dropDerived(): void {
    if (!this.extra) return
    const text = 'text' in this.changes ? (this.changes.text ?? '') : (this.base.text ?? '')
    if (this.extra.originalText === text) delete this.extra.originalText
    const points = 'points' in this.changes ? this.changes.points : this.base.points
    const hasPressures = points instanceof Uint8Array && (points[0] ?? 0) % 2 === 1
    if (this.extra.simulatePressure === !hasPressures) delete this.extra.simulatePressure
  }
}

function orNothing(map: PlainMap): PlainMap | undefined {
  return Object.keys(map).length > 0 ? map : undefined
}

function withoutOwn(customData: unknown): unknown {
  if (!isMap(customData)) return customData ?? undefined
  const { [KEPT]: _own, ...rest } = customData
  return Object.keys(rest).length > 0 ? rest : undefined
}
