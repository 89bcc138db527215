// What hangs on an element: arrows and its label. Both ends say it, the arrow in its `startBinding` and `endBinding`, the
// label in its `containerId`, and the element in its list `boundElements`. When two people bind at once, one of the two
// lists is lost. So the list is only believed as far as the other ends agree, and completed from them.

import { type Properties, isList, isMap, isText } from '../document/values'
import type { SceneElement } from './element'
import { isBound } from './keys'

export interface Bound {
  readonly id: string
  readonly type: 'arrow' | 'text'
}

/** By element, what says that it hangs on it. */
export function boundIn(scene: readonly SceneElement[]): Map<string, Bound[]> {
  const found = new Map<string, Bound[]>()
  const add = (target: unknown, bound: Bound) => {
    if (!isText(target)) return
    const others = found.get(target) ?? []
    if (!others.some(({ id }) => id === bound.id)) found.set(target, [...others, bound])
  }
  for (const { id, type, isDeleted, startBinding, endBinding, containerId } of scene) {
    if (isDeleted) continue
    if (type === 'text') add(containerId, { id, type })
    if (type !== 'arrow') continue
    for (const end of [startBinding, endBinding]) if (isMap(end)) add(end.elementId, { id, type })
  }
  return found
}

/** The list that the document has, without what does not hang there and with what is missing. One label at most. */
export function mendBound(properties: Properties, bound: readonly Bound[]): Bound[] {
  const written = isMap(properties.bindings) ? properties.bindings.bound : undefined
  const listed = isList(written) ? written.filter(isBound) : []
  const known = listed.flatMap((entry) => bound.filter(({ id, type }) => id === entry.id && type === entry.type))
  const missing = bound.filter((entry) => !known.includes(entry)).sort((a, b) => (a.id < b.id ? -1 : 1))
  const all = [...new Set([...known, ...missing])]
  const label = all.find(({ type }) => type === 'text')
  return all.filter((entry) => entry.type === 'arrow' || entry === label)
}

/** Whether an element shows this list. */
export function showsBound({ boundElements }: SceneElement, bound: readonly Bound[]): boolean {
  const shown = isList(boundElements) ? boundElements : []
  return shown.length === bound.length && bound.every(({ id }, index) => (shown[index] as Bound).id === id)
}
