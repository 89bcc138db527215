// What buttons do: edits of pages and comments in the document, files over REST, and why an edit was refused.

import { type Board, type BoardState, type Rest, uuid } from '@panseo/sdk'
import { useEffect, useMemo, useRef, useState } from 'react'

import {
  type Anchor,
  type Thread,
  addReply,
  addThread,
  deleteComment,
  editComment,
  resolveThread,
  setLike
} from './document/comments'
import { type Page, addPage, deletePage, movePage, renamePage } from './document/pages'
import { type RefusedElements, gather } from './document/refused'
import { COMMENTS, type MenuItem } from './excalidraw/Canvas'
import { fileOf } from './excalidraw/element'
import type { CanvasHandle } from './excalidraw/handle'
import { type Dictionary, refusalOf } from './i18n'
import type { CommentActions } from './ui/Comments'
import type { Question } from './ui/Confirm'
import { icons } from './ui/icons'
import { type PageActions, titleOf } from './ui/Pages'
import { deviceHint } from './ui/SaveState'

interface Common {
  board: Board
  words: Dictionary
  page: string
  ask: (question: Question) => void
}

interface PageContext extends Common {
  handle: CanvasHandle | null
  pages: readonly Page[]
  setPage: (id: string) => void
}

export function usePageActions({ board, words, handle, page, pages, setPage, ask }: PageContext): PageActions {
  return useMemo(() => {
    const edit = (change: (doc: Board['doc']) => void) => {
      board.edit(change, uuid())
      handle?.undo.edited()
    }
    return {
      open: setPage,
      add() {
        const id = uuid()
        edit((doc) => addPage(doc, id, page))
        setPage(id)
      },
      rename: (id, title) => edit((doc) => renamePage(doc, id, title)),
      move: (id, to) => edit((doc) => movePage(doc, id, to)),
      remove(id) {
        ask({
          text: words.deletePageAsk(titleOf(pages, id, words)),
          action: words.remove,
          onYes() {
            const index = pages.findIndex((other) => other.id === id)
            setPage((pages[index + 1] ?? pages[index - 1])?.id ?? '')
            edit((doc) => deletePage(doc, id, Date.now()))
          }
        })
      }
    }
  }, [board, words, handle, page, pages, setPage, ask])
}

interface CommentContext extends Common {
  handle: CanvasHandle | null
  setPage: (id: string) => void
}

export function useCommentActions({ board, words, handle, page, setPage, ask }: CommentContext) {
  const [open, setOpen] = useState<string | null>(null)
  const [anchor, setAnchor] = useState<Anchor | null>(null)
  const [isPlacing, setPlacing] = useState(false)
  const target = useRef<Thread | null>(null)
  // The page of a thread must be on the canvas before it can be shown.
  useEffect(() => {
    if (handle && target.current?.page === page) {
      handle.reveal(target.current)
      target.current = null
    }
  })
  const actions = useMemo((): CommentActions => {
    const user = () => board.user ?? ''
    return {
      begin() {
        const element = handle?.selected
        if (element) setAnchor({ page, element, x: undefined, y: undefined })
        else {
          setPlacing(true)
          if (handle?.isPhone) handle.toggleSidebar(COMMENTS, false)
        }
      },
      place(at) {
        setPlacing(false)
        if (at) setAnchor({ page, element: undefined, ...at })
        handle?.toggleSidebar(COMMENTS, true)
      },
      cancel: () => setAnchor(null),
      add(text) {
        if (!anchor) return
        const id = uuid()
        board.edit((doc) => addThread(doc, id, user(), Date.now(), text, anchor))
        setAnchor(null)
        setOpen(id)
      },
      reply: (thread, text) => board.edit((doc) => addReply(doc, uuid(), user(), Date.now(), text, thread)),
      edit: (comment, text) => board.edit((doc) => editComment(doc, comment, text)),
      remove(comment) {
        const onYes = () => board.edit((doc) => deleteComment(doc, comment, Date.now()))
        ask({ text: words.deleteCommentAsk, action: words.remove, onYes })
      },
      resolve: (thread, isResolved) => board.edit((doc) => resolveThread(doc, thread, isResolved)),
      like: (comment, isLiked) => board.edit((doc) => setLike(doc, comment, user(), isLiked, Date.now())),
      goTo(thread) {
        setOpen(thread.id)
        if (thread.page === page) handle?.reveal(thread)
        else {
          target.current = thread
          setPage(thread.page)
        }
      }
    }
  }, [board, words, handle, page, anchor, setPage, ask])
  return { open, setOpen, anchor, isPlacing, actions }
}

