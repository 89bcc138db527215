// Plain values of the board document: what a property of an entry may hold.

export type Plain = null | boolean | number | string | Uint8Array | PlainList | PlainMap
export type PlainList = readonly Plain[]
export interface PlainMap {
  readonly [key: string]: Plain
}

/** Properties of one entry by name. A property at its default is absent. */
export type Properties = Readonly<Record<string, Plain>>

/** What to write: `undefined` puts a property back to its default, that is, removes its key. */
export type Changes = Record<string, Plain | undefined>

export function isMap(value: unknown): value is PlainMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
}

export function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value)
}

export function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}

export function isText(value: unknown): value is string {
  return typeof value === 'string'
}

/** Deep equality. A key that holds `undefined` counts as absent, as in JSON. */
export function same(a: unknown, b: unknown): boolean {
  if (Object.is(a, b) || (a === 0 && b === 0)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (isList(a) || isList(b)) {
    return isList(a) && isList(b) && a.length === b.length && a.every((item, index) => same(item, b[index]))
  }
  if (a instanceof Uint8Array || b instanceof Uint8Array) {
    return (
      a instanceof Uint8Array &&
      b instanceof Uint8Array &&
      a.length === b.length &&
      a.every((byte, index) => byte === b[index])
    )
  }
  const left = a as Record<string, unknown>
  const right = b as Record<string, unknown>
  return [...new Set([...Object.keys(left), ...Object.keys(right)])].every((key) => same(left[key], right[key]))
}

/** A value as JSON would carry it, without `undefined` and without numbers that JSON does not have. */
export function plain(value: unknown): Plain {
  if (value === null || value === undefined || typeof value === 'function' || typeof value === 'symbol') return null
  if (typeof value === 'number') return Number.isFinite(value) ? value : null
  if (typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'bigint') return Number(value)
  if (value instanceof Uint8Array) return value
  if (isList(value)) return value.map(plain)
  const pairs = Object.entries(value as object).filter(([, item]) => item !== undefined)
  return Object.fromEntries(pairs.map(([key, item]) => [key, plain(item)]))
}
