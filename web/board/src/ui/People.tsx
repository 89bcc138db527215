import type { Board, Person } from '@panseo/sdk'

import { useWords } from '../i18n'
import { colorOf, initialOf } from './color'
import { usePeople } from './hooks'
import { icons } from './icons'
import { Popover } from './Popover'

interface Props {
  board: Board
  /** Whom the canvas follows. */
  leader: string | null
  onFollow: (user: string | null) => void
}

/** Who is here, each person once, however many windows they have. A press on somebody follows them. */
export function People({ board, leader, onFollow }: Props) {
  const words = useWords()
  const people = oncePerUser(usePeople(board), board.user)
  const count = Math.max(1, people.length)
  const icon = (
    <>
      {icons.people}
      <span className="panseo-count">{count}</span>
    </>
  )
  return (
    <Popover label={words.people} icon={icon} className="panseo-people" testId="people">
      {(close) => (
        <>
          <h2>{words.people}</h2>
          <ul>
            {people.map(({ user, name }) => {
              const isSelf = user === board.user
              const isLeader = user === leader
              const person = (
                <>
                  <span className="panseo-avatar" style={{ background: colorOf(user) }} aria-hidden="true">
                    {initialOf(name ?? user)}
                  </span>
                  <span className="panseo-name">{name ?? user}</span>
                  <span className="panseo-quiet">
                    {isSelf ? words.you : isLeader ? words.stopFollowing : words.follow}
                  </span>
                </>
              )
              const follow = () => {
                onFollow(isLeader ? null : user)
                close()
              }
              return (
                <li key={user}>
                  {isSelf ? (
                    person
                  ) : (
                    <button type="button" className="panseo-person" onClick={follow}>
                      {person}
                    </button>
                  )}
                </li>
              )
            })}
          </ul>
        </>
      )}
    </Popover>
  )
}

/** Says whose view is on the canvas, and ends that. */
export function Following({ name, onStop }: { name: string; onStop: () => void }) {
  const words = useWords()
  return (
    <div className="panseo-following" role="status">
      <span className="panseo-name">{words.following(name)}</span>
      <button type="button" className="panseo-link" onClick={onStop}>
        {words.stopFollowing}
      </button>
    </div>
  )
}

function oncePerUser(people: readonly Person[], self: string | null): Person[] {
  const byUser = new Map<string, Person>()
  for (const person of people) byUser.set(person.user, person)
  return [...byUser.values()].sort(
    (a, b) => Number(b.user === self) - Number(a.user === self) || (a.name ?? a.user).localeCompare(b.name ?? b.user)
  )
}
