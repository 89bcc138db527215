import type { BoardState, DeviceState } from '@panseo/sdk'

import { type Dictionary, useWords } from '../i18n'

/** Where the work is: on the server, on its way, waiting here. Never says more than is true. */
export function SaveState({ state, isShort = false }: { state: BoardState; isShort?: boolean }) {
  const words = useWords()
  const { save, unsaved, why, device } = state
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
      hint = unsaved > 0 ? words.waiting(unsaved) : ''
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

export function deviceHint(device: DeviceState, words: Dictionary): string | undefined {
  if (device === 'full') return words.deviceFull
  return device === 'kept' ? undefined : words.deviceForbidden
}
