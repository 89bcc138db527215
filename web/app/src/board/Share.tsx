// The share dialog: links by role, people and what they may do. For teachers.

import type { Board, Invite, Member, Rest, Role } from '@panseo/sdk'
import { RestError } from '@panseo/sdk'
import { useCallback, useEffect, useId, useRef, useState } from 'react'
import { displayName } from '../identity.ts'
import type { Language } from '../words.ts'
import { boardWords } from './words.ts'

interface Props {
  board: Board
  rest: Rest
  language: Language
  /** Nobody logs in here: whoever is taken off the list comes in again, as a teacher. */
  isOpen: boolean
}

/** The button; nothing for those who may not share. */
export function Share(props: Props) {
  const text = boardWords[props.language]
  const [role, setRole] = useState(props.board.role)
  const dialog = useRef<HTMLDialogElement>(null)
  const [open, setOpen] = useState(false)
  useEffect(
    () =>
      props.board.on('role', (change) => {
        setRole(change.role)
        // The dialog goes with the role, and does not come back with it.
        if (change.role !== 'teacher') setOpen(false)
      }),
    [props.board]
  )
  useEffect(() => {
    if (open) dialog.current?.showModal()
  }, [open])
  if (role !== 'teacher') return null
  return (
    <>
      <button type="button" className="panseo-button share-button" data-testid="share" onClick={() => setOpen(true)}>
        {text.share}
      </button>
      {open ? (
        // Keys typed here are not the canvas's.
        <dialog
          ref={dialog}
          className="share"
          aria-labelledby="share-title"
          onClose={() => setOpen(false)}
          onKeyDown={(event) => event.stopPropagation()}
        >
          <header>
            <h2 id="share-title">{text.shareTitle}</h2>
            <button type="button" onClick={() => dialog.current?.close()}>
              {text.close}
            </button>
          </header>
          <Invites {...props} />
          <Members {...props} />
        </dialog>
      ) : null}
    </>
  )
}

function Invites({ board, rest, language }: Props) {
  const text = boardWords[language]
  const [invites, setInvites] = useState<Invite[]>([])
  const [role, setRole] = useState<'viewer' | 'editor'>('viewer')
  const [copied, setCopied] = useState<string | null>(null)
  const [failed, setFailed] = useState(false)
  const name = useId()
  const load = useCallback(() => rest.invites(board.id).then(setInvites), [rest, board.id])
  useEffect(() => {
    load().catch(() => setFailed(true))
  }, [load])

  const act = async (action: () => Promise<unknown>) => {
    setFailed(false)
    try {
      await action()
      await load()
    } catch {
      setFailed(true)
    }
  }
  const copy = async (invite: Invite) => {
    await navigator.clipboard.writeText(linkOf(board.id, invite))
    setCopied(invite.code)
  }

  return (
    <section>
      <fieldset>
        <legend>{text.linkFor}</legend>
        {(['viewer', 'editor'] as const).map((each) => (
          <label key={each}>
            <input type="radio" name={name} checked={role === each} onChange={() => setRole(each)} />
            {each === 'viewer' ? text.asViewer : text.asEditor}
          </label>
        ))}
        <button
          type="button"
          className="primary"
          data-testid="make-link"
          onClick={() => void act(() => rest.invite(board.id, role))}
        >
          {text.makeLink}
        </button>
      </fieldset>
      <ul>
        {invites.map((invite) => (
          <li key={invite.code}>
            <span className="what">
              <strong>{text.role[invite.role]}</strong>
              <small>
                {text.code} <code>{`${invite.code.slice(0, 4)}-${invite.code.slice(4)}`}</code> ·{' '}
                {text.until(day(invite.expires, language))}
              </small>
              <input
                readOnly
                value={linkOf(board.id, invite)}
                aria-label={text.copy}
                data-testid="link"
                onFocus={(event) => event.target.select()}
              />
            </span>
            <button type="button" onClick={() => void copy(invite).catch(() => setFailed(true))}>
              {copied === invite.code ? text.copied : text.copy}
            </button>
            <button type="button" onClick={() => void act(() => rest.removeInvite(board.id, invite.code))}>
              {text.end}
            </button>
          </li>
        ))}
      </ul>
      {failed ? <p role="alert">{text.failed}</p> : null}
    </section>
  )
}

function Members({ board, rest, language, isOpen }: Props) {
  const text = boardWords[language]
  const [members, setMembers] = useState<Member[]>([])
  const [people, setPeople] = useState(board.people)
  const [problem, setProblem] = useState<string | null>(null)
  const load = useCallback(() => rest.members(board.id).then(setMembers), [rest, board.id])
  // Who comes by a link while the dialog is open appears in it.
  useEffect(
    () =>
      board.on('people', (now) => {
        setPeople(new Map(now))
        load().catch(() => setProblem(text.failed))
      }),
    [board, load, text]
  )
  useEffect(() => {
    load().catch(() => setProblem(text.failed))
  }, [load, text])

  const act = async (action: () => Promise<unknown>) => {
    setProblem(null)
    try {
      await action()
      await load()
    } catch (error) {
      setProblem(error instanceof RestError && error.code === 'last_teacher' ? text.lastTeacher : text.failed)
    }
  }
  const here = new Map([...people.values()].map((person) => [person.user, person.name]))
  const listed = new Set(members.map((member) => member.user))
  const guests = [...here.keys()].filter((user) => !listed.has(user))
  const nameOf = (user: string) => here.get(user) ?? displayName(user)

  return (
    <section>
      <h3>{text.people}</h3>
      {isOpen ? <p className="open">{text.openHint}</p> : null}
      <ul data-testid="members">
        {[...members, ...guests.map((user) => ({ user, role: null }))].map(({ user, role }) => (
          <li key={user} data-user={user}>
            <span className="what">
              <strong>{nameOf(user)}</strong>
              {here.has(user) ? <small>{text.here}</small> : null}
            </span>
            {role === 'viewer' ? (
              <button type="button" onClick={() => void act(() => rest.setRole(board.id, user, 'editor'))}>
                {text.givePen}
              </button>
            ) : null}
            {role === 'editor' ? (
              <button type="button" onClick={() => void act(() => rest.setRole(board.id, user, 'viewer'))}>
                {text.takePen}
              </button>
            ) : null}
            <select
              aria-label={text.roleOf(nameOf(user))}
              value={role ?? 'teacher'}
              onChange={(event) => void act(() => rest.setRole(board.id, user, event.target.value as Role))}
            >
              {(['viewer', 'editor', 'teacher'] as const).map((each) => (
                <option key={each} value={each}>
                  {text.role[each]}
                </option>
              ))}
            </select>
            {role && user !== board.user && !isOpen ? (
              <button type="button" onClick={() => void act(() => rest.removeMember(board.id, user))}>
                {text.remove}
              </button>
            ) : null}
          </li>
        ))}
      </ul>
      {problem ? <p role="alert">{problem}</p> : null}
    </section>
  )
}

function linkOf(board: string, invite: Invite): string {
  return `${location.origin}/b/${encodeURIComponent(board)}?invite=${invite.code}`
}

function day(time: number, language: Language): string {
  return new Intl.DateTimeFormat(language, { dateStyle: 'medium' }).format(time)
}
