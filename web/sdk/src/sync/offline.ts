// What is kept on this device: the document, and edits without an acknowledgement. One IndexedDB database for each board
// and person; an edit goes into both stores in one transaction, so a crash leaves no block in the document that nobody
// would ever send (decision 0008).
//
// Several tabs share the database, not an outbox: each has its own, under a Web Lock. An outbox whose lock is free was
// left by a tab that is gone; the next tab sends what is in it, as it is, and never adds to it.

import * as Y from 'yjs'
import type { DeviceState } from '../api.ts'
import type { Clock } from '../clock.ts'
import type { Op } from '../protocol/wire.gen.ts'
import { type Edit, Outbox } from './outbox.ts'

/** What others did is on the server anyway, so it may gather a while. */
const GATHER_MS = 2_000
/** Rows of the document before they are folded into one. */
const ROWS_MAX = 500

interface Row extends Edit {
  client: string
}

/** The browser's parts; tests bring their own. */
export interface Browser {
  indexedDB: IDBFactory
  locks: Pick<LockManager, 'request'>
}

/** Those of the environment; `null` where one is missing, as Web Locks are without https. */
export const browser = (): Browser | null => {
  const { indexedDB, navigator } = globalThis as Partial<typeof globalThis>
  return indexedDB && navigator?.locks ? { indexedDB, locks: navigator.locks } : null
}

export interface Listener {
  changed(): void
  /** Another tab's document has taken the place of this one. */
  replaced(): void
}

export class Device {
  state: DeviceState = 'kept'
  readonly #database: IDBDatabase
  readonly #name: string
  readonly #locks: Browser['locks']
  readonly #clock: Clock
  readonly #changed: () => void
  readonly #replaced: () => void
  readonly #held = new Map<string, () => void>()
  #gathered: Uint8Array[] = []
  #cancel: (() => void) | null = null
  #rows = 0
  /**
   * Counts the documents that took another's place. A tab that holds an older one may have blocks that were refused, and
   * must not mix them in.
   */
  #generation = 0
  /** Settles when all that was begun has ended. */
  #last: Promise<unknown> = Promise.resolve()

  private constructor(database: IDBDatabase, name: string, locks: Browser['locks'], clock: Clock, hears: Listener) {
    this.#database = database
    this.#name = name
    this.#locks = locks
    this.#clock = clock
    this.#changed = hears.changed
    this.#replaced = hears.replaced
    database.onclose = () => this.#fail(null)
    database.onversionchange = () => {
      database.close()
      this.#fail(null)
    }
  }

