// A browser profile with its tabs: one IndexedDB for all, and Web Locks that a tab loses when it dies.

import { IDBFactory } from 'fake-indexeddb'
import type { Browser } from '../src/sync/offline.ts'

export class Profile {
  readonly indexedDB: IDBFactory = new IDBFactory()
  readonly #held = new Map<string, Tab>()

  tab(): Tab {
    return new Tab(this.indexedDB, this.#held)
  }
}

export class Tab implements Browser {
  readonly indexedDB: IDBFactory
  readonly locks: Browser['locks']
  readonly #held: Map<string, Tab>

  constructor(indexedDB: IDBFactory, held: Map<string, Tab>) {
    this.indexedDB = indexedDB
    this.#held = held
    const request = async (name: string, _: LockOptions, call: (lock: Lock | null) => unknown) => {
      if (held.has(name)) return call(null)
      held.set(name, this)
      await call({ name, mode: 'exclusive' })
      held.delete(name)
    }
    this.locks = { request: request as Browser['locks']['request'] }
  }

  /** The tab crashes: nothing of it runs any more. */
  die(): void {
    for (const [name, tab] of this.#held) if (tab === this) this.#held.delete(name)
  }
}
