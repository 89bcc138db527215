// The start page: make a board, join one, find those one was on.

import { type FormEvent, useEffect, useId, useState } from 'react'
import { identity, rename } from '../identity.ts'
import { type Language, language, words } from '../words.ts'
import { createBoard, joinByCode, problemWords } from './actions.ts'
import { Recent } from './Recent.tsx'

export function Home() {
  const [lang, setLang] = useState<Language>(language)
  const text = words[lang]
  useEffect(() => {
    document.documentElement.lang = lang
    document.title = lang === 'ko' ? '판서' : 'Panseo'
  }, [lang])

  const choose = (next: Language) => {
    setLang(next)
    try {
      localStorage.setItem('panseo.lang', next)
    } catch {
      // The choice lasts as long as the page.
    }
  }

  return (
    <div className="home">
      <header className="top">
        <a className="brand" href="/">
          <Mark />
          <span>
            판서 <small lang="en">Panseo</small>
          </span>
        </a>
        <fieldset className="languages">
          <legend className="hidden">{text.language}</legend>
          {(['ko', 'en'] as const).map((each) => (
            <button key={each} type="button" lang={each} aria-pressed={each === lang} onClick={() => choose(each)}>
              {each === 'ko' ? '한국어' : 'English'}
            </button>
          ))}
        </fieldset>
      </header>
      <main>
        <section className="hero">
          <h1>{text.tagline}</h1>
          <p>
            {text.intro} {text.promise}
          </p>
        </section>
        <Start lang={lang} />
        <Recent lang={lang} />
      </main>
      <footer>
        <span>{text.developers}</span>
        <a href="/docs/">{text.api}</a>
        <a href="/health/ready">{text.health}</a>
      </footer>
    </div>
  )
}

function Start({ lang }: { lang: Language }) {
  const text = words[lang]
  const [me] = useState(identity)
  const [name, setName] = useState(me.name)
  const [busy, setBusy] = useState<'make' | 'join' | null>(null)
  const [problem, setProblem] = useState<{ at: 'name' | 'make' | 'join'; text: string } | null>(null)
  const ids = { name: useId(), title: useId(), code: useId(), problem: useId() }

  /** The person who acts, once they have a name; a token has its own. */
  const named = () => {
    if (me.token) return identity()
    if (name.trim()) return rename(name)
    setProblem({ at: 'name', text: text.needName })
    document.getElementById(ids.name)?.focus()
    return null
  }

  const submit = (at: 'make' | 'join') => async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault()
    const typed = String(new FormData(event.currentTarget).get(at) ?? '').trim()
    setProblem(null)
    if (at === 'join' && !typed) {
      setProblem({ at, text: text.needCode })
      return
    }
    const who = named()
    if (!who) return
    setBusy(at)
    try {
      const board = at === 'make' ? await createBoard(who, typed || text.untitled) : await joinByCode(who, typed)
      location.assign(`/b/${encodeURIComponent(board)}${location.search}`)
    } catch (error) {
      setProblem({ at, text: problemWords(error, text) })
      setBusy(null)
    }
  }

  const wrong = (at: 'name' | 'make' | 'join') =>
    problem?.at === at ? (
      <p className="problem" id={ids.problem} role="alert">
        {problem.text}
      </p>
    ) : null

  return (
    <section className="start">
      {me.token ? null : (
        <div className="field name">
          <label htmlFor={ids.name}>{text.name}</label>
          <input
            id={ids.name}
            value={name}
            onChange={(event) => setName(event.target.value)}
            placeholder={text.nameHint}
            autoComplete="nickname"
            maxLength={40}
            aria-invalid={problem?.at === 'name'}
            aria-describedby={problem?.at === 'name' ? ids.problem : undefined}
          />
          {wrong('name')}
        </div>
      )}
      <form className="card" onSubmit={submit('make')}>
        <h2>{text.newBoard}</h2>
        <div className="field">
          <label htmlFor={ids.title}>{text.boardTitle}</label>
          <input id={ids.title} name="make" placeholder={text.titleHint} maxLength={120} autoComplete="off" />
        </div>
        <button className="primary" disabled={busy !== null} aria-busy={busy === 'make'}>
          {text.create}
        </button>
        {wrong('make')}
      </form>
      <form className="card" onSubmit={submit('join')}>
        <h2>{text.join}</h2>
        <div className="field">
          <label htmlFor={ids.code}>{text.joinHint}</label>
          <input
            id={ids.code}
            name="join"
            placeholder="abcd-2345"
            maxLength={300}
            autoComplete="off"
            spellCheck={false}
          />
        </div>
        <button disabled={busy !== null} aria-busy={busy === 'join'}>
          {text.join}
        </button>
        {wrong('join')}
      </form>
    </section>
  )
}

/** A stroke of chalk on a board. */
function Mark() {
  return (
    <svg viewBox="0 0 32 32" width="32" height="32" aria-hidden="true">
      <rect x="2" y="5" width="28" height="20" rx="4" fill="var(--accent)" />
      <path d="M8 18c3-8 5-8 6-3s3 5 5 0 3-4 5-2" fill="none" stroke="#fff" strokeWidth="2.4" strokeLinecap="round" />
      <path d="M10 29l2-4M22 29l-2-4" stroke="var(--accent)" strokeWidth="2.4" strokeLinecap="round" />
    </svg>
  )
}