  /** Rejects where the browser forbids it. */
  static async open(name: string, { indexedDB, locks }: Browser, clock: Clock, hears: Listener): Promise<Device> {
    const opening = indexedDB.open(name, 1)
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore('document', { autoIncrement: true })
      opening.result.createObjectStore('outbox', { keyPath: ['client', 'seq'] })
      opening.result.createObjectStore('facts')
    }
    return new Device(await result(opening), name, locks, clock, hears)
  }

  /** The document as one update, if there is one, and the outboxes that tabs have left. */
  async load(): Promise<{ document: Uint8Array | null; left: Outbox[] }> {
    const outbox = () => this.#database.transaction('outbox').objectStore('outbox')
    const keys = (await result(outbox().getAllKeys())) as [string, number][]
    const free = new Set<string>()
    for (const client of new Set(keys.map(([client]) => client))) if (await this.hold(client)) free.add(client)
    // Only now: until it gave up its lock, the other tab may have changed its own.
    const rows: Row[] = await result(outbox().getAll())
    this.#generation = await result(this.#database.transaction('facts').objectStore('facts').get('generation')).then(
      (known) => known ?? 0
    )
    const left = [...free].map((client) => new Outbox(client, rows.filter((row) => row.client === client).map(editOf)))
    return { document: await this.#fold(), left: left.filter(({ size }) => size > 0) }
  }

  /** Takes an outbox for this tab; `false` if another one has it. */
  async hold(client: string): Promise<boolean> {
    return new Promise((answer) => {
      const lock = `${this.#name}/${client}`
      const held = this.#locks.request(lock, { ifAvailable: true }, (lock) => {
        answer(lock !== null)
        return lock === null ? undefined : new Promise<void>((release) => this.#held.set(client, release))
      })
      Promise.resolve(held).catch(() => answer(false))
    })
  }

  release(client: string): void {
    this.#held.get(client)?.()
    this.#held.delete(client)
  }

  /** What came from the server. */
  keep(update: Uint8Array): void {
    this.#gathered.push(update)
    this.#cancel ??= this.#clock.after(GATHER_MS, () => this.#write(() => {}, null))
  }

  /** An edit of this tab, with its outbox. Before it goes what it may build on. */
  keepEdit(client: string, edit: Edit): void {
    this.#write((outbox) => put(outbox, client, edit), edit.update)
  }

  /** Moves edits to other places in one step; those that were acknowledged or refused go nowhere. */
  move(from: Place[], to: [client: string, edit: Edit][]): void {
    this.#write((outbox) => place(outbox, from, to), null, { frees: true })
  }

  /** A new document of the server's, and edits in the place of others, in one step. */
  replace(document: Uint8Array, from: Place[], to: [client: string, edit: Edit][]): void {
    this.#gathered = []
    this.#write((outbox) => place(outbox, from, to), document, { isNew: true, leavesBlocks: from.length > 0 })
  }

  /** Resolves when all that was begun has ended. */
  async flushed(): Promise<void> {
    await this.#last
  }

  async close(): Promise<void> {
    this.#write(() => {}, null)
    await this.#last
    this.#cancel?.()
    this.state = 'off'
    this.#database.close()
    for (const client of [...this.#held.keys()]) this.release(client)
  }

  /** Changes the outbox, and adds to the document. */
  #write(change: (outbox: IDBObjectStore) => void, update: Uint8Array | null, how: How = {}): void {
    const { frees = false, isNew = false, leavesBlocks = false } = how
    const added = [...this.#gathered, ...(update === null ? [] : [update])]
    this.#gathered = []
    this.#cancel?.()
    this.#cancel = null
    // After a failure nothing more is added: what is here stays whole, as the beginning of what there was.
    if (this.state !== 'kept' && !(frees && this.state === 'full')) return
    try {
      const transaction = this.#database.transaction(['document', 'outbox', 'facts'], 'readwrite')
      this.#last = Promise.all([this.#last, done(transaction)]).catch((error) => this.#fail(error))
      try {
        change(transaction.objectStore('outbox'))
        if (added.length > 0 && this.state === 'kept')
          this.#add(transaction, Y.mergeUpdates(added), isNew, leavesBlocks)
      } catch (error) {
        // Half of it would be a block that nobody sends.
        transaction.abort()
        throw error
      }
    } catch (error) {
      this.#fail(error)
    }
    this.#rows += 1
    if (this.#rows >= ROWS_MAX) this.#last = Promise.all([this.#last, this.#fold()]).catch((error) => this.#fail(error))
  }

  #add(transaction: IDBTransaction, update: Uint8Array, isNew: boolean, leavesBlocks: boolean): void {
    const document = transaction.objectStore('document')
    const facts = transaction.objectStore('facts')
    const asking = facts.get('generation')
    asking.onsuccess = () => {
      const generation = Number(asking.result ?? 0)
      const isCurrent = generation === this.#generation
      // Blocks whose edits have others in their place now may have come into the newer document from a server that has
      // lost them since.
      const isNewest = isNew && (isCurrent || leavesBlocks)
      if (isNewest) {
        document.clear()
        facts.put(generation + 1, 'generation')
      }
      if (isNew) this.#generation = isNewest ? generation + 1 : generation
      if (isNew || isCurrent) document.add(update)
      else this.#replaced()
    }
  }

  /** Makes one row of all rows, those of other tabs included, and gives it back. Where that finds no room, rows stay. */
  async #fold(): Promise<Uint8Array | null> {
    this.#rows = 0
    const transaction = this.#database.transaction('document', 'readwrite')
    const store = transaction.objectStore('document')
    const rows: Uint8Array[] = await result(store.getAll())
    if (rows.length === 0) return null
    const folded = rows.length === 1 ? (rows[0] as Uint8Array) : fold(rows)
    if (rows.length > 1) {
      try {
        store.clear()
        store.add(folded)
      } catch {
        transaction.abort()
      }
    }
    await done(transaction).catch(() => {})
    return folded
  }

  #fail(error: unknown): void {
    if (this.state !== 'kept') return
    this.state = (error as DOMException | null)?.name === 'QuotaExceededError' ? 'full' : 'forbidden'
    this.#changed()
  }
}

/** A document drops what was overwritten; merged updates would keep it. */
const fold = (rows: Uint8Array[]): Uint8Array => {
  const doc = new Y.Doc()
  doc.transact(() => {
    for (const row of rows) Y.applyUpdate(doc, row)
  })
  const state = Y.encodeStateAsUpdate(doc)
  doc.destroy()
  return state
}

interface How {
  /** It makes room, so it is tried even where there is none left. */
  frees?: boolean
  /** A whole document, without anything that was refused. */
  isNew?: boolean
  /** In the place of one with blocks that will never be on the server. */
  leavesBlocks?: boolean
}

type Place = [client: string, seq: number]

const place = (outbox: IDBObjectStore, from: Place[], to: [client: string, edit: Edit][]): void => {
  for (const key of from) outbox.delete(key)
  for (const [client, edit] of to) put(outbox, client, edit)
}

/** Ops that speak of the board as it is when they are made: on a later day they would undo the work of others. */
const OF_THE_MOMENT: readonly Op['op'][] = ['undo', 'redo', 'board.clear', 'board.restore']

const put = (outbox: IDBObjectStore, client: string, edit: Edit): void => {
  if (!edit.ops?.some(({ op }) => OF_THE_MOMENT.includes(op))) outbox.put({ client, ...edit })
}

const editOf = ({ seq, gesture, update, ops }: Row, index: number): Edit => ({
  seq,
  order: index,
  gesture,
  update,
  ops
})

const result = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })

const done = (transaction: IDBTransaction): Promise<void> =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve()
    transaction.onabort = transaction.onerror = () => reject(transaction.error)
  })
