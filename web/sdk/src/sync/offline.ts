// What is kept on this device: the document, and edits without an acknowledgement. One IndexedDB database for each board
// and person; an edit goes into both stores in one transaction, so a crash leaves no block in the document that nobody
// would ever send (decision 0006).
//
// Several tabs share the database, not an outbox: each has its own, under a Web Lock. An outbox whose lock is free was
// left by a tab that is gone; the next tab sends what is in it, as it is, and never adds to it.

import * as Y from 'yjs'
import type { DeviceState } from '../api.ts'
import type { Clock } from '../clock.ts'
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

export class Device {
  state: DeviceState = 'kept'
  readonly #database: IDBDatabase
  readonly #name: string
  readonly #locks: Browser['locks']
  readonly #clock: Clock
  readonly #changed: () => void
  readonly #held = new Map<string, () => void>()
  #gathered: Uint8Array[] = []
  #cancel: (() => void) | null = null
  #rows = 0
  /** Settles when all that was begun has ended. */
  #last: Promise<unknown> = Promise.resolve()

  private constructor(database: IDBDatabase, name: string, locks: Browser['locks'], clock: Clock, changed: () => void) {
    this.#database = database
    this.#name = name
    this.#locks = locks
    this.#clock = clock
    this.#changed = changed
    database.onclose = () => this.#fail(null)
    database.onversionchange = () => {
      database.close()
      this.#fail(null)
    }
  }

  /** Rejects where the browser forbids it. */
  static async open(name: string, { indexedDB, locks }: Browser, clock: Clock, changed: () => void): Promise<Device> {
    const opening = indexedDB.open(name, 1)
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore('document', { autoIncrement: true })
      opening.result.createObjectStore('outbox', { keyPath: ['client', 'seq'] })
    }
    return new Device(await result(opening), name, locks, clock, changed)
  }

  /** The document as one update, if there is one, and the outboxes that tabs have left. */
  async load(): Promise<{ document: Uint8Array | null; left: Outbox[] }> {
    const outbox = () => this.#database.transaction('outbox').objectStore('outbox')
    const keys = (await result(outbox().getAllKeys())) as [string, number][]
    const free = new Set<string>()
    for (const client of new Set(keys.map(([client]) => client))) if (await this.hold(client)) free.add(client)
    // Only now: until it gave up its lock, the other tab may have changed its own.
    const rows: Row[] = await result(outbox().getAll())
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
    this.#cancel ??= this.#clock.after(GATHER_MS, () => this.#write(() => {}))
  }

  /** An edit of this tab, with its outbox. Before it goes what it may build on. */
  keepEdit(client: string, edit: Edit): void {
    this.#write((document, outbox) => {
      if (edit.update !== null) document.add(edit.update)
      outbox.put({ client, ...edit })
    })
  }

  /** Moves edits to other places in one step; `null` for those that were acknowledged or refused. */
  move(from: [client: string, seq: number][], to: [client: string, edit: Edit][]): void {
    this.#write((_, outbox) => {
      for (const key of from) outbox.delete(key)
      for (const [client, edit] of to) outbox.put({ client, ...edit })
    }, true)
  }

  /** Another document takes the place of this one, and edits that of others, in one step. */
  replace(document: Uint8Array, from: [client: string, seq: number][], to: [client: string, edit: Edit][]): void {
    this.#gathered = []
    this.#write((rows, outbox) => {
      rows.clear()
      rows.add(document)
      for (const key of from) outbox.delete(key)
      for (const [client, edit] of to) outbox.put({ client, ...edit })
    })
  }

  /** Resolves when all that was begun has ended. */
  async flushed(): Promise<void> {
    await this.#last
  }

  async close(): Promise<void> {
    this.#write(() => {})
    await this.#last
    this.#cancel?.()
    this.state = 'off'
    this.#database.close()
    for (const client of [...this.#held.keys()]) this.release(client)
  }

  /** `frees`: it makes room, so it is tried even where there is none left. */
  #write(change: (document: IDBObjectStore, outbox: IDBObjectStore) => void, frees = false): void {
    const gathered = this.#gathered.length > 0 && this.state === 'kept' ? Y.mergeUpdates(this.#gathered) : null
    this.#gathered = []
    this.#cancel?.()
    this.#cancel = null
    // After a failure nothing more is added: what is here stays whole, as the beginning of what there was.
    if (this.state !== 'kept' && !(frees && this.state === 'full')) return
    try {
      const transaction = this.#database.transaction(['document', 'outbox'], 'readwrite')
      this.#last = Promise.all([this.#last, done(transaction)]).catch((error) => this.#fail(error))
      try {
        const document = transaction.objectStore('document')
        if (gathered) document.add(gathered)
        change(document, transaction.objectStore('outbox'))
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

  /** Makes one row of all rows, those of other tabs included, and gives it back. */
  async #fold(): Promise<Uint8Array | null> {
    this.#rows = 0
    const transaction = this.#database.transaction('document', 'readwrite')
    const store = transaction.objectStore('document')
    const rows: Uint8Array[] = await result(store.getAll())
    if (rows.length === 0) return null
    const folded = rows.length === 1 ? (rows[0] as Uint8Array) : fold(rows)
    if (rows.length > 1) {
      store.clear()
      store.add(folded)
    }
    await done(transaction)
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
