// Bytes <-> frames of `panseo.v1.msgpack`. Frames here are as `wire.gen.ts` has them: ids of clients and gestures are
// text, as in JSON, and become 16 bytes on the wire.

import { Float, type Packable, pack, unpack } from './msgpack.ts'
import type { ClientFrame, Record as LogRecord, ServerFrame, Value } from './wire.gen.ts'

export const SUBPROTOCOL = 'panseo.v1.msgpack'

type Fields = { [key: string]: Packable }

/** Fields that are floats by their type, so that the server writes them as such. */
const FLOATS: { [op: string]: string[] } = { 'element.move': ['dx', 'dy'], 'comment.add': ['x', 'y'] }

export const encode = (frame: ClientFrame | ServerFrame | LogRecord): Uint8Array<ArrayBuffer> => {
  const fields = map(frame as unknown as Fields, idToBytes)
  const ops = fields.ops
  if (Array.isArray(ops)) fields.ops = (ops as Fields[]).map(encodeOp)
  return pack(fields)
}

export const decode = (bytes: Uint8Array): ServerFrame => decodeAny(bytes) as unknown as ServerFrame

/** A frame of either side, or a record. */
export const decodeAny = (bytes: Uint8Array): { [key: string]: Value } => {
  const value = unpack(bytes)
  if (value === null || typeof value !== 'object' || Array.isArray(value) || value instanceof Uint8Array)
    throw new TypeError('a frame is one map')
  const fields = map(value as Fields, idToText)
  if (Array.isArray(fields.ops)) fields.ops = (fields.ops as Fields[]).map((op) => convert(op, 'step', idToText))
  return fields as { [key: string]: Value }
}

const encodeOp = (op: Fields): Fields => {
  const packed = convert(op, 'step', idToBytes)
  for (const name of FLOATS[String(op.op)] ?? []) {
    const value = packed[name]
    if (typeof value === 'number') packed[name] = new Float(value)
  }
  return packed
}

/** Converts the ids of a frame, and those of the states in it; what people put into `data` is not touched. */
const map = (frame: Fields, id: (value: Packable) => Packable): Fields => {
  const fields = convert(convert(frame, 'client', id), 'gesture', id)
  if (Array.isArray(fields.states))
    fields.states = (fields.states as Fields[]).map((state) => convert(state, 'gesture', id))
  return fields
}

const convert = (fields: Fields, key: string, id: (value: Packable) => Packable): Fields =>
  fields[key] === undefined ? { ...fields } : { ...fields, [key]: id(fields[key]) }

/** A step may be a record id, too, which stays as it is. */
const idToBytes = (id: Packable): Packable => (typeof id === 'string' ? uuidToBytes(id) : id)
const idToText = (id: Packable): Packable => (id instanceof Uint8Array && id.length === 16 ? uuidToText(id) : id)

export const uuidToText = (bytes: Uint8Array): string =>
  Array.from(
    bytes,
    (byte, index) => ([4, 6, 8, 10].includes(index) ? '-' : '') + byte.toString(16).padStart(2, '0')
  ).join('')

export const uuidToBytes = (id: string): Uint8Array => {
  const hex = id.replaceAll('-', '')
  if (!/^[0-9a-f]{32}$/i.test(hex))
    throw new TypeError(`a client or gesture is a UUID, not ${JSON.stringify(id.slice(0, 40))}`)
  return Uint8Array.from({ length: 16 }, (_, index) => Number.parseInt(hex.slice(index * 2, index * 2 + 2), 16))
}

/** A UUIDv7: milliseconds first, then chance. */
export const uuid = (now = Date.now()): string => {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, Math.floor(now / 0x10000))
  view.setUint16(4, now % 0x10000)
  view.setUint8(6, 0x70 | (view.getUint8(6) & 0x0f))
  view.setUint8(8, 0x80 | (view.getUint8(8) & 0x3f))
  return uuidToText(bytes)
}
