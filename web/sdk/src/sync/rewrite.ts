// Writing edits again in another document. A document that holds blocks which the server will never take (refused, or
// under another user's client id) cannot be mended: everything drawn later would build on them. So the server's state
// goes into a new document, and what the waiting edits set is set there anew.

import * as Y from 'yjs'
import { pack } from '../protocol/msgpack.ts'
import type { EntryKind, Properties, Value } from '../protocol/wire.gen.ts'

const ROOTS: { [root: string]: EntryKind } = {
  'board:elements': 'element',
  'board:pages': 'page',
  'board:assets': 'asset',
  'board:comments': 'comment',
  'board:likes': 'like'
}

/** A document whose roots are maps from the start: Yjs leaves those that came with an update open until somebody asks. */
export const newDocument = (): Y.Doc => {
  const doc = new Y.Doc()
  for (const root of Object.keys(ROOTS)) doc.getMap(root)
  return doc
}

/** What an edit set and nobody has replaced since. `key` null: the entry itself; `isGone`: it was removed. */
interface Write {
  root: string
  entry: string
  key: string | null
  isGone: boolean
}

export interface SetAside {
  kind: EntryKind
  id: string
  properties: Properties
}

/**
 * What is still in force of an update, in a document that has it. `withLosers`: new entries, too, in whose place now
 * stands another under the same name.
 */
const writesOf = (doc: Y.Doc, update: Uint8Array, withLosers = false): Write[] => {
  const writes: Write[] = []
  const { structs, ds } = Y.decodeUpdate(update)
  const look = (client: number, clock: number, length: number, isGone: boolean) => {
    for (let at = clock; at < clock + length;) {
      const item = itemAt(doc, client, at)
      const write = item && writeOf(item, isGone, withLosers)
      if (write) writes.push(write)
      at = item ? item.id.clock + item.length : at + 1
    }
  }
  for (const struct of structs) look(struct.id.client, struct.id.clock, struct.length, false)
  for (const [client, runs] of ds.clients) for (const { clock, len } of runs) look(client, clock, len, true)
  return writes
}

/** Whether a document has all blocks and deletions of an update. */
export const hasAll = (doc: Y.Doc, update: Uint8Array): boolean => {
  const { structs, ds } = Y.decodeUpdate(update)
  const isGone = (client: number, clock: number) => itemAt(doc, client, clock)?.deleted !== false
  return (
    structs.every(({ id, length }) => id.clock + length <= Y.getState(doc.store, id.client)) &&
    [...ds.clients].every(([client, runs]) => runs.every(({ clock, len }) => isGone(client, clock + len - 1)))
  )
}

const itemAt = (doc: Y.Doc, client: number, clock: number): Y.Item | null => {
  if (clock >= Y.getState(doc.store, client)) return null
  const found = Y.getItem(doc.store, Y.createID(client, clock)) as Y.Item | Y.GC
  return found instanceof Y.Item ? found : null
}

const writeOf = (item: Y.Item, isGone: boolean, withLosers: boolean): Write | null => {
  const { parent, parentSub } = item
  if (!(parent instanceof Y.Map) || parentSub === null) return null
  const inForce = parent._map.get(parentSub)
  const owner = parent._item
  // A value that somebody has replaced is no longer in force, nor is its removal.
  const counts = withLosers && owner === null && !isGone ? inForce?.deleted === false : inForce === item
  if (!counts || inForce?.deleted !== isGone) return null
  if (owner === null) return within({ root: Y.findRootTypeKey(parent), entry: parentSub, key: null, isGone })
  const root = owner.parent
  if (!(root instanceof Y.Map) || root._item !== null || owner.parentSub === null) return null
  return within({ root: Y.findRootTypeKey(root), entry: owner.parentSub, key: parentSub, isGone })
}

const within = (write: Write): Write | null => (write.root in ROOTS ? write : null)

const nameOf = ({ root, entry, key }: Write): string => JSON.stringify([root, entry, key])

/**
 * Puts empty blocks where edits build on some that are nowhere to be had (of another tab, whose edits were refused). What
 * stood on them is void, but the rest can be read. The document is of no other use afterwards.
 */
