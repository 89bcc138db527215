// Both doors on one board: a MessagePack client, a JSON client and a Yjs provider.

import { after, before, test } from 'node:test'
import assert from 'node:assert/strict'

import * as Y from 'yjs'

import { OwnClient } from './lib/own.mjs'
import { Painter, equal, newElement } from './lib/painter.mjs'
import { Server, newBoard } from './lib/server.mjs'
import { until } from './lib/wait.mjs'

const BOUND = { timeout: 60_000 }

let server
before(async () => { server = await Server.start() })
after(() => server?.stop())

const create = (id, properties = {}) =>
  ({ op: 'element.create', element: { id, type: 'rectangle', x: 0, y: 0, width: 10, height: 10, ...properties } })

/** One client of each kind on a fresh board. */
const three = async () => {
  const board = newBoard()
  const packed = await new OwnClient(server, board, 'minji').connect()
  const json = await new OwnClient(server, board, 'junho', { format: 'json' }).connect()
  const yjs = await new Painter(server, board, 'sora').synced()
  return { board, packed, json, yjs, leave: () => [packed, json, yjs].forEach((client) => client.leave()) }
}

test('three kinds of clients see each other\'s edits', BOUND, async () => {
  const { packed, json, yjs, leave } = await three()
  await packed.ops(create('by-packed', { x: 1 }))
  await json.ops(create('by-json', { x: 2 }))
  yjs.draw('by-yjs', { x: 3 })
  const wanted = [['by-packed', 1], ['by-json', 2], ['by-yjs', 3]]
  for (const client of [packed, json, yjs]) {
    await until(`${client.user} sees all three`, () => wanted.every(([id, x]) => client.get(id, 'x') === x))
  }

  await packed.ops({ op: 'element.move', targets: ['by-yjs'], dx: 10, dy: 5 })
  await json.ops({ op: 'element.update', target: 'by-packed', set: { strokeColor: '#ff0000' } })
  yjs.set('by-json', 'y', 77)
  for (const client of [packed, json, yjs]) {
    await until(`${client.user} sees the changes`, () =>
      client.get('by-yjs', 'x') === 13 && client.get('by-packed', 'strokeColor') === '#ff0000' &&
      client.get('by-json', 'y') === 77)
  }
  leave()
})

test('a document written by ops is read by an unmodified yjs, and the other way round', BOUND, async () => {
  const board = newBoard()
  const writer = await new OwnClient(server, board, 'writer').connect()
  // Two points without pressures or times, as docs/PROTOCOL.md packs them.
  const points = new Uint8Array([0, 4, 2, 4, 200, 1, 8])
  await writer.ops(
    create('text', { type: 'text', text: '판서 ✍', fontSize: 20 }),
    create('line', { type: 'freedraw', points, angle: 0.5, groupIds: ['g'], extra: { roundness: { type: 3 } } })
  )
  await writer.ops({ op: 'element.delete', targets: ['text'] })

  const reader = await new Painter(server, board, 'reader').synced()
  assert.equal(reader.get('text', 'text'), '판서 ✍')
  assert.equal(typeof reader.get('text', 'deleted'), 'number')
  assert.deepEqual([...reader.get('line', 'points')], [...points])
  assert.equal(reader.get('line', 'angle'), 0.5)
  assert.deepEqual(reader.get('line', 'extra'), { roundness: { type: 3 } })

  reader.draw('back', { x: 50.5, text: '되돌아', points })
  await until('the writer has it', () => writer.get('back', 'x') === 50.5)
  assert.equal(writer.get('back', 'text'), '되돌아')
  assert.deepEqual([...writer.get('back', 'points')], [...points])

  const fresh = await new OwnClient(server, board, 'fresh', { document: true }).connect()
  await equal(fresh.doc, reader.doc)
  for (const client of [writer, reader, fresh]) client.leave()
})

test('a client with a document of its own sends updates by the own door', BOUND, async () => {
  for (const format of ['msgpack', 'json']) {
    const board = newBoard()
    const author = await new OwnClient(server, board, 'author', { document: true, format }).connect()
    const yjs = await new Painter(server, board, 'yjs').synced()
    const before = Y.encodeStateVector(author.doc)
    author.doc.getMap('board:elements').set('one', newElement({ x: 4 }))
    const ack = await author.update(Y.encodeStateAsUpdate(author.doc, before))
    assert.equal(ack.seq, 1)
    await until('the provider has it', () => yjs.get('one', 'x') === 4)
    await equal(author.doc, yjs.doc)
    author.leave()
    yjs.leave()
  }
})

