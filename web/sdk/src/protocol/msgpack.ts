// MessagePack, as far as frames use it, and to the byte as the server writes it: whole numbers in the shortest form,
// fractions as 64-bit floats, 64-bit numbers beyond 2^53 as bigint. No extension types. (Decision 0007 says why this is
// not a library.)

import type { Value } from './wire.gen.ts'

/** Levels of nesting that are read. */
const DEPTH_MAX = 64

/** A number of a field that is a float by its type: written as one, even if it is whole. */
export class Float {
  readonly value: number
  constructor(value: number) {
    this.value = value
  }
}

export type Packable = Value | Float | undefined | Packable[] | { [key: string]: Packable }

const utf8 = new TextEncoder()
const text = new TextDecoder('utf-8', { fatal: true })

class Writer {
  #bytes = new Uint8Array(256)
  #view = new DataView(this.#bytes.buffer)
  #end = 0

  done(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#end)
  }

  write(value: Packable): void {
    if (value === null || value === undefined) this.#number(0xc0, 0)
    else if (typeof value === 'boolean') this.#number(value ? 0xc3 : 0xc2, 0)
    else if (typeof value === 'number') this.#plain(value)
    else if (typeof value === 'bigint') this.#big(value)
    else if (typeof value === 'string') this.#raw(utf8.encode(value), [0xa0, 32, 0xd9, 0xda, 0xdb])
    else if (value instanceof Uint8Array) this.#raw(value, [0, 0, 0xc4, 0xc5, 0xc6])
    else if (value instanceof Float) this.#float(value.value)
    else if (Array.isArray(value)) {
      this.#head(value.length, [0x90, 16, 0, 0xdc, 0xdd])
      for (const item of value) this.write(item)
    } else {
      // A key without a value is a key that is not there.
      const entries = Object.entries(value).filter(([, item]) => item !== undefined)
      this.#head(entries.length, [0x80, 16, 0, 0xde, 0xdf])
      for (const [key, item] of entries) {
        this.write(key)
        this.write(item)
      }
    }
  }

  #plain(value: number): void {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) return this.#float(value)
    if (value >= 0) {
      if (value < 0x80) this.#number(value, 0)
      else if (value <= 0xff) this.#number(0xcc, 1, value)
      else if (value <= 0xffff) this.#number(0xcd, 2, value)
      else if (value <= 0xffffffff) this.#number(0xce, 4, value)
      else this.#big(BigInt(value))
    } else if (value >= -32) this.#number(value & 0xff, 0)
    else if (value >= -0x80) this.#number(0xd0, 1, value)
    else if (value >= -0x8000) this.#number(0xd1, 2, value)
    else if (value >= -0x80000000) this.#number(0xd2, 4, value)
    else this.#big(BigInt(value))
  }

  /** A tag, and a whole number of so many bytes behind it; two's complement makes signed and unsigned one. */
  #number(tag: number, bytes: 0 | 1 | 2 | 4, value = 0): void {
    this.#grow(5)
    this.#view.setUint8(this.#end++, tag)
    if (bytes === 1) this.#view.setUint8(this.#end, value)
    else if (bytes === 2) this.#view.setUint16(this.#end, value)
    else if (bytes === 4) this.#view.setUint32(this.#end, value)
    this.#end += bytes
  }

  #big(value: bigint): void {
    this.#number(value < 0n ? 0xd3 : 0xcf, 0)
    this.#grow(8)
    this.#view.setBigUint64(this.#end, BigInt.asUintN(64, value))
    this.#end += 8
  }

  #float(value: number): void {
    this.#number(0xcb, 0)
    this.#grow(8)
    this.#view.setFloat64(this.#end, value)
    this.#end += 8
  }

  /** A length: in the tag itself below `short`, else behind the tag for 8, 16 or 32 bits; a tag 0 does not exist. */
  #head(length: number, [fix, short, tag8, tag16, tag32]: [number, number, number, number, number]): void {
    if (length < short) this.#number(fix | length, 0)
    else if (tag8 !== 0 && length <= 0xff) this.#number(tag8, 1, length)
    else if (length <= 0xffff) this.#number(tag16, 2, length)
    else this.#number(tag32, 4, length)
  }

  #raw(bytes: Uint8Array, tags: [number, number, number, number, number]): void {
    this.#head(bytes.length, tags)
    this.#grow(bytes.length)
    this.#bytes.set(bytes, this.#end)
    this.#end += bytes.length
  }

  #grow(bytes: number): void {
    if (this.#end + bytes <= this.#bytes.length) return
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#end + bytes))
    larger.set(this.#bytes)
    this.#bytes = larger
    this.#view = new DataView(larger.buffer)
  }
}

