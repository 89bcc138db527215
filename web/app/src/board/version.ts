// Whether the server has other pages by now.

import type { Board } from '@panseo/sdk'

/** A page that cannot connect is looked at this often, and for so long at most. */
const LOOK_MS = 10_000

/** Calls back when a page that cannot connect is older than the server; gives back what ends the looking. */
export function watchVersion(board: Board, onOld: () => void): () => void {
  let isLooking = false
  const look = async () => {
    if (isLooking || board.state.save !== 'offline') return
    isLooking = true
    if (await isOutdated().catch(() => false)) onOld()
    isLooking = false
  }
  const timer = setInterval(look, LOOK_MS)
  let before = board.state.save
  const end = board.on('state', ({ save }) => {
    // Each edit is a state of its own.
    if (save !== before) void look()
    before = save
  })
  return () => {
    clearInterval(timer)
    end()
  }
}

/** Scripts are named by what is in them. */
async function isOutdated(): Promise<boolean> {
  const own = document.querySelector<HTMLScriptElement>('script[type="module"]')?.src
  const answer = await fetch(location.pathname, { cache: 'no-store', signal: AbortSignal.timeout(LOOK_MS) })
  if (!own || !answer.ok) return false
  return !(await answer.text()).includes(new URL(own).pathname)
}
