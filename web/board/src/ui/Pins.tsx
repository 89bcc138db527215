import { useEffect, useRef } from 'react'

import type { Thread } from '../document/comments'
import type { CanvasHandle, Place } from '../excalidraw/handle'
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
    <div className="panseo-pins" ref={root}>
      {threads.map((thread) => (
        <button
          key={thread.id}
          type="button"
          className="panseo-pin"
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

/** Lies over the canvas until a place for a comment is chosen: by a press, or by Enter for the middle. */
export function Placer({ handle, onPlace }: { handle: CanvasHandle; onPlace: (at: Place | null) => void }) {
  const words = useWords()
  return (
    <button
      type="button"
      className="panseo-placer"
      // the person has just asked to choose
      autoFocus
      onClick={({ detail, clientX, clientY }) =>
        onPlace(detail === 0 ? handle.center : handle.toScene(clientX, clientY))
      }
      onKeyDown={(event) => {
        if (event.key === 'Escape') onPlace(null)
        event.stopPropagation()
      }}
    >
      <span>{words.commentHere}</span>
    </button>
  )
}
