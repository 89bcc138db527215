// A small seeded generator for property tests: a failure names its seed and happens again.

export interface Random {
  /** Whole number below `n`. */
  int(n: number): number
  real(low: number, high: number): number
  flip(): boolean
  pick<T>(list: readonly T[]): T
}

export function random(seed: number): Random {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const int = (n: number) => Math.floor(next() * n)
  return {
    int,
    real: (low, high) => low + next() * (high - low),
    flip: () => next() < 0.5,
    pick: <T>(list: readonly T[]) => list[int(list.length)] as T
  }
}
