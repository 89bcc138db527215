import type { Board } from '@panseo/sdk'

import { type Dictionary, useWords } from '../i18n'
import { useSave } from './hooks'

/** Where the work is: on the server, on its way, waiting here. Never says more than is true. */
export function SaveState({ board, isShort = false }: { board: Board; isShort?: boolean }) {
  const words = useWords()
  const { save, unsaved, why, device } = useSave(board)
  const reason = why ? words.why[why] : undefined
  let label: string
  let hint: string
  switch (save) {
    case 'saved':
      label = words.saved
      hint = words.savedHint
      break
    case 'saving':
      label = words.saving
      hint = words.savingHint(unsaved)
      break
    case 'offline':
      label = words.offline
      hint = words.offlineHint(unsaved)
      break
    case 'read-only':
      label = words.readOnly
      hint = ''
      break
  }
  const parts = [hint, reason, deviceHint(device, words)].filter(Boolean)
  const text = save === 'read-only' && reason ? `${label}: ${reason}` : label
  return (
    <div className="panseo-save" data-state={save} role="status" title={parts.join(' ')} data-testid="save-state">
      <span className="panseo-dot" aria-hidden="true" />
      <span className={isShort ? 'panseo-hidden' : 'panseo-save-text'}>{text}</span>
    </div>
  )
}

function deviceHint(device: string, words: Dictionary): string | undefined {
  if (device === 'full') return words.deviceFull
  return device === 'forbidden' ? words.deviceForbidden : undefined
}
