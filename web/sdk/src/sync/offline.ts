// What is kept on this device: the document, and edits without an acknowledgement. One IndexedDB database for each board
// and person; an edit goes into both stores in one transaction, so a crash leaves no block in the document that nobody
// would ever send (decision 0008).
//
// Several tabs share the database, not an outbox: each has its own, under a Web Lock. An outbox whose lock is free was
// left by a tab that is gone; the next tab sends what is in it, as it is, and never adds to it.

import * as Y from 'yjs'
import type { DeviceState } from '../api.ts'
import type { Clock } from '../clock.ts'
import { type Edit, isOfTheMoment, Outbox } from './outbox.ts'

/** What others did is on the server anyway, so it may gather a while. */
const GATHER_MS = 2_000
/** On a full disk: from what made room to the next attempt to keep all of it again. */
const ROOM_MS = 10_000
/** Rows of the document before they are folded into one. */
const ROWS_MAX = 500

interface Row extends Edit {
  client: string
}

/** The browser's parts; tests bring their own. */
export interface Browser {
  indexedDB: IDBFactory
  locks: Pick<LockManager, 'request'>
  storage?: Pick<StorageManager, 'persist'> | undefined
}

/** Those of the environment; `null` where one is missing, as Web Locks are without https. */
export const browser = (): Browser | null => {
  const { indexedDB, navigator } = globalThis as Partial<typeof globalThis>
  return indexedDB && navigator?.locks ? { indexedDB, locks: navigator.locks, storage: navigator.storage } : null
}

export interface Listener {
  changed(): void
  /** Another tab's document has taken the place of this one. */
  replaced(): void
}

/** All that is to be kept: after a failure it is written anew. */
export interface Whole {
  document: Uint8Array
  outboxes: Outbox[]
}

export class Device {
  state: DeviceState = 'kept'
  /** Gives all that is to be kept. */
  whole: (() => Whole) | null = null
  #database: IDBDatabase
  readonly #name: string
  readonly #browser: Browser
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
  /** Counts failures: what was begun before the newest one says nothing of what came after it. */
  #failures = 0
  /** What failures kept from a new document. */
  #missed = { isNew: false, leavesBlocks: false }
  /** Writes that wait until it is known whether things are kept again. */
  #heldBack: (() => void)[] | null = null
  #reviving: Promise<void> = Promise.resolve()
  #cancelRevival: (() => void) | null = null
  #hasAsked = false
  /** Settles when all that was begun has ended. */
  #last: Promise<unknown> = Promise.resolve()

  private constructor(database: IDBDatabase, name: string, browser: Browser, clock: Clock, hears: Listener) {
    this.#database = database
    this.#name = name
    this.#browser = browser
    this.#clock = clock
    this.#changed = hears.changed
    this.#replaced = hears.replaced
    this.#watch()
  }

