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

interface Waiting {
  edit: Edit
  /** On this connection: to be sent, sent, or refused for now. */
  phase: 'waiting' | 'sent' | 'refused'
  /** The server may know it under its number, from this connection or an earlier one. */
  mayBeKnown: boolean
}

export class Outbox {
  /** UUIDv7 of the outbox. */
  readonly client: string
  #last: number
  /** By number, in ascending order. */
  readonly #waiting = new Map<number, Waiting>()
  #inFlight = 0

  /** With edits that a tab left: they may have been sent. */
  constructor(client: string, left: Edit[] = []) {
    this.client = client
    for (const edit of left) this.#waiting.set(edit.seq, { edit, phase: 'waiting', mayBeKnown: true })
    this.#last = left.at(-1)?.seq ?? 0
  }

  get size(): number {
    return this.#waiting.size
  }

  get inFlight(): number {
    return this.#inFlight
  }

  get edits(): Edit[] {
    return [...this.#waiting.values()].map(({ edit }) => edit)
  }

  /** Edits that were sent and not answered. */
  get sent(): Edit[] {
    return [...this.#waiting.values()].filter(({ phase }) => phase === 'sent').map(({ edit }) => edit)
  }

  find(seq: number): Edit | undefined {
    return this.#waiting.get(seq)?.edit
  }

  /** Puts an edit at the end, under the next number. */
  add(edit: Edit): Edit {
    this.#last += 1
    edit.seq = this.#last
    this.#waiting.set(edit.seq, { edit, phase: 'waiting', mayBeKnown: false })
    return edit
  }

  /** The next edit to send; `null` if there is none, or if so many wait for an answer. */
  next(inFlightMax = IN_FLIGHT_MAX): Edit | null {
    if (this.#inFlight >= inFlightMax) return null
    for (const { edit, phase } of this.#waiting.values()) if (phase === 'waiting') return edit
    return null
  }

  markSent({ seq }: Edit): void {
    const waiting = this.#waiting.get(seq)
    if (waiting === undefined) return
    waiting.phase = 'sent'
    waiting.mayBeKnown = true
    this.#inFlight += 1
  }

  /** It stays, and waits for what is decided about it. */
  markRefused({ seq }: Edit): void {
    const waiting = this.#waiting.get(seq)
    if (waiting === undefined) return
    if (waiting.phase === 'sent') this.#inFlight -= 1
    waiting.phase = 'refused'
  }

  /** It was acknowledged or refused for good, or has another place now. */
  remove({ seq }: Edit): void {
    if (this.#waiting.get(seq)?.phase === 'sent') this.#inFlight -= 1
    this.#waiting.delete(seq)
  }

  /** A new connection: all is to be sent again. `seen` is the highest number the board knows of this outbox. */
  rewind(seen: number): void {
    this.#last = Math.max(this.#last, seen)
    this.#inFlight = 0
    for (const waiting of this.#waiting.values()) waiting.phase = 'waiting'
  }

  /**
   * Takes out what may, and must, get new numbers after a refusal: what was refused, and what stands behind it and was
   * never sent. The rest may be known by its number; ops under another one would be done twice.
   */
  takeRefused(): Edit[] {
    const taken = [...this.#waiting.values()].filter(({ phase, mayBeKnown }) => phase === 'refused' || !mayBeKnown)
    for (const { edit } of taken) this.remove(edit)
    return taken.map(({ edit }) => edit)
  }
}

export const frameOf = ({ seq, gesture, update, ops }: Edit): ClientFrame => {
  const numbered = gesture === null ? { seq } : { seq, gesture }
  return update === null ? { t: 'op', ...numbered, ops: ops ?? [] } : { t: 'update', ...numbered, update }
}
