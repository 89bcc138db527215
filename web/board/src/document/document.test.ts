import { describe, expect, test } from 'vitest'
import * as Y from 'yjs'

import { addReply, addThread, deleteComment, listThreads, resolveThread, setLike } from './comments'
import { addPage, deletePage, listPages, movePage, renamePage } from './pages'

describe('pages', () => {
  const ids = (doc: Y.Doc) => listPages(doc).map(({ id }) => id)

  test('the first page is there without an entry', () => {
    expect(listPages(new Y.Doc())).toEqual([{ id: '', title: undefined, background: undefined, pos: '' }])
  })

  test('pages are added behind another one, moved anywhere, renamed and deleted', () => {
    const doc = new Y.Doc()
    addPage(doc, 'a', '')
    addPage(doc, 'b', 'a')
    addPage(doc, 'c', '')
    expect(ids(doc)).toEqual(['', 'c', 'a', 'b'])
    movePage(doc, 'b', 0)
    expect(ids(doc)).toEqual(['b', '', 'c', 'a'])
    movePage(doc, '', 3)
    expect(ids(doc)).toEqual(['b', 'c', 'a', ''])
    movePage(doc, 'a', 1)
    renamePage(doc, '', 'One')
    deletePage(doc, 'c', 5)
    deletePage(doc, '', 5)
    expect(listPages(doc).map(({ id, title }) => [id, title])).toEqual([
      ['b', undefined],
      ['a', undefined],
      ['', 'One']
    ])
  })

  test('a page moves in front of the first one, whatever stands there', () => {
    const doc = new Y.Doc()
    renamePage(doc, '', 'One')
    addPage(doc, 'a', '')
    addPage(doc, 'b', 'a')
    movePage(doc, 'b', 0)
    movePage(doc, 'a', 0)
    expect(ids(doc)).toEqual(['a', 'b', ''])
  })
})

describe('comments', () => {
  test('a time that no calendar has is one that it has', () => {
    const doc = new Y.Doc()
    const nowhere = { page: '', element: undefined, x: undefined, y: undefined }
    addThread(doc, 't1', 'kim', 1e300, 'never', nowhere)
    addThread(doc, 't2', 'lee', -1e300, 'long ago', nowhere)
    const times = listThreads(doc, '').map(({ at }) => new Date(at).toISOString())
    expect(times).toEqual(['-271821-04-20T00:00:00.000Z', '+275760-09-13T00:00:00.000Z'])
  })

  test('a thread has its place, replies, likes, and an end', () => {
    const doc = new Y.Doc()
    const nowhere = { page: '', element: undefined, x: undefined, y: undefined }
    addThread(doc, 't1', 'kim', 10, 'why?', { ...nowhere, page: 'p', element: 'e' })
    addThread(doc, 't2', 'lee', 5, 'here', { ...nowhere, x: 1, y: 2 })
    addReply(doc, 'r1', 'lee', 12, 'because', 't1')
    addReply(doc, 'r2', 'kim', 11, 'hm', 't1')
    setLike(doc, 'r1', 'kim', true, 13)
    setLike(doc, 'r1', 'a:b', true, 13)
    setLike(doc, 'r2', 'kim', true, 13)
    setLike(doc, 'r2', 'kim', false, 14)
    resolveThread(doc, 't2', true)
    const [second, first] = listThreads(doc, 'kim')
    expect(second).toMatchObject({ id: 't2', isResolved: true, page: '', x: 1, y: 2, replies: [] })
    expect(first).toMatchObject({ id: 't1', isResolved: false, page: 'p', element: 'e', author: 'kim', text: 'why?' })
    expect(first?.replies).toEqual([
      { id: 'r2', author: 'kim', at: 11, text: 'hm', likes: 0, isLiked: false },
      { id: 'r1', author: 'lee', at: 12, text: 'because', likes: 2, isLiked: true }
    ])
    deleteComment(doc, 't1', 20)
    expect(listThreads(doc, 'kim').map(({ id }) => id)).toEqual(['t2'])
  })
})