  #watch(): void {
    const database = this.#database
    // WebKit takes it from tabs in the background.
    database.onclose = () => {
      this.#fail(null)
      void this.revive()
    }
    database.onversionchange = () => {
      database.close()
      this.#fail(null)
    }
  }

  /** Rejects where the browser forbids it. */
  static async open(name: string, browser: Browser, clock: Clock, hears: Listener): Promise<Device> {
    return new Device(await openDatabase(name, browser), name, browser, clock, hears)
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
    let order = 0
    const edits = (client: string) => rows.filter((row) => row.client === client).map((row) => editOf(row, order++))
    const left = [...free].map((client) => new Outbox(client, edits(client)))
    return { document: await this.#fold(), left: left.filter(({ size }) => size > 0) }
  }

  /** Takes an outbox for this tab; `false` if another one has it. */
  async hold(client: string): Promise<boolean> {
    return new Promise((answer) => {
      const lock = `${this.#name}/${client}`
      const held = this.#browser.locks.request(lock, { ifAvailable: true }, (lock) => {
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
    // Else the browser may throw it away when others need room.
    if (!this.#hasAsked) this.#browser.storage?.persist?.().catch(() => {})
    this.#hasAsked = true
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

  /**
   * Tries to keep things again, all in one step: after the browser took the database away, or when there may be room.
   */
  revive(): Promise<void> {
    const { whole } = this
    if (this.state === 'kept' || this.state === 'off' || this.#heldBack !== null || whole === null)
      return this.#reviving
    this.#cancelRevival?.()
    this.#cancelRevival = null
    // What is done meanwhile builds on what may not come to be kept.
    this.#heldBack = []
    this.#reviving = this.#keepAll(whole)
      .then(
        () => {
          this.#missed = { isNew: false, leavesBlocks: false }
          this.state = 'kept'
        },
        (error) => this.#sayWhy(error)
      )
      .then(() => {
        const held = this.#heldBack ?? []
        this.#heldBack = null
        for (const write of held) write()
        this.#changed()
      })
    return this.#reviving
  }

  async #keepAll(whole: () => Whole): Promise<void> {
    await this.#last
    this.#database.onclose = null
    this.#database.close()
    this.#database = await openDatabase(this.#name, this.#browser)
    this.#watch()
    this.#failures += 1
    const failures = this.#failures
    const { document, outboxes } = whole()
    // It is in the document.
    this.#gathered = []
    const transaction = this.#database.transaction(STORES, 'readwrite')
    const outbox = transaction.objectStore('outbox')
    for (const { client, edits } of outboxes) {
      outbox.delete(IDBKeyRange.bound([client], [client, []]))
      for (const edit of edits) put(outbox, client, edit)
    }
    const { isNew, leavesBlocks } = this.#missed
    this.#add(transaction, document, isNew, leavesBlocks)
    await done(transaction)
    if (failures !== this.#failures) throw null
  }

  async close(): Promise<void> {
    await this.#reviving
    this.#write(() => {}, null)
    await this.#last
    this.#cancel?.()
    this.#cancelRevival?.()
    this.state = 'off'
    this.#database.close()
    for (const client of [...this.#held.keys()]) this.release(client)
  }

  /** Changes the outbox, and adds to the document. */
  #write(change: (outbox: IDBObjectStore) => void, update: Uint8Array | null, how: How = {}): void {
    if (this.#heldBack !== null) {
      this.#heldBack.push(() => this.#write(change, update, how))
      return
    }
    const { frees = false, isNew = false, leavesBlocks = false } = how
    const added = [...this.#gathered, ...(update === null ? [] : [update])]
    this.#gathered = []
    this.#cancel?.()
    this.#cancel = null
    // After a failure nothing more is added: what is here stays whole, as the beginning of what there was.
    if (this.state !== 'kept') {
      this.#missed = { isNew: isNew || this.#missed.isNew, leavesBlocks: leavesBlocks || this.#missed.leavesBlocks }
      if (!frees || this.state !== 'full') return
      this.#cancelRevival ??= this.#clock.after(ROOM_MS, () => void this.revive())
    }
    const failures = this.#failures
    const fail = (error: unknown) => {
      if (failures === this.#failures) this.#fail(error)
    }
    try {
      const transaction = this.#database.transaction(STORES, 'readwrite')
      this.#last = Promise.all([this.#last, done(transaction)]).catch(fail)
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
    if (this.#rows >= ROWS_MAX) this.#last = Promise.all([this.#last, this.#fold()]).catch(fail)
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
    this.#failures += 1
    if (this.state !== 'kept') return
    this.#sayWhy(error)
    this.#changed()
  }

  #sayWhy(error: unknown): void {
    this.state = (error as DOMException | null)?.name === 'QuotaExceededError' ? 'full' : 'forbidden'
  }
}

const STORES = ['document', 'outbox', 'facts']

const openDatabase = (name: string, { indexedDB }: Browser): Promise<IDBDatabase> => {
  const opening = indexedDB.open(name, 1)
  opening.onupgradeneeded = () => {
    opening.result.createObjectStore('document', { autoIncrement: true })
    opening.result.createObjectStore('outbox', { keyPath: ['client', 'seq'] })
    opening.result.createObjectStore('facts')
  }
  return result(opening)
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

const put = (outbox: IDBObjectStore, client: string, edit: Edit): void => {
  if (!isOfTheMoment(edit)) outbox.put({ client, ...edit })
}

const editOf = ({ seq, gesture, update, ops }: Row, order: number): Edit => ({ seq, order, gesture, update, ops })

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
