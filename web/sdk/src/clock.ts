/** Time and chance, so that tests can have their own. */
export interface Clock {
  now(): number
  /** Calls back after so many ms; returns what calls it off. */
  after(ms: number, call: () => void): () => void
  /** Between 0 and 1. */
  random(): number
}

export const systemClock: Clock = {
  now: () => Date.now(),
  after: (ms, call) => {
    const timer = setTimeout(call, ms)
    return () => clearTimeout(timer)
  },
  random: () => Math.random()
}
