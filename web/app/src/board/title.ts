// What a board is called, asked before it is opened.

import { type Rest, RestError } from '@panseo/sdk'
import type { Identity } from '../identity.ts'

/** A server that takes longer must not stand before the copy on this device. */
const PATIENCE_MS = 5_000

/** Fails where there is no way in; a server that does not answer, or is ill, leaves that to the board's own door. */
export async function titleOf(rest: Rest, id: string, who: Identity): Promise<string> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<string>((resolve) => (timer = setTimeout(() => resolve(id), PATIENCE_MS)))
  const title = rest.board(id).then(
    (info) => info.title,
    (error: unknown) => {
      // Without log-in, opening a board makes it.
      const isFine =
        error instanceof RestError &&
        (error.status === 0 || error.status >= 500 || (error.status === 404 && !who.token))
      if (isFine) return id
      throw error
    }
  )
  return Promise.race([title, late]).finally(() => clearTimeout(timer))
}
