// What Excalidraw says of files that it cannot take, said as what to do.

import { useI18n } from '@excalidraw/excalidraw'
import type { ExcalidrawImperativeAPI } from '@excalidraw/excalidraw/types'
import { useEffect } from 'react'

import { type Dictionary, useWords } from '../i18n'

const SAID = {
  'errors.unsupportedFileType': 'imageKind',
  'errors.svgImageInsertError': 'imageKind',
  'errors.imageInsertError': 'imageKind',
  'errors.failedToFetchImage': 'imageElsewhere',
  'alerts.cannotRestoreFromImage': 'imageKind',
  'alerts.couldNotLoadInvalidFile': 'imageKind'
} as const satisfies Record<string, keyof Dictionary>

export function Faults({ api }: { api: ExcalidrawImperativeAPI | null }) {
  const words = useWords()
  const { t } = useI18n()
  useEffect(
    () =>
      api?.onChange((_elements, { errorMessage }) => {
        const found = Object.entries(SAID).find(([key]) => t(key as keyof typeof SAID) === errorMessage)
        if (found) api.updateScene({ appState: { errorMessage: words[found[1]] } })
      }),
    [api, t, words]
  )
  return null
}
