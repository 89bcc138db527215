// The way onto a board: who one is, the invitation, and what to do where it is closed.

import { type Board, openBoard, type Rest, RestError } from '@panseo/sdk'
import { type FormEvent, type ReactNode, useEffect, useId, useState } from 'react'
import { restOf } from '../home/actions.ts'
import { type Identity, identity, rename } from '../identity.ts'
import type { Language } from '../words.ts'
import { titleOf } from './title.ts'
import { type BoardWords, boardWords } from './words.ts'

export interface Opened {
  board: Board
  rest: Rest
  title: string
  /** Nobody logs in here: whoever has the address comes in. */
  isOpen: boolean
}

type State =
  | { at: 'name' }
  | { at: 'opening'; isLate?: boolean }
  | { at: 'open'; opened: Opened }
  | { at: 'closed'; error: unknown }

/** Ms after which it is said what may be the matter; it is tried on. */
const LATE = 8_000

interface Props {
  id: string
  language: Language
  children: (opened: Opened) => ReactNode
}

export function Gate({ id, language, children }: Props) {
  const text = boardWords[language]
  const [state, setState] = useState<State>(() => (isNamed(identity()) ? { at: 'opening' } : { at: 'name' }))
  const isOpening = state.at === 'opening'
  useEffect(() => {
    if (!isOpening) return
    let ended = false
    const timer = setTimeout(() => setState((now) => (now.at === 'opening' ? { ...now, isLate: true } : now)), LATE)
    const opening = enter(id, identity())
    opening.then(
      (opened) => {
        if (ended) void opened.board.close()
        else setState({ at: 'open', opened })
      },
      (error: unknown) => {
        if (!ended) setState({ at: 'closed', error })
      }
    )
    return () => {
      ended = true
      clearTimeout(timer)
    }
  }, [isOpening, id])

  if (state.at === 'open') return children(state.opened)
  if (state.at === 'name')
    return <NameForm text={text} onName={(name) => setState({ at: rename(name).name ? 'opening' : 'name' })} />
  if (state.at === 'opening')
    return (
      <main className="gate" aria-busy="true">
        <p role="status">
          {text.opening} {state.isLate && text.noServerHint}
        </p>
      </main>
    )
  const { title, hint } = words(state.error, text)
  return (
    <main className="gate">
      <div role="alert">
        <h1>{title}</h1>
        <p>{hint}</p>
      </div>
      <p className="ways">
        <button type="button" className="primary" onClick={() => setState({ at: 'opening' })}>
          {text.again}
        </button>
        <a href="/">{text.home}</a>
      </p>
    </main>
  )
}

function NameForm({ text, onName }: { text: BoardWords; onName: (name: string) => void }) {
  const id = useId()
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    onName(String(new FormData(event.currentTarget).get('name') ?? ''))
  }
  return (
    <main className="gate">
      <form onSubmit={submit}>
        <h1>{text.whoAreYou}</h1>
        <label htmlFor={id}>{text.name}</label>
        <input id={id} name="name" required maxLength={40} autoComplete="nickname" aria-describedby={`${id}-hint`} />
        <p id={`${id}-hint`}>{text.nameHint}</p>
        <button className="primary">{text.enter}</button>
      </form>
    </main>
  )
}

function isNamed({ token, name }: Identity): boolean {
  return token !== null || name !== ''
}

async function enter(id: string, who: Identity): Promise<Opened> {
  const rest = restOf(who)
  const address = new URL(location.href)
  const invite = address.searchParams.get('invite')
  if (invite) {
    await rest.join(invite).catch((error: unknown) => {
      throw error instanceof RestError && error.status === 404 ? new RestError(410, error.code, error.message) : error
    })
    // The code is used; who copies the address gives away the board only.
    address.searchParams.delete('invite')
    history.replaceState(history.state, '', address)
  }
  const title = await titleOf(rest, id, who)
  const board = await openBoard({
    url: location.origin,
    board: id,
    ...(who.token ? { token: who.token } : { user: who.user })
  })
  // Only the list of recent boards suffers.
  rest.noteVisit(id).catch(() => undefined)
  return { board, rest, title, isOpen: !who.token }
}

function words(error: unknown, text: BoardWords): { title: string; hint: string } {
  const status = error instanceof RestError ? error.status : 0
  switch (status) {
    case 400:
      return { title: text.login, hint: text.loginHint }
    case 401:
      return { title: text.ended, hint: text.endedHint }
    case 403:
      return { title: text.forbidden, hint: text.forbiddenHint }
    case 404:
      return { title: text.noBoard, hint: text.noBoardHint }
    case 410:
      return { title: text.badInvite, hint: text.badInviteHint }
    case 429:
    case 503:
      return { title: text.full, hint: text.fullHint }
    default:
      return { title: text.noServer, hint: text.noServerHint }
  }
}
