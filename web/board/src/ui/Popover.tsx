import { type ReactNode, useEffect, useId, useRef, useState } from 'react'

interface Props {
  label: string
  icon: ReactNode
  className?: string
  testId?: string
  /** What opens is a list of things to do. */
  isMenu?: boolean
  /** What opens; `close` closes it. */
  children: (close: () => void) => ReactNode
}

/** A button that opens a small panel; Escape, a press elsewhere, or its own content closes it. */
export function Popover({ label, icon, className, testId, isMenu = false, children }: Props) {
  const [isOpen, setOpen] = useState(false)
  const root = useRef<HTMLDivElement>(null)
  const id = useId()
  const close = () => {
    setOpen(false)
    root.current?.querySelector('button')?.focus()
  }
  useEffect(() => {
    if (!isOpen) return
    const onPress = (event: PointerEvent) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false)
    }
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== 'Escape') return
      event.stopPropagation()
      close()
    }
    const node = root.current
    document.addEventListener('pointerdown', onPress, true)
    node?.addEventListener('keydown', onKey)
    return () => {
      document.removeEventListener('pointerdown', onPress, true)
      node?.removeEventListener('keydown', onKey)
    }
  }, [isOpen])
  return (
    <div className={`panseo-popover ${className ?? ''}`} ref={root}>
      <button
        type="button"
        className="panseo-button"
        title={label}
        aria-haspopup={isMenu ? 'menu' : undefined}
        aria-expanded={isOpen}
        aria-controls={id}
        data-testid={testId}
        onClick={() => setOpen(!isOpen)}
      >
        <span className="panseo-hidden">{label}</span>
        {icon}
      </button>
      {isOpen && (
        <div
          className={`panseo-panel${isMenu ? ' panseo-menu' : ''}`}
          id={id}
          role={isMenu ? 'menu' : undefined}
          aria-label={isMenu ? label : undefined}
        >
          {children(close)}
        </div>
      )}
    </div>
  )
}
