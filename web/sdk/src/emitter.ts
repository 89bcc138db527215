/** Listeners by name. One that throws neither stops the others nor what told them. What is `kept` waits for a listener. */
export class Emitter<Events> {
  readonly #listeners = new Map<keyof Events, Set<(what: never) => void>>()
  readonly #kept: keyof Events
  #untold: unknown[] = []

  constructor(kept: keyof Events) {
    this.#kept = kept
  }

  on<Name extends keyof Events>(name: Name, listener: (what: Events[Name]) => void): () => void {
    const known = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, known.add(listener))
    // Not before the listener has what ends it.
    if (name === this.#kept)
      queueMicrotask(() => {
        for (const what of this.#untold.splice(0)) this.tell(name, what as Events[Name])
      })
    return () => known.delete(listener)
  }

  tell<Name extends keyof Events>(name: Name, what: Events[Name]): void {
    const listeners = [...(this.#listeners.get(name) ?? [])]
    if (name === this.#kept && listeners.length === 0) this.#untold.push(what)
    for (const listener of listeners) {
      try {
        listener(what as never)
      } catch (error) {
        // It belongs to the program; this way its handler of uncaught errors sees it.
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }
}
