// Edits without an acknowledgement, in order. Nothing leaves before its `ack` or its refusal.

import type { ClientFrame, Op } from '../protocol/wire.gen.ts'

/** An edit of the document, or ops. Its number names it for ever, together with the outbox. */
export interface Edit {
  seq: number
  gesture: string | null
  update: Uint8Array | null
  ops: Op[] | null
}

/** Frames that may wait for an answer at once: the acknowledgements set the pace of those behind. */
export const IN_FLIGHT_MAX = 256

export class Outbox {
  /** UUIDv7 of the outbox. */
  readonly client: string
  #last: number
  /** In the order of their numbers; `true`: sent on this connection. */
  readonly #edits = new Map<Edit, boolean>()
  #inFlight = 0

  constructor(client: string, edits: Edit[] = []) {
    this.client = client
    for (const edit of edits) this.#edits.set(edit, false)
    this.#last = edits.at(-1)?.seq ?? 0
  }

  get size(): number {
    return this.#edits.size
  }

  get inFlight(): number {
    return this.#inFlight
  }

  get edits(): Edit[] {
    return [...this.#edits.keys()]
  }

  /** Edits that were sent and not answered. */
  get sent(): Edit[] {
    return this.edits.filter((edit) => this.#edits.get(edit))
  }

  /** Gives an edit the next number and puts it at the end. */
  add(edit: Omit<Edit, 'seq'>): Edit {
    this.#last += 1
    const numbered = { ...edit, seq: this.#last }
    this.#edits.set(numbered, false)
    return numbered
  }

  /** The next edit to send; `null` if there is none, or if enough of them wait for an answer. */
  next(): Edit | null {
    if (this.#inFlight >= IN_FLIGHT_MAX) return null
    for (const [edit, isSent] of this.#edits) if (!isSent) return edit
    return null
  }

  markSent(edit: Edit): void {
    this.#edits.set(edit, true)
    this.#inFlight += 1
  }

  find(seq: number): Edit | undefined {
    return this.edits.find((edit) => edit.seq === seq)
  }

  /** It was acknowledged or refused, or has another number or place now. */
  remove(edit: Edit): void {
    if (this.#edits.get(edit)) this.#inFlight -= 1
    this.#edits.delete(edit)
  }

  /** A new connection: all is to be sent again. `seen` is the highest number the board knows of this outbox. */
  rewind(seen: number): void {
    this.#last = Math.max(this.#last, seen)
    this.#inFlight = 0
    for (const edit of this.#edits.keys()) this.#edits.set(edit, false)
  }
}

export const frameOf = ({ seq, gesture, update, ops }: Edit): ClientFrame => {
  const numbered = gesture === null ? { seq } : { seq, gesture }
  return update === null ? { t: 'op', ...numbered, ops: ops ?? [] } : { t: 'update', ...numbered, update }
}