class Reader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  end(): void {
    if (this.#at !== this.#bytes.length) throw new RangeError('bytes follow the value')
  }

  read(depth = 0): Value {
    if (depth > DEPTH_MAX) throw new RangeError('nested too deep')
    const tag = this.#uint(1)
    if (tag < 0x80) return tag
    if (tag < 0x90) return this.#map(tag & 15, depth)
    if (tag < 0xa0) return this.#array(tag & 15, depth)
    if (tag < 0xc0) return this.#text(tag & 31)
    if (tag >= 0xe0) return tag - 0x100
    return this.#tagged(tag, depth)
  }

  #tagged(tag: number, depth: number): Value {
    const width = (first: number): 1 | 2 | 4 => (1 << (tag - first)) as 1 | 2 | 4
    if (tag === 0xc0) return null
    if (tag === 0xc2 || tag === 0xc3) return tag === 0xc3
    if (tag >= 0xc4 && tag <= 0xc6) return this.#take(this.#uint(width(0xc4))).slice()
    if (tag === 0xca) return this.#view.getFloat32(this.#skip(4))
    if (tag === 0xcb) return this.#view.getFloat64(this.#skip(8))
    if (tag >= 0xcc && tag <= 0xce) return this.#uint(width(0xcc))
    if (tag === 0xcf) return narrow(this.#view.getBigUint64(this.#skip(8)))
    if (tag === 0xd0) return this.#view.getInt8(this.#skip(1))
    if (tag === 0xd1) return this.#view.getInt16(this.#skip(2))
    if (tag === 0xd2) return this.#view.getInt32(this.#skip(4))
    if (tag === 0xd3) return narrow(this.#view.getBigInt64(this.#skip(8)))
    if (tag >= 0xd9 && tag <= 0xdb) return this.#text(this.#uint(width(0xd9)))
    if (tag === 0xdc || tag === 0xdd) return this.#array(this.#uint(tag === 0xdc ? 2 : 4), depth)
    if (tag === 0xde || tag === 0xdf) return this.#map(this.#uint(tag === 0xde ? 2 : 4), depth)
    throw new RangeError(`unknown tag ${tag}`)
  }

  #array(length: number, depth: number): Value[] {
    const items: Value[] = []
    for (let index = 0; index < length; index += 1) items.push(this.read(depth + 1))
    return items
  }

  #map(length: number, depth: number): Value {
    const map: { [key: string]: Value } = {}
    for (let index = 0; index < length; index += 1) {
      const key = this.read(depth + 1)
      // A plain assignment to `__proto__` would change the object instead of adding a key.
      const value = { value: this.read(depth + 1), enumerable: true, configurable: true, writable: true }
      Object.defineProperty(map, String(key), value)
    }
    return map
  }

  #text(length: number): string {
    return text.decode(this.#take(length))
  }

  #take(length: number): Uint8Array {
    const start = this.#skip(length)
    return this.#bytes.subarray(start, start + length)
  }

  #uint(bytes: 1 | 2 | 4): number {
    const start = this.#skip(bytes)
    if (bytes === 1) return this.#view.getUint8(start)
    return bytes === 2 ? this.#view.getUint16(start) : this.#view.getUint32(start)
  }

  #skip(bytes: number): number {
    const start = this.#at
    this.#at += bytes
    if (this.#at > this.#bytes.length) throw new RangeError('the value ends early')
    return start
  }
}

const narrow = (value: bigint): number | bigint => {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}

export const pack = (value: Packable): Uint8Array<ArrayBuffer> => {
  const writer = new Writer()
  writer.write(value)
  return writer.done()
}

export const unpack = (bytes: Uint8Array): Value => {
  const reader = new Reader(bytes)
  const value = reader.read()
  reader.end()
  return value
}
