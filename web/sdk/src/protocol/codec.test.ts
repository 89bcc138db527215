import { readdirSync, readFileSync } from 'node:fs'
import { Decoder, encode as packByLibrary } from '@msgpack/msgpack'
import { describe, expect, test } from 'vitest'
import { decodeAny, encode, uuid, uuidToBytes, uuidToText } from './codec.ts'
import { pack, unpack } from './msgpack.ts'
import type { ClientFrame, Value } from './wire.gen.ts'

const GOLDEN = new URL('../../../../schemas/golden/v1/', import.meta.url)

/** A frame as its JSON says it: binaries are base64 there, and prints are beyond what JSON.parse can hold. */
const fromJson = (json: string): unknown => {
  const big = json.replace(/:(\d{17,})/g, ':"big $1"')
  return JSON.parse(big, (key, value) => {
    if (typeof value !== 'string') return value
    if (value.startsWith('big ')) return BigInt(value.slice(4))
    if (['update', 'vector', 'points'].includes(key)) return new Uint8Array(Buffer.from(value, 'base64'))
    return value
  })
}

describe.each(['client', 'server', 'record'])('golden samples of %s', (kind) => {
  const folder = new URL(`${kind}/`, GOLDEN)
  const names = readdirSync(folder).filter((name) => name.endsWith('.msgpack'))

  test('there are samples', () => expect(names.length).toBeGreaterThan(3))

  test.each(names)('%s is read as its JSON says, and written to the same bytes', (name) => {
    const bytes = new Uint8Array(readFileSync(new URL(name, folder)))
    const said = fromJson(readFileSync(new URL(name.replace('.msgpack', '.json'), folder), 'utf8'))
    expect(decodeAny(bytes)).toEqual(said)
    expect(encode(decodeAny(bytes) as unknown as ClientFrame)).toEqual(bytes)
    expect(encode(said as ClientFrame)).toEqual(bytes)
  })
})

/** Random values with a seed, of every kind a frame may hold. */
const random = (seed: number) => {
  let state = seed
  const next = (bound: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * bound)
  }
  const bytes = (length: number) => Uint8Array.from({ length }, () => next(256))
  const lengths = [0, 1, 15, 16, 31, 32, 255, 256]
  const value = (depth: number): Value => {
    const kind = next(depth > 0 ? 10 : 8)
    if (kind === 0) return null
    if (kind === 1) return next(2) === 0
    if (kind === 2) return (next(2) === 0 ? 1 : -1) * 2 ** next(53)
    if (kind === 3) return (next(2) === 0 ? 1 : -1) * (2 ** next(53) - 1) + 0
    if (kind === 4) return next(1_000_000) / 128 - 1_000
    if (kind === 5) return '판서 ✍️'.repeat(next(8))
    if (kind === 6) return 'x'.repeat(lengths[next(lengths.length)] ?? 0)
    if (kind === 7) return bytes(lengths[next(lengths.length)] ?? 0)
    if (kind === 8) return Array.from({ length: next(20) }, () => value(depth - 1))
    return Object.fromEntries(Array.from({ length: next(20) }, (_, index) => [`key${index}`, value(depth - 1)]))
  }
  return value
}

test('values of all kinds and sizes come back, and an independent library reads them alike', () => {
  const value = random(7)
  for (let round = 0; round < 200; round += 1) {
    const sent = value(2)
    expect(unpack(pack(sent))).toEqual(sent)
    expect(new Decoder().decode(pack(sent))).toEqual(sent)
    expect(unpack(packByLibrary(sent))).toEqual(sent)
  }
})

test('lengths at the edges of their forms', () => {
  for (const length of [65_535, 65_536]) {
    expect(unpack(pack('x'.repeat(length)))).toBe('x'.repeat(length))
    expect(Buffer.compare(unpack(pack(new Uint8Array(length))) as Uint8Array, new Uint8Array(length))).toBe(0)
    expect(Buffer.compare(pack(Array(length).fill(1)), packByLibrary(Array(length).fill(1)))).toBe(0)
  }
})

test('what is cut short, too long or too deep is refused', () => {
  const bytes = pack({ t: 'event', list: [1, 'text', new Uint8Array(40), 2 ** 40, 1.5] })
  for (let length = 0; length < bytes.length; length += 1) expect(() => unpack(bytes.subarray(0, length))).toThrow()
  expect(() => unpack(Uint8Array.of(...bytes, 0))).toThrow('follow')
  expect(() => unpack(new Uint8Array(1_000).fill(0x91))).toThrow('deep')
  expect(() => unpack(Uint8Array.of(0xc7, 0, 0))).toThrow('tag')
  expect(() => decodeAny(Uint8Array.of(0x90))).toThrow('map')
})

test('a key named __proto__ is a key', () => {
  const read = unpack(packByLibrary(JSON.parse('{"__proto__":{"role":"teacher"}}')))
  expect(Object.keys(read as object)).toEqual(['__proto__'])
  expect((read as { role?: string }).role).toBeUndefined()
})

test('an id is a UUIDv7 of its time, as text and as bytes', () => {
  const id = uuid(0x0123456789ab)
  expect(id).toMatch(/^01234567-89ab-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  expect(uuidToText(uuidToBytes(id))).toBe(id)
  expect(() => uuidToBytes('lesson')).toThrow('UUID')
})
