// What a session has of the board: a document, or plain entries. Frames come in here after the session has read what
// concerns itself.

import type { Item, ServerFrame } from '../protocol/wire.gen.ts'

export type EventFrame = Extract<ServerFrame, { t: 'event' }>
export type ResyncFrame = Extract<ServerFrame, { t: 'resync' }>

export interface Content {
  readonly isDocument: boolean
  /** State vector for the next `hello`; `null`: send all of it. */
  vector(): Uint8Array | null
  resync(frame: ResyncFrame): void
  event(frame: EventFrame): void
  /** What the server lacks, which has as much as this state vector says. */
  beyond(vector: Uint8Array): Uint8Array | null
}

/** Plain entries, for programs without a document. */
export class Entries implements Content {
  readonly isDocument = false
  readonly byName = new Map<string, Item>()
  readonly #told: () => void

  /** `told` hears when the entries are new as a whole. */
  constructor(told: () => void) {
    this.#told = told
  }

  vector(): null {
    return null
  }

  beyond(): null {
    return null
  }

  resync({ entries }: ResyncFrame): void {
    this.byName.clear()
    for (const item of entries ?? []) this.byName.set(`${item.kind}:${item.id}`, item)
    this.#told()
  }

  event({ changes }: EventFrame): void {
    for (const { kind, id, before, after } of changes ?? []) {
      const name = `${kind}:${id}`
      const properties = { ...this.byName.get(name)?.properties }
      for (const key of Object.keys(before ?? {})) delete properties[key as keyof typeof properties]
      Object.assign(properties, after)
      // Without `after` the entry is gone, unless properties are left that `before` did not name.
      if (!after && Object.keys(properties).length === 0) this.byName.delete(name)
      else this.byName.set(name, { kind, id, properties })
    }
  }
}
