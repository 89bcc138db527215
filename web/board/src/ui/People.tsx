import type { Board, Person } from '@panseo/sdk'

import { useWords } from '../i18n'
import { colorOf, initialOf } from './color'
import { usePeople } from './hooks'
import { icons } from './icons'
import { Popover } from './Popover'

/** Who is here, each person once, however many windows they have. */
export function People({ board }: { board: Board }) {
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
      {() => (
        <>
          <h2>{words.people}</h2>
          <ul>
            {people.map(({ user, name }) => (
              <li key={user}>
                <span className="panseo-avatar" style={{ background: colorOf(user) }} aria-hidden="true">
                  {initialOf(name ?? user)}
                </span>
                <span className="panseo-name">{name ?? user}</span>
                {user === board.user && <span className="panseo-quiet">{words.you}</span>}
              </li>
            ))}
          </ul>
        </>
      )}
    </Popover>
  )
}

function oncePerUser(people: readonly Person[], self: string | null): Person[] {
  const byUser = new Map<string, Person>()
  for (const person of people) byUser.set(person.user, person)
  return [...byUser.values()].sort(
    (a, b) => Number(b.user === self) - Number(a.user === self) || (a.name ?? a.user).localeCompare(b.name ?? b.user)
  )
}
