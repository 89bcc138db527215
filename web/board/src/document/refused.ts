// Drawings that the server did not take, gathered until the person has saved or dismissed them.

import type { Plain, Properties } from './values'

/** As the SDK tells them. */
export interface RefusedEntry {
  kind: string
  id: string
  properties: object
}

export type RefusedElements = ReadonlyMap<string, Properties>

/** With more of them. A later edit of the same element comes on top of the one that made it. */
export function gather(before: RefusedElements, entries: readonly RefusedEntry[]): RefusedElements {
  const all = new Map(before)
  for (const { kind, id, properties } of entries) {
    if (kind !== 'element') continue
    const known = all.get(id)
    // Without a kind and a place it was a change of something that is still there.
    if (!known && !('type' in properties)) continue
    all.set(id, { ...known, ...(properties as Record<string, Plain>) })
  }
  for (const [id, { deleted }] of all) if (deleted !== undefined) all.delete(id)
  return all
}
