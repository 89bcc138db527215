// A board with a Yjs document: local changes become edits, what others did is merged, and where the document cannot be
// mended another one takes its place.

import * as Y from 'yjs'
import type { Board, PlainBoard } from '../api.ts'
import { type Content, Entries, type EventFrame, type ResyncFrame } from './content.ts'
import type { Edit } from './outbox.ts'
import { hasAll, newDocument, Rewrite, setAside } from './rewrite.ts'
import { Live, type Refusal, type Setting } from './session.ts'

/** Origin of what comes from the server or from this device; everything else is an edit. */
const REMOTE = Symbol('panseo')

/** Origin of an edit with a gesture. */
class Gesture {
  readonly id: string
  constructor(id: string) {
    this.id = id
  }
}

export class DocumentBoard extends Live implements Board {
  doc: Y.Doc
  protected readonly content: Content

  /** `document`: what is kept on this device. What is in the outboxes comes on top, in case it is not in there. */
  constructor(setting: Setting, document: Uint8Array | null) {
    super(setting)
    this.doc = newDocument()
    const kept = setting.outboxes.flatMap(({ edits }) => edits.map(({ update }) => update))
    for (const update of [document, ...kept]) if (update) Y.applyUpdate(this.doc, update, REMOTE)
    this.#listen(this.doc)
    const whole = () => ({ document: Y.encodeStateAsUpdate(this.doc), outboxes: setting.outboxes })
    if (setting.device) setting.device.whole = whole
    this.content = {
      isDocument: true,
      vector: () => Y.encodeStateVector(this.doc),
      resync: ({ update }: ResyncFrame) => this.#merge(update),
      event: ({ update }: EventFrame) => this.#merge(update),
      beyond: (vector: Uint8Array) => Y.encodeStateAsUpdate(this.doc, vector)
    }
  }

  edit<T>(change: (doc: Y.Doc) => T, gesture?: string): T {
    return this.doc.transact(() => change(this.doc), gesture === undefined ? null : new Gesture(gesture))
  }

  #listen(doc: Y.Doc): void {
    doc.on('update', (update: Uint8Array, origin: unknown) => {
      // An old document that somebody still holds is nobody's any more.
      if (doc !== this.doc) return
      if (origin === REMOTE) this.setting.device?.keep(update)
      else this.added(this.#add(update, origin))
    })
  }

  #add(update: Uint8Array, origin: unknown): Edit {
    const gesture = origin instanceof Gesture ? origin.id : null
    return this.own.add({ gesture, update, ops: null })
  }

  #merge(update: Uint8Array | null | undefined): void {
    if (update) Y.applyUpdate(this.doc, update, REMOTE)
  }

  protected rebuild(state: Uint8Array, isForeign: boolean): void {
    const old = this.doc
    // From here on nobody listens to the old one.
    this.doc = newDocument()
    const refusals = this.refusals
    this.refusals = []
    const refused = new Set(refusals.map(({ edit }) => edit))
    const rewrite = new Rewrite(old, updates([...refused]))
    Y.applyUpdate(this.doc, state, REMOTE)
    // What the server has, but may not have on disk yet, stays as it is until it is acknowledged.
    const isDone = ({ update }: Edit) => !isForeign && update !== null && hasAll(this.doc, update)
    const { from, edits } = this.#takeDocumentEdits((edit) => refused.has(edit) || !isDone(edit))
    const to: [string, Edit][] = []
    const write = (update: Uint8Array, origin: unknown) => to.push([this.own.client, this.#add(update, origin)])
    this.doc.on('update', write)
    for (const edit of edits) {
      const { update, gesture } = edit
      if (update !== null && !refused.has(edit)) this.edit((doc) => rewrite.write(doc, update), gesture ?? undefined)
    }
    this.doc.off('update', write)
    this.setting.device?.replace(Y.encodeStateAsUpdate(this.doc), from, to)
    this.#listen(this.doc)
    this.emitter.tell('document', this.doc)
    for (const refusal of refusals) this.#tellRefused(old, refusal)
    old.destroy()
  }

  /** Takes edits of the document out of the outboxes. */
  #takeDocumentEdits(which: (edit: Edit) => boolean): { from: [string, number][]; edits: Edit[] } {
    const from: [string, number][] = []
    const edits: Edit[] = []
    for (const outbox of this.setting.outboxes) {
      for (const edit of outbox.edits) {
        if (edit.update === null || !which(edit)) continue
        from.push([outbox.client, edit.seq])
        edits.push(edit)
        outbox.remove(edit)
      }
    }
    edits.sort((one, other) => one.order - other.order)
    return { from, edits }
  }

  #tellRefused(old: Y.Doc, { edit, code, message }: Refusal): void {
    const update = edit.update ?? new Uint8Array()
    this.emitter.tell('refused', { code, message, gesture: edit.gesture, entries: setAside(old, update), update })
  }
}

const updates = (edits: Edit[]): Uint8Array[] => edits.flatMap(({ update }) => (update === null ? [] : [update]))

/** A board without a document. */
export class EntriesBoard extends Live implements PlainBoard {
  protected readonly content: Entries

  constructor(setting: Setting) {
    super(setting)
    this.content = new Entries(() => this.emitter.tell('entries', this.entries))
  }

  get entries(): PlainBoard['entries'] {
    return this.content.byName
  }

  /** Only a document is ever made anew. */
  protected rebuild(): void {}
}
