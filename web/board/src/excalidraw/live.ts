// What is on its way: strokes before pen-up and drags before they are committed, on the ephemeral channel. Nothing here
// touches the document.

import { type Point, pack, unpack } from '../document/points'
import { type Plain, type PlainMap, type Properties, isList, isMap, isNumber, isText } from '../document/values'
import { type Scene } from './binding'
import { type SceneElement, changesOf } from './element'

/** Elements of one drag that are shown while it lasts; larger ones are seen with each commit, four times a second. */
const DRAGGED_MAX = 40
/** What the server counts for a value beside its bytes and its key. */
const VALUE_BYTES = 32
/** Bytes of the elements of one drag, as the server counts them: with the rest of the frame they stay below 8 KiB. */
const FRAME_BYTES_MAX = 7_800
/** Points of one frame of a stroke: far below that. */
const POINTS_MAX = 500
/** Points of a stroke in the making that are shown; whoever sends more does not mean well. */
const SHOWN_POINTS_MAX = 20_000

/** Cuts the own stroke into frames of new points. */
export class StrokeSender {
  private sent = 0
  private lastOf: string | undefined

  constructor(private readonly page: string) {}

  /** Frames with what was drawn since the last call. */
  frames(stroke: SceneElement): Plain[] {
    if (stroke.id !== this.lastOf) {
      this.lastOf = stroke.id
      this.sent = 0
    }
    const points = stroke.points as readonly Point[]
    const pressures = stroke.pressures as readonly number[]
    const frames: Plain[] = []
    while (this.sent < points.length) {
      const end = Math.min(points.length, this.sent + POINTS_MAX)
      const batch = points.slice(this.sent, end)
      const packed = pack(
        pressures.length > 0
          ? {
              points: batch,
              pressures: batch.map((_, index) => pressures[Math.min(this.sent + index, pressures.length - 1)] ?? 0.5)
            }
          : { points: batch }
      )
      // Frames are many and small, so only the first one says what stroke it is.
      frames.push(
        this.sent === 0
          ? { id: stroke.id, page: this.page, element: styleOf(stroke), points: packed }
          : [this.sent, packed]
      )
      this.sent = end
    }
    return frames
  }

  /** Whether frames were sent that nobody has ended. */
  get isOpen(): boolean {
    return this.sent > 0
  }

  end(): void {
    this.sent = 0
    this.lastOf = undefined
  }
}

function styleOf(stroke: SceneElement): PlainMap {
  const {
    points: _p,
    width: _w,
    height: _h,
    ...style
  } = changesOf({ ...stroke, points: [], pressures: [] }, undefined, undefined, 0)
  return style as PlainMap
}

/** A stroke somebody else is drawing, put together from frames. */
export class LiveStroke {
  private readonly points: Point[] = []
  private readonly pressures: number[] = []
  private style: Properties = {}

  private constructor(
    /** Of whom draws it. */
    readonly session: number,
    readonly id: string,
    readonly page: string
  ) {}

  static of(session: number, frame: unknown): LiveStroke | undefined {
    if (!isMap(frame) || !isText(frame.id) || !isText(frame.page)) return undefined
    return new LiveStroke(session, frame.id, frame.page)
  }

  /** Adds one frame; frames may be lost, come twice, or be nonsense. */
  add(frame: unknown): void {
    const [at, packed] = isList(frame) ? frame : isMap(frame) ? [0, frame.points] : []
    if (isMap(frame) && isMap(frame.element)) this.style = frame.element
    if (!isNumber(at) || at < 0 || !(packed instanceof Uint8Array)) return
    try {
      const { points, pressures } = unpack(packed)
      const known = Math.max(0, this.points.length - at)
      if (this.points.length + points.length > SHOWN_POINTS_MAX) return
      this.points.push(...points.slice(known))
      if (pressures) this.pressures.push(...pressures.slice(known))
    } catch {
      // Not packed points: shown as far as it was understood.
    }
  }

  /** What to show, once there is something. */
  get properties(): Properties | undefined {
    const { x, y } = this.style
    if (!isNumber(x) || !isNumber(y) || this.points.length === 0) return undefined
    const hasPressures = this.pressures.length === this.points.length
    const points = pack(hasPressures ? { points: this.points, pressures: this.pressures } : { points: this.points })
    return { ...this.style, type: 'freedraw', x, y, points }
  }

  /** Where the pen is. */
  get tip(): Point | undefined {
    const { x, y } = this.style
    const last = this.points.at(-1)
    return last && isNumber(x) && isNumber(y) ? [x + last[0], y + last[1]] : undefined
  }
}

/** Keys that a drag, a resize or a rotation changes. */
const DRAGGED = ['x', 'y', 'width', 'height', 'angle', 'points', 'fontSize'] as const

/** One frame that shows a drag: what differs from the document, by element. */
export function dragFrame(
  page: string,
  scene: Scene,
  base: (id: string) => Properties | undefined,
  dragged: ReadonlySet<string>,
  pointer: Point | undefined
): PlainMap | undefined {
  const elements: Record<string, PlainMap> = {}
  let count = 0
  let size = 0
  for (const element of scene) {
    const from = base(element.id)
    if (!from || element.isDeleted || !dragged.has(element.id)) continue
    if (++count > DRAGGED_MAX) return undefined
    const { points } = changesOf(element, undefined, undefined, 0)
    const shown: Record<string, PlainMap[string]> = {}
    for (const key of DRAGGED) {
      const value = key === 'points' ? points : element[key]
      if (!isNumber(value) && !(value instanceof Uint8Array)) continue
      shown[key] = value
      size += VALUE_BYTES + key.length + (value instanceof Uint8Array ? value.length : 0)
    }
    size += VALUE_BYTES + element.id.length
    if (size > FRAME_BYTES_MAX) return undefined
    elements[element.id] = shown
  }
  if (count === 0) return undefined
  return pointer ? { page, elements, pointer: [...pointer] } : { page, elements }
}

/** What a drag of somebody else shows, by element. */
export function readDrag(
  data: unknown
): { page: string; elements: Map<string, Properties>; pointer: Point | undefined } | undefined {
  if (!isMap(data) || !isText(data.page) || !isMap(data.elements)) return undefined
  const elements = new Map<string, Properties>()
  for (const [id, shown] of Object.entries(data.elements).slice(0, DRAGGED_MAX)) {
    if (!isMap(shown)) continue
    const allowed = Object.entries(shown).filter(
      ([key, value]) => (DRAGGED as readonly string[]).includes(key) && (isNumber(value) || value instanceof Uint8Array)
    )
    elements.set(id, Object.fromEntries(allowed))
  }
  const at = data.pointer
  const pointer = Array.isArray(at) && isNumber(at[0]) && isNumber(at[1]) ? ([at[0], at[1]] as const) : undefined
  return { page: data.page, elements, pointer }
}
