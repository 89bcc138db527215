// Says that the server has other pages by now. What was drawn is on this device, and goes out with the new page.

import type { Board } from '@panseo/sdk'
import { useEffect, useState } from 'react'
import type { Language } from '../words.ts'
import { boardWords } from './words.ts'

/** A page that cannot connect is looked at this often. */
const LOOK_MS = 10_000

export function Outdated({ board, language }: { board: Board; language: Language }) {
  const text = boardWords[language]
  const [isOld, setOld] = useState(false)
  const [{ device, unsaved }, setState] = useState(board.state)
  useEffect(() => {
    const look = () => {
      if (board.state.save === 'offline')
        isOutdated().then(
          (now) => setOld((before) => before || now),
          () => undefined
        )
    }
    const timer = setInterval(look, LOOK_MS)
    const end = board.on('state', (state) => {
      setState(state)
      look()
    })
    return () => {
      clearInterval(timer)
      end()
    }
  }, [board])
  if (!isOld) return null
  const isKept = device === 'kept'
  return (
    <div className="outdated" role="alert">
      {text.version}. {isKept ? text.versionHint : unsaved > 0 ? text.versionLoses : null}
      <button type="button" onClick={() => location.reload()}>
        {text.reload}
      </button>
    </div>
  )
}

/** Scripts are named by what is in them. */
async function isOutdated(): Promise<boolean> {
  const own = document.querySelector<HTMLScriptElement>('script[type="module"]')?.src
  const answer = await fetch(location.pathname, { cache: 'no-store' })
  if (!own || !answer.ok) return false
  return !(await answer.text()).includes(new URL(own).pathname)
}
