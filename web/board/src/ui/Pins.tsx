import { useEffect, useRef } from 'react'

import type { Thread } from '../document/comments'
import type { CanvasHandle } from '../excalidraw/handle'
import { useWords } from '../i18n'
import { colorOf, initialOf } from './color'

interface Props {
  handle: CanvasHandle | null
  /** Open threads of the page that is shown. */
  threads: readonly Thread[]
  nameOf: (user: string) => string
  onOpen: (thread: string) => void
}

/** Where comments are, on the canvas. Moves with it without rendering anew. */
export function Pins({ handle, threads, nameOf, onOpen }: Props) {
  const words = useWords()
  const root = useRef<HTMLDivElement>(null)
  useEffect(() => {
    if (!handle) return
    let frame = 0
    const place = () => {
      frame = 0
      threads.forEach((thread, index) => {
        const pin = root.current?.children[index] as HTMLElement | undefined
        if (!pin) return
        const at = handle.toScreen(thread)
        pin.hidden = !at
        if (at) pin.style.transform = `translate(${at.x}px, ${at.y}px)`
      })
    }
    const later = () => {
      frame ||= requestAnimationFrame(place)
    }
    place()
    const end = handle.onMove(later)
    return () => {
      cancelAnimationFrame(frame)
      end()
    }
  }, [handle, threads])
  return (
    <div className='panseo-pins' ref={root}>
      {threads.map((thread) => (
        <button
          key={thread.id}
          type='button'
          className='panseo-pin'
          style={{ background: colorOf(thread.author) }}
          aria-label={`${words.comments}: ${nameOf(thread.author)}`}
          title={thread.text}
          onClick={() => onOpen(thread.id)}
        >
          {initialOf(nameOf(thread.author))}
        </button>
      ))}
    </div>
  )
}
