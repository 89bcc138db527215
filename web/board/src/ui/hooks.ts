// The board as React state.

import type { Board, BoardState, Person, Role } from '@panseo/sdk'
import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react'
import type * as Y from 'yjs'

import type { Images } from '../excalidraw/images'

/** State of the work, images that are still uploaded included. */
export function useSave(board: Board, images: Images | undefined): BoardState {
  const state = useSyncExternalStore(
    (changed) => board.on('state', changed),
    () => board.state
  )
  const uploads = useSyncExternalStore(
    (changed) => images?.onUploads(changed) ?? (() => {}),
    () => images?.uploads ?? 0
  )
  if (uploads === 0) return state
  return { ...state, save: state.save === 'saved' ? 'saving' : state.save, unsaved: state.unsaved + uploads }
}

/** Whether images on their way are lost when the page closes. */
export function useLosesImages(images: Images | undefined): boolean {
  return useSyncExternalStore(
    (changed) => images?.onUploads(changed) ?? (() => {}),
    () => images?.loses ?? false
  )
}

/** The browser asks before the page closes, while that would lose edits, or `more` than those. */
export function useLeaveQuestion({ unsaved, device }: BoardState, more: boolean): void {
  const loses = more || (unsaved > 0 && device !== 'kept')
  useEffect(() => {
    if (!loses) return
    const ask = (event: BeforeUnloadEvent) => {
      event.preventDefault()
      // Older browsers look at this only.
      event.returnValue = true
    }
    addEventListener('beforeunload', ask)
    return () => removeEventListener('beforeunload', ask)
  }, [loses])
}

export function useRole(board: Board): Role | null {
  return useSyncExternalStore(
    (changed) => {
      const ends = [board.on('role', changed), board.on('state', changed)]
      return () => ends.forEach((end) => end())
    },
    () => board.role
  )
}

export function usePeople(board: Board): readonly Person[] {
  const [people, setPeople] = useState(() => [...board.people.values()])
  useEffect(() => {
    setPeople([...board.people.values()])
    return board.on('people', () => setPeople([...board.people.values()]))
  }, [board])
  return people
}

/** The document that is bound now. */
export function useDoc(board: Board): Y.Doc {
  return useSyncExternalStore(
    (changed) => board.on('document', changed),
    () => board.doc
  )
}

/** Something read from roots of the document, again after each transaction that changed one of them. */
export function useFromDoc<T>(board: Board, roots: readonly string[], read: (doc: Y.Doc) => T): T {
  const doc = useDoc(board)
  const [turn, setTurn] = useState(0)
  const names = roots.join()
  useEffect(() => {
    const changed = () => setTurn((before) => before + 1)
    const maps = names.split(',').map((name) => doc.getMap(name))
    for (const map of maps) map.observeDeep(changed)
    return () => maps.forEach((map) => map.unobserveDeep(changed))
  }, [doc, names])
  const latest = useRef(read)
  latest.current = read
  // `turn` stands for the content of the document
  return useMemo(() => latest.current(doc), [doc, turn])
}
