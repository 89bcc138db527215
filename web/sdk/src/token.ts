// The token, fetched once and again when it is not taken any more; and whose it is, as far as this side can tell.

import type { OpenOptions } from './api.ts'

export class Token {
  readonly #source: OpenOptions['token']
  #current: Promise<string> | null = null

  constructor(source: OpenOptions['token']) {
    this.#source = source
  }

  get(): Promise<string | undefined> {
    const source = this.#source
    if (typeof source !== 'function') return Promise.resolve(source)
    if (this.#current === null) {
      const asked = Promise.resolve().then(source)
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
