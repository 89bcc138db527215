// Edits without an acknowledgement, in order. Nothing leaves before its `ack` or its refusal.

import type { ClientFrame, Op } from '../protocol/wire.gen.ts'

/** An edit of the document, or ops. Its number names it for ever, together with the outbox. */
export interface Edit {
  seq: number
  /** Place among all edits of this tab; unlike the number it never changes. */
  order: number
  gesture: string | null
  update: Uint8Array | null
  ops: Op[] | null
}

/** Ops that speak of the board as it is when they are made: on a later day they would undo the work of others. */
const OF_THE_MOMENT: readonly Op['op'][] = ['undo', 'redo', 'board.clear', 'board.restore']

export const isOfTheMoment = ({ ops }: Edit): boolean => ops?.some(({ op }) => OF_THE_MOMENT.includes(op)) ?? false

/**
 * Ops that may be refused as `busy` while all else is taken. Whoever made them tries again; would they be held here,
 * all drawing behind them would wait as well.
 */
export const isForItself = ({ ops }: Edit): boolean =>
  ops?.every(({ op }) => op === 'asset.add' || op === 'board.restore') ?? false

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
  #made: number

  /** With edits that a tab left: they may have been sent. `made`: edits that stand before the first new one. */
  constructor(client: string, left: Edit[] = [], made = 0) {
    this.client = client
    this.#made = made
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

  /** A new edit, at the end. */
  add(edit: Pick<Edit, 'gesture' | 'update' | 'ops'>): Edit {
    this.#made += 1
    return this.#number({ ...edit, seq: 0, order: this.#made }, 'waiting')
  }

  /**
   * Takes in what was refused for now, under a new number. At once, because the old one may soon be below the
   * highest that the board knows, and then it would pass for done.
   */
  takeIn(edit: Edit): void {
    this.#number(edit, 'refused')
  }

  #number(edit: Edit, phase: Waiting['phase']): Edit {
    this.#last += 1
    edit.seq = this.#last
    this.#waiting.set(edit.seq, { edit, phase, mayBeKnown: false })
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

  /** Refused for good. It stays until the document is rid of it, too. */
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

  /** Brings those that the server cannot know into their order again, under new numbers; gives the old ones back. */
  renumber(): { old: number[]; edits: Edit[] } {
    const edits = [...this.#waiting.values()].filter(({ mayBeKnown }) => !mayBeKnown).map(({ edit }) => edit)
    const old = edits.map(({ seq }) => seq)
    for (const edit of edits) this.remove(edit)
    edits.sort((one, other) => one.order - other.order)
    for (const edit of edits) this.#number(edit, 'waiting')
    return { old, edits }
  }
}

export const frameOf = ({ seq, gesture, update, ops }: Edit): ClientFrame => {
  const numbered = gesture === null ? { seq } : { seq, gesture }
  return update === null ? { t: 'op', ...numbered, ops: ops ?? [] } : { t: 'update', ...numbered, update }
}
