// Another Yjs application, with roots of its own, through the same door.

import { after, before, test } from 'node:test'
import assert from 'node:assert/strict'

import * as Y from 'yjs'

import { OwnClient } from './lib/own.mjs'
import { Painter, sorted, vector } from './lib/painter.mjs'
import { Server, newBoard } from './lib/server.mjs'
import { until } from './lib/wait.mjs'

const BOUND = { timeout: 60_000 }

let server
before(async () => { server = await Server.start() })
after(() => server?.stop())

const roots = (doc) => ({
  text: doc.getText('editor'),
  list: doc.getArray('todo'),
  page: doc.getXmlFragment('prosemirror'),
  nested: doc.getMap('settings')
})

const shown = (doc) => {
  const { text, list, page, nested } = roots(doc)
  return JSON.stringify([text.toDelta(), sorted(list.toJSON()), page.toString(), sorted(nested.toJSON())])
}

const write = (doc, who) => doc.transact(() => {
  const { text, list, page, nested } = roots(doc)
  text.insert(0, `${who} 안녕 🖍 `)
  text.format(0, who.length, { bold: true })
  list.push([{ who, done: false }, [1, 2.5, null, 'x'], new Uint8Array([1, 2, 3])])
  const paragraph = new Y.XmlElement('paragraph')
  paragraph.setAttribute('align', 'left')
  paragraph.insert(0, [new Y.XmlText(`by ${who}`)])
  page.insert(0, [paragraph])
  const inner = new Y.Map()
  inner.set('list', Y.Array.from([who, 1, true]))
  nested.set(who, inner)
})

test('text, lists and XML of another application are carried both ways', BOUND, async () => {
  const board = newBoard()
  const [left, right] = [new Painter(server, board, 'left'), new Painter(server, board, 'right')]
  await Promise.all([left.synced(), right.synced()])
  write(left.doc, 'left')
  write(right.doc, 'right')
  await until('both have both', () => shown(left.doc) === shown(right.doc) && shown(left.doc).includes('by right'))

  right.provider.disconnect()
  roots(left.doc).text.delete(0, 4)
  roots(left.doc).list.delete(0, 1)
  roots(right.doc).text.insert(2, 'offline')
  right.provider.connect()
  await right.synced()
  await until('they are equal again', () =>
    shown(left.doc) === shown(right.doc) && shown(left.doc).includes('offline') &&
    JSON.stringify(vector(left.doc)) === JSON.stringify(vector(right.doc)))

  const third = await new Painter(server, board, 'third').synced()
  assert.equal(shown(third.doc), shown(left.doc))
  for (const painter of [left, right, third]) painter.leave()
})

test('the whiteboard beside it stays usable', BOUND, async () => {
  const board = newBoard()
  const editor = await new Painter(server, board, 'editor').synced()
  const drawer = await new OwnClient(server, board, 'drawer').connect()
  write(editor.doc, 'editor')
  await drawer.ops({ op: 'element.create', element: { id: 'x', type: 'ellipse', x: 1, y: 2, width: 3, height: 4 } })
  await until('the editor has the ellipse', () => editor.get('x', 'type') === 'ellipse')
  await drawer.ops({ op: 'undo' })
  await until('the ellipse is deleted', () => editor.get('x', 'deleted') !== undefined)
  assert.ok(shown(editor.doc).includes('by editor'))
  assert.deepEqual([...drawer.elements.keys()].filter((id) => id !== 'x'), [])
  editor.leave()
  drawer.leave()
})

test('a client-side UndoManager is an edit like any other', BOUND, async () => {
  const board = newBoard()
  const [alice, bob] = [new Painter(server, board, 'alice'), new Painter(server, board, 'bob')]
  await Promise.all([alice.synced(), bob.synced()])
  const manager = new Y.UndoManager(alice.elements, { captureTimeout: 0 })
  alice.draw('mine', { x: 1 })
  alice.set('mine', 'x', 2)
  await until('bob sees 2', () => bob.get('mine', 'x') === 2)
  manager.undo()
  await until('bob sees 1', () => bob.get('mine', 'x') === 1)
  // This removes the key: a client that does not know the layout may do that.
  manager.undo()
  await until('bob sees it go', () => !bob.elements.has('mine'))
  manager.redo()
  await until('bob sees it return', () => bob.get('mine', 'x') === 1)
  alice.leave()
  bob.leave()
})
