import { useEffect, useRef } from 'react'

import { useWords } from '../i18n'

export interface Question {
  text: string
  action: string
  onYes: () => void
}

/** Asks before something is taken away. */
export function Confirm({ question, onClose }: { question: Question; onClose: () => void }) {
  const words = useWords()
  const dialog = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    dialog.current?.showModal()
  }, [])
  return (
    <dialog
      className="panseo-dialog"
      ref={dialog}
      onClose={onClose}
      aria-labelledby="panseo-question"
      onKeyDown={(event) => event.stopPropagation()}
    >
      <p id="panseo-question">{question.text}</p>
      <div className="panseo-dialog-buttons">
        <button type="button" className="panseo-text-button" onClick={() => dialog.current?.close()}>
          {words.cancel}
        </button>
        <button
          type="button"
          className="panseo-text-button"
          data-kind="danger"
          onClick={() => {
            question.onYes()
            dialog.current?.close()
          }}
        >
          {question.action}
        </button>
      </div>
    </dialog>
  )
}