const closeGaps = (doc: Y.Doc): void => {
  for (;;) {
    const pending = doc.store.pendingStructs
    if (pending === null) return
    const waiting = Y.decodeUpdateV2(pending.update).structs.filter((struct) => !(struct instanceof Y.Skip))
    const fillings = [...pending.missing].flatMap(([client, clock]) => {
      const from = Y.getState(doc.store, client)
      // What waits itself is not missing: it comes as soon as what it waits for is there.
      const next = waiting.filter(({ id, length }) => id.client === client && id.clock + length > from)
      const to = Math.min(clock + 1, ...next.map(({ id }) => id.clock))
      return to > from ? [emptyBlocks(client, from, to - from)] : []
    })
    if (fillings.length === 0) return
    for (const filling of fillings) Y.applyUpdate(doc, filling)
  }
}

/** An update of one block without content: one client, one block, nothing deleted. */
const emptyBlocks = (client: number, clock: number, length: number): Uint8Array =>
  Uint8Array.from([1, 1, ...varUint(client), ...varUint(clock), 0, ...varUint(length), 0])

const varUint = (value: number): number[] =>
  value < 0x80 ? [value] : [(value % 0x80) + 0x80, ...varUint(Math.floor(value / 0x80))]

/** The waiting edits of one document, to be written in another. The first one is of no use afterwards. */
export class Rewrite {
  readonly #from: Y.Doc
  /** What the refused edits set must not come along with an entry. */
  readonly #refused: Set<string>

  constructor(from: Y.Doc, refused: Uint8Array[]) {
    this.#from = from
    closeGaps(from)
    this.#refused = new Set(refused.flatMap((update) => writesOf(from, update)).map(nameOf))
  }

  /** Writes what is in force of an edit. To be called inside a transaction of `into`. */
  write(into: Y.Doc, update: Uint8Array): void {
    const made = new Set<unknown>()
    for (const write of writesOf(this.#from, update, true)) {
      if (this.#refused.has(nameOf(write))) continue
      const { root: name, entry, key, isGone } = write
      const root = into.getMap<unknown>(name)
      const target = root.get(entry)
      if (key === null) {
        if (isGone) root.delete(entry)
        else if (target === undefined) made.add(root.set(entry, this.#copy(name, entry)))
      } else if (target instanceof Y.Map) {
        if (!made.has(target)) this.#set(target, write, key)
      } else if (this.#mayReturn(name, entry)) made.add(root.set(entry, this.#copy(name, entry)))
    }
  }

  #set(target: Y.Map<unknown>, { root, entry, isGone }: Write, key: string): void {
    if (isGone) return target.delete(key)
    const value = this.#entry(root, entry)?.get(key)
    if (!isEqual(target.get(key), value)) target.set(key, value)
  }

  /**
   * Somebody's entry that the server has lost: better whole under our name than not at all. Unless it was deleted, or
   * is one that was refused.
   */
  #mayReturn(root: string, entry: string): boolean {
    const isRefused = this.#refused.has(nameOf({ root, entry, key: null, isGone: false }))
    return !isRefused && this.#entry(root, entry)?.has('deleted') === false
  }

  /** The entry as the old document has it. */
  #entry(root: string, entry: string): Y.Map<unknown> | null {
    const value = this.#from.getMap<unknown>(root).get(entry)
    return value instanceof Y.Map ? value : null
  }

  #copy(root: string, entry: string): unknown {
    const value = this.#from.getMap<unknown>(root).get(entry)
    if (!(value instanceof Y.Map)) return value
    const isKept = ([key]: [string, unknown]) => !this.#refused.has(nameOf({ root, entry, key, isGone: false }))
    return new Y.Map([...value.entries()].filter(isKept))
  }
}

/** What an edit set, for people who want to see or keep what was refused. */
export const setAside = (doc: Y.Doc, update: Uint8Array): SetAside[] => {
  const entries = new Map<string, SetAside>()
  for (const { root, entry, key, isGone } of writesOf(doc, update)) {
    const kind = ROOTS[root] as EntryKind
    const known = entries.get(`${kind}:${entry}`) ?? { kind, id: entry, properties: {} }
    entries.set(`${kind}:${entry}`, known)
    const value = doc.getMap<unknown>(root).get(entry)
    if (key !== null && !isGone && value instanceof Y.Map)
      known.properties[key as keyof Properties] = value.get(key) as Value
  }
  return [...entries.values()]
}

const isEqual = (one: unknown, other: unknown): boolean =>
  one === other || String(pack(one as Value)) === String(pack(other as Value))
