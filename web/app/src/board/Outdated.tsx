// Says that the server has other pages by now. What was drawn is on this device, and goes out with the new page.

import type { Board } from '@panseo/sdk'
import { useEffect, useState } from 'react'
import type { Language } from '../words.ts'
import { watchVersion } from './version.ts'
import { boardWords } from './words.ts'

export function Outdated({ board, language }: { board: Board; language: Language }) {
  const text = boardWords[language]
  const [isOld, setOld] = useState(false)
  const [{ device, unsaved }, setState] = useState(board.state)
  useEffect(() => {
    const ends = [watchVersion(board, () => setOld(true)), board.on('state', setState)]
    return () => ends.forEach((end) => end())
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
