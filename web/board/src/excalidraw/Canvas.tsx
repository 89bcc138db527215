// Excalidraw with our parts in its slots. The only place that renders it.

import '@excalidraw/excalidraw/index.css'

import { Excalidraw, Footer, MainMenu, Sidebar, useDevice } from '@excalidraw/excalidraw'
import type { ExcalidrawImperativeAPI, ExcalidrawInitialDataState, ExcalidrawProps } from '@excalidraw/excalidraw/types'
import type { Board, Rest } from '@panseo/sdk'
import { type ReactNode, memo, useCallback, useEffect, useLayoutEffect, useRef, useState } from 'react'

import { type Dictionary, type Language, refusalOf, useWords } from '../i18n'
import { boardIn, drop } from './drop'
import { Faults } from './Faults'
import { CanvasHandle } from './handle'
import { Images, callFile } from './images'
import { rememberLibrary, rememberTheme, rememberedLibrary, rememberedTheme } from './remembered'
import { type PointingProps, usePointing } from './pointing'
import { CanvasSession } from './session'
import { Undo } from './undo'

export const COMMENTS = 'comments'

export interface MenuItem {
  key: string
  label: string
  icon: ReactNode
  onSelect: () => void
}

export interface CanvasProps extends PointingProps {
  board: Board
  rest: Rest
  page: string
  title: string
  language: Language
  canEdit: boolean
  menu: readonly MenuItem[]
  /** Top right, beside the library. */
  status: ReactNode
  /** Bottom centre. */
  pages: ReactNode
  /** Both of them on a phone, above the tools. */
  phoneBar: ReactNode
  /** Over the canvas, under Excalidraw's own parts. */
  overlay: ReactNode
  sidebar: ReactNode
  onReady: (handle: CanvasHandle | null) => void
  onCount: (count: number) => void
  onSidebar: (name: string | null) => void
  /** Another page is to be shown. */
  onPage: (page: string) => void
  /** Somebody is followed from now on, or nobody. */
  onLeader: (user: string | null) => void
  /** A file of a board was dropped on the canvas. */
  onFile: (file: File) => void
}

const LANGUAGE_CODES: Readonly<Record<Language, string>> = { ko: 'ko-KR', en: 'en' }
const BOARD_FILE = /\.(excalidraw|tldr)$/i
const ACTIONS = { loadScene: false, export: false, saveToActiveFile: false, clearCanvas: false } as const
const BUTTON_KEYS = /^( |Enter|Arrow.+)$/
const UI_OPTIONS = { canvasActions: ACTIONS, dockedSidebarBreakpoint: 1200 }

export const Canvas = memo(function Canvas(props: CanvasProps) {
  const words = useWords()
  const container = useRef<HTMLDivElement>(null)
  const [api, setApi] = useState<ExcalidrawImperativeAPI | null>(null)
  const [isLoaded, setLoaded] = useState(false)
  const session = useRef<CanvasSession | null>(null)
  const handle = useHandle(api, isLoaded, container, props, words)
  session.current = handle?.session ?? null
  usePointing(api, container, props)

  const initialData = useRef<ExcalidrawInitialDataState>(undefined)
  initialData.current ??= {
    // Beside the board, not over the state of one's work.
    appState: { theme: rememberedTheme(), defaultSidebarDockedPreference: true },
    libraryItems: rememberedLibrary()
  }
  const theme = useRef<string>('')
  const sidebar = useRef<string | null>(null)
  const { onSidebar, status } = props

  const onChange = useCallback(
    (_elements: unknown, state: { theme: string; openSidebar: { name: string } | null }) => {
      // The first change comes when Excalidraw has set up its own scene; before, ours would be wiped away.
      setLoaded(true)
      if (theme.current !== '' && theme.current !== state.theme) rememberTheme(state.theme)
      theme.current = state.theme
      const open = state.openSidebar?.name ?? null
      if (open !== sidebar.current) onSidebar((sidebar.current = open))
    },
    [onSidebar]
  )
  const onPointerUpdate = useCallback<NonNullable<ExcalidrawProps['onPointerUpdate']>>(({ pointer, button }) => {
    session.current?.pointer(pointer.x, pointer.y, pointer.tool, button === 'down')
  }, [])
  const renderTopRight = useCallback((isMobile: boolean) => (isMobile ? null : <>{status}</>), [status])

  const onImage = useCallback((file: File) => callFile(file, api as ExcalidrawImperativeAPI, words), [api, words])
  const onPaste = useCallback(
    (data: { text?: string; elements?: unknown }, event: ClipboardEvent | null) => {
      // Images do not come here.
      if (!event?.clipboardData?.files.length || data.text || data.elements) return true
      api?.updateScene({ appState: { errorMessage: words.imageKind } })
      return false
    },
    [api, words]
  )

  // Excalidraw would put the file in the place of what is there; here it is added to the board.
  const isAgain = useRef(false)
  const onDrop = (event: React.DragEvent) => {
    const files = [...event.dataTransfer.files]
    const [file] = files
    if (!file || isAgain.current) return
    event.preventDefault()
    event.stopPropagation()
    if (!props.canEdit) return
    const { target, clientX, clientY } = event
    const named = files.find(({ name }) => BOARD_FILE.test(name))
    void (named ? Promise.resolve(named) : boardIn(file)).then((board) => {
      if (board) return props.onFile(board)
      isAgain.current = true
      drop(file, target, clientX, clientY)
      isAgain.current = false
    })
  }

  // What presses a button that the keyboard came to, or goes to the next one, is not for what is selected on the canvas.
  const isAtButton = useRef(false)
  const onFocus = ({ target }: React.FocusEvent) => {
    isAtButton.current = target.matches('button:focus-visible')
  }
  const onKeyDown = (event: React.KeyboardEvent) => {
    if (isAtButton.current && BUTTON_KEYS.test(event.key)) event.stopPropagation()
  }

  return (
    <div
      className="panseo-board"
      ref={container}
      data-loaded={handle !== null}
      data-pointing={props.isPointing}
      onDropCapture={onDrop}
      onFocus={onFocus}
      onKeyDown={onKeyDown}
    >
      <Excalidraw
        excalidrawAPI={setApi}
        initialData={initialData.current}
        langCode={LANGUAGE_CODES[props.language]}
        name={props.title}
        viewModeEnabled={!props.canEdit && !props.isPointing}
        // The state of one's work is always in sight.
        zenModeEnabled={false}
        UIOptions={UI_OPTIONS}
        aiEnabled={false}
        validateEmbeddable={false}
        autoFocus
        handleKeyboardGlobally
        generateIdForFile={onImage}
        generateLinkForSelection={linkTo}
        onPaste={onPaste}
        onChange={onChange}
        onPointerUpdate={onPointerUpdate}
        onLibraryChange={rememberLibrary}
        renderTopRightUI={renderTopRight}
      >
        <MainMenu>
          {props.menu.map(({ key, label, icon, onSelect }) => (
            <MainMenu.Item key={key} icon={icon as never} onSelect={onSelect} data-testid={`menu-${key}`}>
              {label}
            </MainMenu.Item>
          ))}
          <MainMenu.DefaultItems.SaveAsImage />
          <MainMenu.DefaultItems.SearchMenu />
          <MainMenu.DefaultItems.Help />
          <MainMenu.Separator />
          <MainMenu.DefaultItems.ToggleTheme />
          {props.canEdit && <MainMenu.DefaultItems.ChangeCanvasBackground />}
        </MainMenu>
        <Footer>
          <div className="panseo-footer">{props.pages}</div>
        </Footer>
        {/* Where there is room it pushes the controls aside instead of covering them. */}
        <Sidebar name={COMMENTS} docked className="panseo-sidebar">
          <Sidebar.Header>
            <h2 className="panseo-sidebar-title">{words.comments}</h2>
          </Sidebar.Header>
          {props.sidebar}
        </Sidebar>
        <Faults api={api} />
        {props.overlay}
        <PhoneOnly>{props.phoneBar}</PhoneOnly>
      </Excalidraw>
    </div>
  )
})

