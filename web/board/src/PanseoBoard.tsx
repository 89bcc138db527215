// The board: canvas, pages, people, comments and the state of one's work around it.

import './board.css'

import type { Board, Rest } from '@panseo/sdk'
import { type ReactNode, useCallback, useEffect, useMemo, useRef, useState } from 'react'

import { listThreads } from './document/comments'
import { listPages } from './document/pages'
import { COMMENTS, Canvas } from './excalidraw/Canvas'
import type { CanvasHandle } from './excalidraw/handle'
import { DICTIONARIES, type Language, WordsContext } from './i18n'
import { useCommentActions, useFiles, usePageActions, useRefusals } from './actions'
import { Boundary } from './ui/Boundary'
import { CommentsPanel } from './ui/Comments'
import { Confirm, type Question } from './ui/Confirm'
import { useFromDoc, useLeaveQuestion, useLosesImages, usePeople, useRole, useSave } from './ui/hooks'
import { icons } from './ui/icons'
import { PagePicker, PageStrip, titleOf } from './ui/Pages'
import { Following, People } from './ui/People'
import { Pins, Placer } from './ui/Pins'
import { Refused } from './ui/Refused'
import { SaveState } from './ui/SaveState'

export interface PanseoBoardProps {
  board: Board
  rest: Rest
  title: string
  language: Language
  /** Further buttons at the top right, such as «Share». */
  extra?: ReactNode
}

/** From here on a page is slow enough to say so. */
const ELEMENTS_WARN = 4_000
const PAGE_ROOTS = ['board:pages']
const COMMENT_ROOTS = ['board:comments', 'board:likes']

export function PanseoBoard(props: PanseoBoardProps) {
  return (
    <WordsContext value={DICTIONARIES[props.language]}>
      <Boundary>
        <Inner {...props} />
      </Boundary>
    </WordsContext>
  )
}

