// Comments: threads at an element or a place of a page, replies, likes.

import type * as Y from 'yjs'

import { entriesOf, readAll, writeEntry } from './entries'
import { isNumber, isText } from './values'

/** The times that a `Date` holds reach so far from 1970, both ways. */
const TIME_MAX = 8.64e15

export interface Comment {
  id: string
  author: string
  /** ms since 1970. */
  at: number
  text: string
  likes: number
  isLiked: boolean
}

/** What a thread is about. */
export interface Anchor {
  page: string
  element: string | undefined
  x: number | undefined
  y: number | undefined
}

export interface Thread extends Comment, Anchor {
  isResolved: boolean
  replies: Comment[]
}

/** All threads of the board, oldest first; `user` is whose likes count as own. */
export function listThreads(doc: Y.Doc, user: string): Thread[] {
  const likes = likesOf(doc, user)
  const threads = new Map<string, Thread>()
  const replies: [string, Comment][] = []
  for (const [id, entry] of readAll(entriesOf(doc, 'comments'))) {
    const { author, text, deleted, parent, page, element, x, y } = entry
    if (deleted !== undefined || !isText(text) || !isNumber(entry.at)) continue
    const at = Math.max(-TIME_MAX, Math.min(entry.at, TIME_MAX))
    const comment = { id, author: isText(author) ? author : '', at, text, likes: 0, isLiked: false, ...likes.get(id) }
    if (isText(parent)) {
      replies.push([parent, comment])
      continue
    }
    threads.set(id, {
      ...comment,
      page: isText(page) ? page : '',
      element: isText(element) ? element : undefined,
      x: isNumber(x) ? x : undefined,
      y: isNumber(y) ? y : undefined,
      isResolved: entry.resolved === true,
      replies: []
    })
  }
  for (const [parent, reply] of replies) threads.get(parent)?.replies.push(reply)
  const byTime = (a: Comment, b: Comment) => a.at - b.at || (a.id < b.id ? -1 : 1)
  const list = [...threads.values()].sort(byTime)
  for (const thread of list) thread.replies.sort(byTime)
  return list
}

function likesOf(doc: Y.Doc, user: string): Map<string, { likes: number; isLiked: boolean }> {
  const likes = new Map<string, { likes: number; isLiked: boolean }>()
  for (const key of doc.getMap('board:likes').keys()) {
    // Ids of users may hold a colon, those of ours, which are named first, do not.
    const end = key.indexOf(':')
    const target = key.slice(0, end)
    const found = likes.get(target) ?? { likes: 0, isLiked: false }
    found.likes++
    found.isLiked ||= key.slice(end + 1) === user
    likes.set(target, found)
  }
  return likes
}

/** Begins a thread. Like all that follow: to be called in a transaction. */
export function addThread(doc: Y.Doc, id: string, author: string, at: number, text: string, anchor: Anchor): void {
  const { page, element, x, y } = anchor
  writeEntry(
    entriesOf(doc, 'comments'),
    id,
    { author, at, text, page: page === '' ? undefined : page, element, x, y },
    true
  )
}

export function addReply(doc: Y.Doc, id: string, author: string, at: number, text: string, parent: string): void {
  writeEntry(entriesOf(doc, 'comments'), id, { author, at, text, parent }, true)
}

export function editComment(doc: Y.Doc, id: string, text: string): void {
  writeEntry(entriesOf(doc, 'comments'), id, { text })
}

export function deleteComment(doc: Y.Doc, id: string, now: number): void {
  writeEntry(entriesOf(doc, 'comments'), id, { deleted: now })
}

export function resolveThread(doc: Y.Doc, id: string, isResolved: boolean): void {
  writeEntry(entriesOf(doc, 'comments'), id, { resolved: isResolved ? true : undefined })
}

export function setLike(doc: Y.Doc, target: string, user: string, isLiked: boolean, now: number): void {
  const likes = doc.getMap<number>('board:likes')
  const key = `${target}:${user}`
  if (!isLiked) likes.delete(key)
  else if (!likes.has(key)) likes.set(key, now)
}
