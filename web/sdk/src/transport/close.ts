// What to do when a connection ends, by close code (docs/PROTOCOL.md, «Close codes»).

import type { Why } from '../api.ts'

export type Advice =
  /** `isHint`: the server asked for this wait, so nothing may shorten it. */
  | { then: 'reconnect'; wait_ms: number; why: Why; isHint: boolean }
  | { then: 'stop'; why: Why }
  /** The token is not taken any more. */
  | { then: 'ask for a token' }
  /** What was sent last is not to be sent again as it was. */
  | { then: 'leave out'; wait_ms: number; largestOnly: boolean }
  /** The document's client id is another user's. */
  | { then: 'take a new document' }

const WAIT_MS_MAX = 30_000
/** After this long a connection counts as a good one, and the next wait is short again. */
export const STEADY_MS = 5_000

/** Full jitter: anything up to base x 2^n. A class that lost its server does not come back in step. */
export const backoff = (attempt: number, base_ms: number, random: () => number): number =>
  random() * Math.min(WAIT_MS_MAX, base_ms * 2 ** Math.min(attempt, 20))

export const advise = (code: number, reason: string, attempt: number, random: () => number): Advice => {
  const between = (from_ms: number, to_ms: number) => from_ms + random() * (to_ms - from_ms)
  const reconnect = (why: Why, wait_ms: number, isHint = false): Advice => ({ then: 'reconnect', wait_ms, why, isHint })
  switch (code) {
    case 1000:
      return { then: 'stop', why: 'closed' }
    case 1003:
    case 1007:
      return { then: 'stop', why: 'fault' }
    case 1009:
      return { then: 'leave out', wait_ms: backoff(attempt, 1_000, random), largestOnly: true }
    case 1012:
      return reconnect('server_restarts', between(1_000, 10_000), true)
    case 1011:
    case 1013:
      return reconnect('busy', backoff(attempt, 1_000, random))
    case 4400:
    case 4422:
      return { then: 'leave out', wait_ms: backoff(attempt, 1_000, random), largestOnly: false }
    case 4401:
      return { then: 'ask for a token' }
    case 4403:
      return { then: 'stop', why: 'forbidden' }
    case 4404:
      return { then: 'stop', why: 'no_board' }
    case 4409:
      return { then: 'take a new document' }
    case 4500:
    case 4503:
      return reconnect('board_is_loading', between(1_000, 3_000), true)
    case 4529:
      return reconnect('rate', (Number.parseFloat(reason) || 2) * between(1_000, 1_500), true)
    default:
      if (code >= 4400 && code < 4500) return { then: 'stop', why: 'fault' }
      return reconnect('connecting', backoff(attempt, code >= 4500 && code < 4600 ? 1_000 : 250, random))
  }
}