function Inner({ board, rest, title, language, extra }: PanseoBoardProps) {
  const words = DICTIONARIES[language]
  const [handle, setHandle] = useState<CanvasHandle | null>(null)
  const [chosen, setPage] = useState('')
  const [question, setQuestion] = useState<Question | null>(null)
  const [sidebar, setSidebar] = useState<string | null>(null)
  const [leader, setLeader] = useState<string | null>(null)
  const role = useRole(board)
  const state = useSave(board, handle?.images)
  const { save } = state
  const canEdit = save !== 'read-only' && role !== 'viewer'
  const isTeacher = role === 'teacher'
  const canPoint = role === 'viewer'
  const [wantsToPoint, setPointing] = useState(false)
  const isPointing = canPoint && wantsToPoint
  // Whoever gets the pen and loses it again starts without.
  useEffect(() => {
    if (!canPoint) setPointing(false)
  }, [canPoint])

  const pages = useFromDoc(board, PAGE_ROOTS, listPages)
  // A page that somebody deleted is left for the first one.
  const page = pages.some(({ id }) => id === chosen) ? chosen : (pages[0]?.id ?? '')
  const threads = useFromDoc(board, COMMENT_ROOTS, (doc) => listThreads(doc, board.user ?? ''))
  const here = useMemo(() => threads.filter((thread) => thread.page === page && !thread.isResolved), [threads, page])
  const people = usePeople(board)
  const nameOf = useCallback((user: string) => people.find((person) => person.user === user)?.name ?? user, [people])

  const pageActions = usePageActions({ board, words, handle, page, pages, setPage, ask: setQuestion })
  const comments = useCommentActions({ board, words, handle, page, setPage, ask: setQuestion })
  const { menu, load } = useFiles({ board, rest, words, handle, page, title, canEdit, isTeacher, ask: setQuestion })
  const refused = useRefusals(board, words, handle, title)
  useLeaveQuestion(state, useLosesImages(handle?.images) || refused.count > 0)
  const onCount = useWarning(handle, page, words.pageFull)
  const pageTitle = useCallback((id: string) => titleOf(pages, id, words), [pages, words])

  const isOpen = sidebar === COMMENTS
  const toggleComments = () => handle?.toggleSidebar(COMMENTS)
  const openThread = useCallback(
    (thread: string) => {
      comments.setOpen(thread)
      handle?.toggleSidebar(COMMENTS, true)
    },
    [comments.setOpen, handle]
  )
  const commentsButton = (
    <button
      type="button"
      className="panseo-button"
      title={words.comments}
      aria-pressed={isOpen}
      data-testid="comments"
      onClick={toggleComments}
    >
      {icons.comment}
      <span className="panseo-hidden">{words.comments}</span>
      {here.length > 0 && <span className="panseo-count">{here.length}</span>}
    </button>
  )
  const noteButton = canEdit && (
    <button
      type="button"
      className="panseo-button"
      aria-label={words.stickyNote}
      title={words.stickyNote}
      data-testid="sticky-note"
      onClick={() => handle?.addStickyNote()}
    >
      {icons.note}
    </button>
  )
  const pointButton = canPoint && (
    <button
      type="button"
      className="panseo-button"
      title={`${words.point} (K)`}
      aria-label={words.point}
      aria-keyshortcuts="K"
      aria-pressed={isPointing}
      data-testid="point"
      onClick={() => setPointing(!isPointing)}
    >
      {icons.point}
    </button>
  )
  const follow = (user: string | null) => handle?.session.follow(user)
  const peopleButton = <People board={board} leader={leader} onFollow={follow} />
  const pageProps = { pages, current: page, canEdit, actions: pageActions }

  return (
    <Canvas
      board={board}
      rest={rest}
      page={page}
      title={title}
      language={language}
      canEdit={canEdit}
      canPoint={canPoint}
      isPointing={isPointing}
      onPointing={setPointing}
      menu={menu}
      onReady={setHandle}
      onCount={onCount}
      onSidebar={setSidebar}
      onPage={setPage}
      onLeader={setLeader}
      onFile={load}
      status={
        <div className="panseo-status">
          <SaveState state={state} />
          {pointButton}
          {peopleButton}
          {commentsButton}
          {extra}
        </div>
      }
      pages={
        <>
          {noteButton}
          <PageStrip {...pageProps} />
        </>
      }
      phoneBar={
        <>
          <SaveState state={state} isShort={save === 'saved'} />
          <PagePicker {...pageProps} />
          {noteButton}
          {pointButton}
          {peopleButton}
          {commentsButton}
          {extra}
        </>
      }
      overlay={
        <>
          {refused.count > 0 && <Refused {...refused} />}
          {leader !== null && <Following name={nameOf(leader)} onStop={() => follow(null)} />}
          <Pins handle={handle} threads={here} nameOf={nameOf} onOpen={openThread} />
          {question && <Confirm question={question} onClose={() => setQuestion(null)} />}
          {handle && comments.isPlacing && <Placer handle={handle} onPlace={comments.actions.place} />}
        </>
      }
      sidebar={
        <Boundary>
          <CommentsPanel
            threads={threads}
            open={comments.open}
            isWriting={comments.anchor !== null}
            canEdit={canEdit}
            isTeacher={isTeacher}
            user={board.user}
            page={page}
            language={language}
            nameOf={nameOf}
            pageTitle={pageTitle}
            actions={comments.actions}
          />
        </Boundary>
      }
    />
  )
}

/** Says once for each page that it is full. */
function useWarning(
  handle: CanvasHandle | null,
  page: string,
  text: (count: number) => string
): (count: number) => void {
  const [count, setCount] = useState(0)
  const warned = useRef(new Set<string>())
  useEffect(() => {
    if (!handle || count < ELEMENTS_WARN || warned.current.has(page)) return
    warned.current.add(page)
    handle.toast(text(count))
  }, [handle, page, count, text])
  return setCount
}
