// `/b/:id`: opens the board that the address names and mounts it.

import './tokens.css'
import './controls.css'
import './page.css'
import './board/board.css'
import { PanseoBoard } from '@panseo/board'
import { useEffect } from 'react'
import { createRoot } from 'react-dom/client'
import { Gate, type Opened } from './board/Gate.tsx'
import { Outdated } from './board/Outdated.tsx'
import { Share } from './board/Share.tsx'
import { watchLink } from './identity.ts'
import { type Language, language } from './words.ts'

const id = decodeURIComponent(/^\/b\/([^/]+)/.exec(location.pathname)?.[1] ?? '')

function Page({ opened: { board, rest, title, isOpen }, lang }: { opened: Opened; lang: Language }) {
  useEffect(() => {
    document.title = title
  }, [title])
  const share = <Share board={board} rest={rest} language={lang} isOpen={isOpen} />
  return (
    <>
      <PanseoBoard board={board} rest={rest} title={title} language={lang} extra={share} />
      <Outdated board={board} language={lang} />
    </>
  )
}

watchLink()
const lang = language()
document.documentElement.lang = lang
const root = document.getElementById('root')
if (root)
  createRoot(root).render(
    <Gate id={id} language={lang}>
      {(opened) => <Page opened={opened} lang={lang} />}
    </Gate>
  )
