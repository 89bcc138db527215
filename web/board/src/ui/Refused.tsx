import { useWords } from '../i18n'

/** Offers what the server did not take as a file, until it is dismissed. */
export function Refused({ count, onSave, onClose }: { count: number; onSave: () => void; onClose: () => void }) {
  const words = useWords()
  return (
    <div className="panseo-following panseo-refused" role="alert" data-testid="refused">
      <span>{words.notTaken(count)}</span>
      <button type="button" className="panseo-link" onClick={onSave}>
        {words.saveAsFile}
      </button>
      <button type="button" className="panseo-link" onClick={onClose}>
        {words.close}
      </button>
    </div>
  )
}