test('undo of A leaves B\'s edit', BOUND, async () => {
  const { packed, json, yjs, leave } = await three()
  await packed.ops(create('x', { x: 0, strokeColor: '#000000' }))
  // One frame, one step: A recolours and moves.
  await packed.ops(
    { op: 'element.update', target: 'x', set: { strokeColor: '#ff0000' } },
    { op: 'element.move', targets: ['x'], dx: 100, dy: 0 }
  )
  await until('B sees both', () => json.get('x', 'x') === 100)
  await json.ops({ op: 'element.move', targets: ['x'], dx: 11, dy: 0 })

  const newest = await packed.ops({ op: 'undo' })
  assert.equal(newest.undone.steps.length, 1)
  for (const client of [packed, json, yjs]) {
    await until(`${client.user} sees the undo`, () => client.get('x', 'strokeColor') !== '#ff0000')
    assert.equal(client.get('x', 'x'), 111)
  }
  leave()
})

test('undo does not take back a place that a Yjs client has changed since', BOUND, async () => {
  const { packed, yjs, leave } = await three()
  await packed.ops(create('x', { x: 5 }))
  await until('the provider has it', () => yjs.get('x', 'x') === 5)
  yjs.set('x', 'x', 500)
  await until('A sees it', () => packed.get('x', 'x') === 500)
  const { undone } = await packed.ops({ op: 'undo' })
  assert.equal(undone.changed, 0)
  assert.equal(undone.skipped, 1)
  assert.equal(yjs.get('x', 'deleted'), undefined)
  leave()
})

test('pointers are seen across the doors, with the identity that the server knows', BOUND, async () => {
  const { packed, json, yjs, leave } = await three()
  packed.ephemeral('pointer', { x: 12, y: 34 })
  await until('the provider sees minji', () =>
    yjs.peers().some((state) => state.user?.id === 'minji' && state.pointer?.x === 12 && state.pointer?.y === 34))
  await until('the JSON client sees minji', () =>
    [...json.states.values()].some((state) => state.user === 'minji' && state.kind === 'pointer' && state.data.x === 12))

  yjs.show({ user: { name: 'Sora', id: 'the teacher' }, pointer: { x: 56, y: 78 } })
  for (const client of [packed, json]) {
    const state = await until(`${client.user} sees sora`, () =>
      [...client.states.values()].find((state) => state.user === 'sora' && state.kind === 'awareness' && state.data.pointer))
    assert.equal(state.data.pointer.x, 56)
    assert.equal(state.data.user.id, 'sora')
  }

  packed.cut()
  await until('minji is gone', () => yjs.peers().every((state) => state.user?.id !== 'minji'))
  leave()
})

test('a frame sent twice counts once', BOUND, async () => {
  const board = newBoard()
  const client = await new OwnClient(server, board, 'twice').connect()
  await client.ops(create('x'))
  const moved = client.ops({ op: 'element.move', targets: ['x'], dx: 1, dy: 0 })
  client.cut()
  await until('the cut is noticed', () => client.closed !== null)
  // Whether the frame had arrived or not, it is sent again under its number.
  await client.connect()
  await moved
  await until('the move is seen', () => client.get('x', 'x') === 1)
  await client.ops({ op: 'element.move', targets: ['x'], dx: 1, dy: 0 })
  await until('the next one too', () => client.get('x', 'x') === 2)
  client.leave()
})

test('a refused op changes nothing and says why', BOUND, async () => {
  const board = newBoard()
  const client = await new OwnClient(server, board, 'careless').connect()
  await assert.rejects(client.ops({ op: 'element.move', targets: ['nobody'], dx: 1, dy: 1 }), { code: 'not_found' })
  await client.ops(create('x'))
  await assert.rejects(client.ops(create('x', { x: 9 })), { code: 'conflict' })
  assert.equal(client.closed, null)
  client.leave()
})
