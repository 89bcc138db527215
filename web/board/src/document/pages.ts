// Pages of a board. The page "" always exists, also without an entry; it is first then.

import type * as Y from 'yjs'

import { entriesOf, readAll, readEntry, writeEntry } from './entries'
import { between, comparePlaced } from './order'
import { type Changes, isText } from './values'

export interface Page {
  id: string
  /** `undefined`: never named. */
  title: string | undefined
  background: string | undefined
  pos: string
}

/** Smaller than any key that anybody makes. */
const FIRST = ''

export function listPages(doc: Y.Doc): Page[] {
  const pages: Page[] = []
  for (const [id, { title, background, pos, deleted }] of readAll(entriesOf(doc, 'pages'))) {
    if (deleted !== undefined && id !== '') continue
    pages.push({
      id,
      title: isText(title) && title !== '' ? title : undefined,
      background: isText(background) ? background : undefined,
      pos: isText(pos) ? pos : FIRST
    })
  }
  if (!pages.some(({ id }) => id === '')) pages.push({ id: '', title: undefined, background: undefined, pos: FIRST })
  return pages.sort(comparePlaced)
}

/** Adds a page behind another one. Like all that follow: to be called in a transaction. */
export function addPage(doc: Y.Doc, id: string, after: string): void {
  const pages = listPages(doc)
  const index = pages.findIndex((page) => page.id === after)
  const lower = pages[index]?.pos || undefined
  writeEntry(entriesOf(doc, 'pages'), id, { pos: between(lower, pages[index + 1]?.pos) }, true)
}

export function renamePage(doc: Y.Doc, id: string, title: string): void {
  change(doc, id, { title: title === '' ? undefined : title })
}

export function setBackground(doc: Y.Doc, id: string, background: string | undefined): void {
  change(doc, id, { background })
}

/** Moves a page to a place in the list, counted without it. */
export function movePage(doc: Y.Doc, id: string, to: number): void {
  const others = listPages(doc).filter((page) => page.id !== id)
  let lower = others[to - 1]?.pos
  const upper = others[to]
  if (lower === FIRST) lower = undefined
  if (upper?.pos === FIRST) {
    // Nothing comes before a page without a key: it gets one first.
    const pos = between(lower, others[to + 1]?.pos)
    change(doc, upper.id, { pos })
    change(doc, id, { pos: between(lower, pos) })
  } else {
    change(doc, id, { pos: between(lower, upper?.pos) })
  }
}

/** Hides a page with all that lies on it. */
export function deletePage(doc: Y.Doc, id: string, now: number): void {
  if (id !== '') change(doc, id, { deleted: now })
}

function change(doc: Y.Doc, id: string, changes: Changes): void {
  const entries = entriesOf(doc, 'pages')
  writeEntry(entries, id, changes, readEntry(entries, id) === undefined)
}
