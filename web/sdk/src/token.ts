// The token, fetched once and again when it is not taken any more; and whose it is, as far as this side can tell.

import type { OpenOptions } from './api.ts'
import { type Clock, systemClock } from './clock.ts'

/** As long as a connection may take to be greeted. */
const FETCH_MS_MAX = 20_000

export class Token {
  readonly #source: OpenOptions['token']
  readonly #clock: Clock
  #current: Promise<string> | null = null

  constructor(source: OpenOptions['token'], clock: Clock = systemClock) {
    this.#source = source
    this.#clock = clock
  }

  get(): Promise<string | undefined> {
    const source = this.#source
    if (typeof source !== 'function') return Promise.resolve(source)
    if (this.#current === null) {
      const asked = new Promise<string>((resolve, reject) => {
        const cancel = this.#clock.after(FETCH_MS_MAX, () => reject(new Error('the token did not come in time')))
        Promise.resolve().then(source).then(resolve, reject).finally(cancel)
      })
      this.#current = asked
      // One that could not be fetched is asked for again the next time.
      asked.catch(() => {
        if (this.#current === asked) this.#current = null
      })
    }
    return this.#current
  }

  /** The server does not take it any more. */
  forget(): void {
    this.#current = null
  }

  /** The user a token names. Not verified: it only chooses which copy on this device to open. */
  async user(): Promise<string | null> {
    const token = await this.get().catch(() => undefined)
    try {
      const part = token?.split('.')[1] ?? ''
      const bytes = Uint8Array.from(atob(part.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0))
      const { sub } = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown }
      return typeof sub === 'string' ? sub : null
    } catch {
      return null
    }
  }
}
