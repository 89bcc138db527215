// Entries of the board document in Yjs: one map for each element, page and comment, one key for each property.

import * as Y from 'yjs'

import type { Changes, Plain, Properties } from './values'

export type Root = 'elements' | 'pages' | 'comments'

export type Entries = Y.Map<Y.Map<Plain>>

export function entriesOf(doc: Y.Doc, root: Root): Entries {
  return doc.getMap(`board:${root}`)
}

export function readEntry(entries: Entries, id: string): Properties | undefined {
  const entry = entries.get(id)
  // Any Yjs client may put something else there; to us it is nothing.
  return entry instanceof Y.Map ? (Object.fromEntries(entry.entries()) as Properties) : undefined
}

export function* readAll(entries: Entries): Generator<[string, Properties]> {
  for (const id of entries.keys()) {
    const properties = readEntry(entries, id)
    if (properties) yield [id, properties]
  }
}

/** Writes what changed, and only that. To be called in a transaction. */
export function writeEntry(entries: Entries, id: string, changes: Changes, isNew = false): void {
  const entry = entries.get(id)
  if (entry instanceof Y.Map) {
    for (const [key, value] of Object.entries(changes)) {
      if (value === undefined) entry.delete(key)
      else entry.set(key, value)
    }
  } else if (isNew) {
    const present = Object.entries(changes).filter(([, value]) => value !== undefined)
    entries.set(id, new Y.Map<Plain>(present as [string, Plain][]))
  }
}

/** Calls back with the ids of entries that others changed, once for each transaction; `isMine` leaves own ones out. */
export function observeEntries(
  entries: Entries,
  isMine: (transaction: Y.Transaction) => boolean,
  listener: (ids: ReadonlySet<string>) => void
): () => void {
  const observer: Parameters<Entries['observeDeep']>[0] = (events, transaction) => {
    if (isMine(transaction)) return
    const ids = new Set<string>()
    for (const event of events) {
      if (event.path.length > 0) ids.add(String(event.path[0]))
      else for (const id of event.keys.keys()) ids.add(id)
    }
    listener(ids)
  }
  entries.observeDeep(observer)
  return () => entries.unobserveDeep(observer)
}
