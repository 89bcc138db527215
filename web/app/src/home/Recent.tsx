// Boards one was on, with their pictures.

import { useCallback, useEffect, useState } from 'react'
import { identity } from '../identity.ts'
import { type Language, type Words, words } from '../words.ts'
import { type RecentBoard, problemWords, recentBoards, thumbnail } from './actions.ts'

type State = { at: 'loading' } | { at: 'here'; boards: RecentBoard[] } | { at: 'failed'; error: unknown }

export function Recent({ lang }: { lang: Language }) {
  const text = words[lang]
  const [state, setState] = useState<State>({ at: 'loading' })
  const load = useCallback(async () => {
    setState({ at: 'loading' })
    try {
      setState({ at: 'here', boards: await recentBoards(identity()) })
    } catch (error) {
      setState({ at: 'failed', error })
    }
  }, [])
  useEffect(() => {
    void load()
  }, [load])

  return (
    <section className="recent" aria-busy={state.at === 'loading'}>
      <h2>{text.recent}</h2>
      {state.at === 'loading' ? (
        <ul className="boards" aria-label={text.loading}>
          {[0, 1, 2].map((each) => (
            <li key={each} className="board waiting" />
          ))}
        </ul>
      ) : null}
      {state.at === 'failed' ? (
        <div className="empty" role="alert">
          <p>{problemWords(state.error, text)}</p>
          <button type="button" onClick={() => void load()}>
            {text.again}
          </button>
        </div>
      ) : null}
      {state.at === 'here' && state.boards.length === 0 ? (
        <div className="empty">
          <p>
            <strong>{text.nothingYet}</strong>
          </p>
          <p>{text.nothingYetHint}</p>
        </div>
      ) : null}
      {state.at === 'here' && state.boards.length > 0 ? (
        <ul className="boards">
          {state.boards.map((board) => (
            <li key={board.id}>
              <a className="board" href={`/b/${encodeURIComponent(board.id)}${location.search}`}>
                <Picture board={board.id} />
                <span className="title">{board.title}</span>
                <time dateTime={new Date(board.visited).toISOString()}>{when(board.visited, lang, text)}</time>
              </a>
            </li>
          ))}
        </ul>
      ) : null}
    </section>
  )
}

/** The board's thumbnail; an empty sheet until it is there, or where there is none. */
function Picture({ board }: { board: string }) {
  const [url, setUrl] = useState<string | null>(null)
  useEffect(() => {
    const ended = new AbortController()
    let made: string | null = null
    thumbnail(identity(), board).then(
      (blob) => {
        if (!blob || ended.signal.aborted) return
        made = URL.createObjectURL(blob)
        setUrl(made)
      },
      () => {
        // The sheet stays empty.
      }
    )
    return () => {
      ended.abort()
      if (made) URL.revokeObjectURL(made)
    }
  }, [board])
  return <span className="sheet">{url ? <img src={url} alt="" /> : null}</span>
}

function when(time: number, lang: Language, text: Words): string {
  const day = new Date(time)
  const midnight = new Date()
  midnight.setHours(0, 0, 0, 0)
  const clock = new Intl.DateTimeFormat(lang, { timeStyle: 'short' }).format(day)
  if (time >= midnight.getTime()) return `${text.today} ${clock}`
  if (time >= midnight.getTime() - 86_400_000) return `${text.yesterday} ${clock}`
  return new Intl.DateTimeFormat(lang, { dateStyle: 'medium' }).format(day)
}
