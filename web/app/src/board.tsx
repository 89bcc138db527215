// `/b/:id`: opens the board that the address names and mounts it.
//
// The token comes behind `#token=` (a part of the address that no server sees) and is taken out of the address at once.

import './page.css'

import { PanseoBoard, languageOf } from '@panseo/board'
import { openBoard, openRest } from '@panseo/sdk'
import { createRoot } from 'react-dom/client'

const id = decodeURIComponent(/^\/b\/([^/]+)/.exec(location.pathname)?.[1] ?? '')
const query = new URLSearchParams(location.search)
const token = tokenOf(location.hash)
const user = query.get('user')
const language = languageOf(location.search, navigator.languages)

document.documentElement.lang = language
const root = createRoot(document.getElementById('root') as HTMLElement)
const options = { url: location.origin, ...(token && { token }), ...(user && { user }) }

openBoard({ ...options, board: id }).then(
  (board) => {
    const rest = openRest(options)
    const show = (title: string) => {
      document.title = title
      root.render(<PanseoBoard board={board} rest={rest} title={title} language={language} />)
    }
    show(id)
    rest.board(id).then(
      (info) => show(info.title || id),
      // Without a connection the board is there, its title is not.
      () => {}
    )
    addEventListener('pagehide', () => void board.close())
  },
  (error: unknown) => {
    root.render(<p role="alert">{error instanceof Error ? error.message : String(error)}</p>)
  }
)

/** Kept for this tab, so that a reload still has it. */
function tokenOf(hash: string): string | null {
  const found = new URLSearchParams(hash.slice(1)).get('token')
  const key = `panseo.token.${id}`
  if (found === null) return sessionStorage.getItem(key)
  sessionStorage.setItem(key, found)
  history.replaceState(history.state, '', location.pathname + location.search)
  return found
}