interface FileContext extends Common {
  rest: Rest
  handle: CanvasHandle | null
  title: string
  canEdit: boolean
  isTeacher: boolean
}

/** Entries of the main menu. */
export function useFiles({ board, rest, words, handle, page, title, canEdit, isTeacher, ask }: FileContext): {
  menu: MenuItem[]
  load: (file: File) => void
} {
  return useMemo(() => {
    const save = (options: { page?: string }) => {
      rest.export(board.id, 'excalidraw', options).then(
        (file) => download(file, `${title || board.id}.excalidraw`),
        () => handle?.toast(words.exportFailed)
      )
    }
    const load = (file: File) => {
      rest.importInto(board.id, file).then(
        ({ elements }) => {
          handle?.undo.edited()
          handle?.toast(words.imported(elements))
        },
        () => handle?.toast(words.importFailed)
      )
    }
    const clear = () => {
      const onYes = () => {
        // Later it would delete what the class has drawn by then.
        if (board.state.save === 'offline') return handle?.toast(words.clearRests(words.notConnected))
        board.op(page === '' ? { op: 'board.clear', page: '' } : { op: 'board.clear', page }).then(
          () => handle?.undo.edited(),
          () => handle?.toast(words.refused)
        )
      }
      ask({ text: words.clearPageAsk, action: words.remove, onYes })
    }
    const items: MenuItem[] = [
      { key: 'export-page', label: words.exportPage, icon: icons.export, onSelect: () => save({ page }) },
      { key: 'export-board', label: words.exportBoard, icon: icons.export, onSelect: () => save({}) }
    ]
    if (canEdit)
      items.unshift({ key: 'import', label: words.importFile, icon: icons.import, onSelect: () => pick(load) })
    if (isTeacher && canEdit) items.push({ key: 'clear', label: words.clearPage, icon: icons.trash, onSelect: clear })
    return { menu: items, load }
  }, [board, rest, words, handle, page, title, canEdit, isTeacher, ask])
}

function pick(onFile: (file: File) => void): void {
  const input = document.createElement('input')
  input.type = 'file'
  input.accept = '.excalidraw,.excalidrawlib,.tldr,.json'
  input.onchange = () => {
    const file = input.files?.[0]
    if (file) onFile(file)
  }
  input.click()
}

function download(file: Blob, name: string): void {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(file)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}

/** Tells people why something they did is gone again, and where it could be lost. What was drawn is theirs to save. */
export function useRefusals(board: Board, words: Dictionary, handle: CanvasHandle | null, title: string) {
  const [refused, setRefused] = useState<RefusedElements>(new Map())
  useEffect(() => {
    if (!handle) return
    const tell = ({ device }: BoardState) => {
      const hint = deviceHint(device, words)
      if (hint) handle.toast(hint)
    }
    let { device } = board.state
    tell(board.state)
    const ends = [
      board.on('state', (state) => {
        if (state.device !== device) tell(state)
        device = state.device
      }),
      board.on('refused', ({ code, entries }) => {
        handle.toast(refusalOf(code, words))
        setRefused((before) => gather(before, entries))
      }),
      board.on('event', ({ author, kind, gesture }) => {
        // One's own update comes back only if something in it was put back.
        if (kind === 'update' && author === board.user && gesture !== null && handle.session.isOwnGesture(gesture)) {
          handle.toast(words.putBack)
        }
      })
    ]
    return () => ends.forEach((end) => end())
  }, [board, words, handle])
  return {
    count: refused.size,
    onSave: () =>
      download(fileOf(refused, handle?.contents ?? {}), `${title || board.id} (${words.notTakenFile}).excalidraw`),
    onClose: () => setRefused(new Map())
  }
}