function PhoneOnly({ children }: { children: ReactNode }) {
  const device = useDevice()
  return device.editor.isMobile ? <div className="panseo-phone-bar">{children}</div> : null
}

/** The session between canvas and board, for as long as both are there. */
function useHandle(
  api: ExcalidrawImperativeAPI | null,
  isLoaded: boolean,
  container: React.RefObject<HTMLDivElement | null>,
  props: CanvasProps,
  words: Dictionary
): CanvasHandle | null {
  const { board, rest, page } = props
  const [handle, setHandle] = useState<CanvasHandle | null>(null)
  const latest = useRef({ props, words })
  latest.current = { props, words }

  useEffect(() => {
    const root = container.current
    if (!api || !isLoaded || !root) return
    const now = () => latest.current
    const toast = (message: string) => api.setToast({ message, duration: 4_000, closable: true })
    const images = new Images(board, rest, api, (why) =>
      toast(why === 'kind' ? now().words.imageKind : now().words.imageRefused)
    )
    const session = new CanvasSession(board, api, now().props.page, images, root, {
      canEdit: () => now().props.canEdit,
      onCount: (count) => now().props.onCount(count),
      onEdit: () => undo.edited(),
      onUnfit: () => toast(refusalOf('bad_op', now().words)),
      onElsewhere: (page) => now().props.onPage(page),
      onLeader: (user) => now().props.onLeader(user)
    })
    const undo = new Undo(board, root, {
      before: () => {
        session.flush()
        session.awaitAnswer()
      },
      rests: () => {
        const { undoRests, notConnected, why } = now().words
        if (!isConnected(board)) return undoRests(notConnected)
        return now().props.canEdit ? null : undoRests(why.viewer)
      },
      label: (op) => now().words[op],
      after: (op, fault, rests) => {
        if (fault) session.awaitAnswer(false)
        const { nothingToUndo, nothingToRedo, undoFailed } = now().words
        if (fault === 'empty') toast(op === 'undo' ? nothingToUndo : nothingToRedo)
        else if (fault === 'failed') toast(rests ?? undoFailed)
      }
    })
    const made = new CanvasHandle(api, root, session, undo, images)
    setHandle(made)
    now().props.onReady(made)
    return () => {
      undo.close()
      session.close()
      images.close()
      setHandle(null)
      latest.current.props.onReady(null)
    }
  }, [api, isLoaded, board, rest, container])

  useEffect(() => {
    if (handle && handle.session.pageId !== page) handle.session.open(page)
  }, [handle, page])
  // When the rights go, before anything is put back: they may only pause.
  useLayoutEffect(() => (props.canEdit ? () => handle?.session.leave(true) : undefined), [handle, props.canEdit])
  return handle
}

function isConnected(board: Board): boolean {
  return board.state.save !== 'offline'
}

/** Addresses of elements, without what else stands in the address of the page: a token perhaps. */
function linkTo(id: string): string {
  const url = new URL(location.pathname, location.href)
  url.searchParams.set('element', id)
  return url.href
}
