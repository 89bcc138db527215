// Packed points of strokes, lines and arrows: `[R-89]` of docs/PROTOCOL.md.
//
// One byte of flags, the number of points, all points, then pressures, then times. Numbers are zigzag varints. Each
// point is rounded to 1/16 px before the differences are taken, so that errors do not add up along a stroke.

export type Point = readonly [number, number]

export interface Stroke {
  points: Point[]
  /** 0 to 1, one for each point. */
  pressures?: number[]
  /** ms since the stroke began, one for each point. */
  times?: number[]
}

const PRESSURES = 1
const TIMES = 2
const STEPS_PER_PX = 16
const COORDINATE_MAX = 2_147_483_648
const STEPS_MAX = 2 ** 35
const PRESSURE_STEPS = 255
const VARINT_BYTES_MAX = 6

/** Rounds a length in px as the document keeps it. Halves go away from zero, as in the server; -0 is 0. */
export function roundPx(px: number): number {
  return (Math.sign(px) * Math.round(Math.abs(px) * STEPS_PER_PX)) / STEPS_PER_PX + 0
}

/** Rounds a pressure as the packing does. */
export function roundPressure(pressure: number): number {
  return Math.round(Math.min(1, Math.max(0, pressure)) * PRESSURE_STEPS) / PRESSURE_STEPS
}

export function pack(stroke: Stroke): Uint8Array {
  const { points, pressures, times } = stroke
  for (const list of [pressures, times]) {
    if (list && list.length !== points.length) throw new RangeError('pressures or times are not as many as the points')
  }
  const bytes: number[] = [(pressures ? PRESSURES : 0) | (times ? TIMES : 0)]
  write(bytes, points.length)
  let before: Point = [0, 0]
  for (const point of points) {
    const now: Point = [steps(point[0]), steps(point[1])]
    write(bytes, now[0] - before[0])
    write(bytes, now[1] - before[1])
    before = now
  }
  for (const pressure of pressures ?? []) bytes.push(Math.round(roundPressure(pressure) * PRESSURE_STEPS))
  let last = 0
  for (const time of times ?? []) {
    write(bytes, time - last)
    last = time
  }
  return Uint8Array.from(bytes)
}

/** Reads packed points. Bytes come from other people's programs: anything odd is an error, never a huge array. */
export function unpack(bytes: Uint8Array): Stroke {
  const reader = new Reader(bytes)
  const flags = reader.byte()
  if (flags & ~(PRESSURES | TIMES)) throw new RangeError('the packed points have unknown flags')
  const count = reader.number()
  const perPoint = 2 + (flags & PRESSURES ? 1 : 0) + (flags & TIMES ? 1 : 0)
  if (count < 0 || count * perPoint > reader.left) throw new RangeError('the packed points end too early')
  const points: Point[] = []
  let [x, y] = [0, 0]
  for (let index = 0; index < count; index++) {
    x += reader.number()
    y += reader.number()
    if (Math.abs(x) > STEPS_MAX || Math.abs(y) > STEPS_MAX) throw new RangeError('a point is out of range')
    points.push([x / STEPS_PER_PX, y / STEPS_PER_PX])
  }
  const stroke: Stroke = { points }
  if (flags & PRESSURES) stroke.pressures = points.map(() => reader.byte() / PRESSURE_STEPS)
  if (flags & TIMES) {
    let now = 0
    stroke.times = points.map(() => (now += reader.number()))
  }
  if (reader.left > 0) throw new RangeError('there are bytes behind the packed points')
  return stroke
}

function steps(px: number): number {
  if (!(Math.abs(px) <= COORDINATE_MAX)) throw new RangeError('a coordinate is out of range')
  return roundPx(px) * STEPS_PER_PX
}

function write(bytes: number[], number: number): void {
  // Beyond 32 bits: no bit operators.
  let zigzag = number >= 0 ? number * 2 : -number * 2 - 1
  while (zigzag >= 0x80) {
    bytes.push((zigzag % 0x80) | 0x80)
    zigzag = Math.floor(zigzag / 0x80)
  }
  bytes.push(zigzag)
}

class Reader {
  private at = 0

  constructor(private readonly bytes: Uint8Array) {}

  get left(): number {
    return this.bytes.length - this.at
  }

  byte(): number {
    const byte = this.bytes[this.at++]
    if (byte === undefined) throw new RangeError('the packed points end too early')
    return byte
  }

  number(): number {
    let zigzag = 0
    let scale = 1
    for (let place = 0; place < VARINT_BYTES_MAX; place++) {
      const byte = this.byte()
      zigzag += (byte & 0x7f) * scale
      if (byte < 0x80) return zigzag % 2 ? -(zigzag + 1) / 2 : zigzag / 2
      scale *= 0x80
    }
    throw new RangeError('a packed number is too long')
  }
}
