// Fractional index: keys of the z-order and of pages (`pos`), the same as the server makes them.
//
// A key is text over 62 digits that sort by their bytes. Its first four digits count places from the middle `V000`, so
// that putting things on top never makes keys longer; what lies behind splits the room between two places. The last five
// digits are random, so that two people who insert at the same spot do not make the same key. Equal keys are in the
// order of ids.
//
// Neighbours may be anything that a foreign client wrote. The answer is then a key right above `lower`.

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const BASE = DIGITS.length
const PLACE_DIGITS = 4
const FIRST_PLACE = 31 * BASE ** 3
const SUFFIX_DIGITS = 5
/** Digits that are read of a neighbour; a longer one was not made by us. */
const NEIGHBOUR_DIGITS_MAX = 1_024
/** 62^8 is far more than a board has elements, and exact in a double. */
const ROOM_DIGITS_MAX = 8

export interface Placed {
  id: string
  pos: string
}

/** Order on the page: by `pos`, then by id, both by their bytes. */
export function comparePlaced(a: Placed, b: Placed): number {
  return compareBytes(a.pos, b.pos) || compareBytes(a.id, b.id)
}

/** Keys and ids are nearly always ASCII, for which UTF-16 units sort as bytes do; surrogates sort above the rest. */
function compareBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

export function between(lower: string | undefined, upper: string | undefined, random = Math.random): string {
  return sequence(lower, upper, 1, random)[0] as string
}

/** `count` keys in ascending order between two neighbours; `undefined` is the bottom or the top. */
export function sequence(
  lower: string | undefined,
  upper: string | undefined,
  count: number,
  random = Math.random
): string[] {
  const low = lower === undefined ? undefined : digits(lower, BASE - 1)
  const high = upper === undefined ? undefined : digits(upper, BASE)
  let stem: Stem | undefined
  if (!low && !high) stem = places(FIRST_PLACE, count)
  else if (low && !high) stem = places(number(low, PLACE_DIGITS) + 1, count)
  else if (!low && high) stem = places(number(high, PLACE_DIGITS) - count, count)
  stem ??= split(low ?? [], high, count)
  return Array.from({ length: count }, (_, index) => key(stem, index, count, random))
}

/** What the keys of one sequence share: a prefix, and evenly spaced numbers of `width` digits behind it. */
interface Stem {
  prefix: number[]
  low: number
  high: number
  width: number
}

/** Digits of a neighbour. A foreign character becomes the next higher digit (at most `max`) and ends the key. */
function digits(text: string, max: number): number[] {
  const found: number[] = []
  for (const letter of text.slice(0, NEIGHBOUR_DIGITS_MAX)) {
    const digit = DIGITS.indexOf(letter)
    if (digit < 0) {
      const higher = [...DIGITS].findIndex((known) => known >= letter)
      found.push(Math.min(higher < 0 ? BASE : higher, max))
      break
    }
    found.push(digit)
  }
  return found
}

function number(list: readonly number[], width: number): number {
  let sum = 0
  for (let index = 0; index < width; index++) sum = sum * BASE + (list[index] ?? 0)
  return sum
}

function places(first: number, count: number): Stem | undefined {
  const end = first + count
  if (first <= 0 || end >= BASE ** PLACE_DIGITS) return undefined
  return { prefix: [], low: first - 1, high: end, width: PLACE_DIGITS }
}

function split(low: readonly number[], high: readonly number[] | undefined, count: number): Stem {
  let prefix: number[] = []
  for (;;) {
    const rest = low.slice(prefix.length)
    const highRest = high?.slice(prefix.length)
    const stem = room(prefix, rest, highRest, count)
    if (stem) return stem
    const first = rest[0] ?? 0
    if (highRest) {
      const limit = highRest[0]
      // Below the top digit of `low` all that continues it lies under `high`, so `high` no longer counts. The same is
      // the answer where there is no room at all: right above `low`.
      if (limit === undefined || limit < first) {
        high = undefined
        prefix = [...low]
        continue
      }
      if (limit > first) high = undefined
    }
    prefix.push(first)
  }
}

function room(
  prefix: readonly number[],
  low: readonly number[],
  high: readonly number[] | undefined,
  count: number
): Stem | undefined {
  for (let width = 1; width <= ROOM_DIGITS_MAX; width++) {
    const from = number(low, width)
    const to = high ? number(high, width) : BASE ** width
    if (to - from > count) return { prefix: [...prefix], low: from, high: to, width }
  }
  return undefined
}

function key(stem: Stem, index: number, count: number, random: () => number): string {
  const step = ((stem.high - stem.low) / (count + 1)) * (index + 1)
  let value = stem.low + Math.min(Math.max(Math.floor(step), index + 1), stem.high - stem.low - (count - index))
  const middle: number[] = []
  for (let place = 0; place < stem.width; place++) {
    middle.unshift(value % BASE)
    value = Math.floor(value / BASE)
  }
  const list = [...stem.prefix, ...middle]
  for (let place = 1; place < SUFFIX_DIGITS; place++) list.push(Math.floor(random() * BASE))
  // A key that ends in zero would leave no room right below it.
  list.push(1 + Math.floor(random() * (BASE - 1)))
  return list.map((digit) => DIGITS[digit]).join('')
}

/**
 * New keys for a list in its wanted order: `undefined` marks what has none yet. As few keys as possible change: the
 * longest run that is in order already keeps its own.
 */
export function reorder(
  wanted: readonly { id: string; pos: string | undefined }[],
  random = Math.random
): Map<string, string> {
  const kept = longestAscending(wanted)
  const fresh = new Map<string, string>()
  let lower: string | undefined
  let start = 0
  for (let index = 0; index <= wanted.length; index++) {
    if (index < wanted.length && !kept.has(index)) continue
    const upper = wanted[index]?.pos
    // Nothing fits between two equal keys: then the upper one moves as well.
    if (upper !== undefined && start < index && lower !== undefined && upper <= lower) continue
    const gap = wanted.slice(start, index)
    const keys = gap.length > 0 ? sequence(lower, upper, gap.length, random) : []
    gap.forEach((item, place) => fresh.set(item.id, keys[place] as string))
    lower = upper
    start = index + 1
  }
  return fresh
}

/** Indices of a longest subsequence in ascending order (patience sorting). */
function longestAscending(list: readonly { id: string; pos: string | undefined }[]): Set<number> {
  const tails: number[] = []
  const before: number[] = []
  const placed = (index: number) => list[index] as Placed
  list.forEach((item, index) => {
    if (item.pos === undefined) return
    let [low, high] = [0, tails.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (comparePlaced(placed(tails[middle] as number), item as Placed) < 0) low = middle + 1
      else high = middle
    }
    before[index] = low > 0 ? (tails[low - 1] as number) : -1
    tails[low] = index
  })
  const kept = new Set<number>()
  for (let index = tails.at(-1) ?? -1; index >= 0; index = before[index] as number) kept.add(index)
  return kept
}
