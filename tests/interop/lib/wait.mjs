// Waiting for facts, never for time alone: every wait has a deadline and says what it waited for.

/** Milliseconds any single wait may take; machines that run tests are slow at times. */
export const PATIENCE_MS = 30_000

/** Resolves once `holds()` returns something true, looking again every 10 ms. */
export const until = async (what, holds, patience = PATIENCE_MS) => {
  const deadline = Date.now() + patience
  for (;;) {
    const found = await holds()
    if (found) return found
    if (Date.now() > deadline) throw new Error(`waited ${patience} ms in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** The promise's result, or an error that says what did not come. */
export const within = (what, promise, patience = PATIENCE_MS) => {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${patience} ms in vain: ${what}`)), patience)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** A random source with a seed, so that a failure can be repeated: PANSEO_SEED=n. */
export const seeded = (seed = Number(process.env.PANSEO_SEED ?? 1)) => {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
  return { next, below: (bound) => Math.floor(next() * bound) }
}
