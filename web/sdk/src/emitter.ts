/** Listeners by name. One that throws neither stops the others nor what told them. */
export class Emitter<Events> {
  readonly #listeners = new Map<keyof Events, Set<(what: never) => void>>()

  on<Name extends keyof Events>(name: Name, listener: (what: Events[Name]) => void): () => void {
    const known = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, known.add(listener))
    return () => known.delete(listener)
  }

  tell<Name extends keyof Events>(name: Name, what: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
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
