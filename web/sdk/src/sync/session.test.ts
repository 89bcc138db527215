// The session against a server that says what each test wants: order, answers, and what people are told.

import { beforeEach, expect, test } from 'vitest'
import * as Y from 'yjs'
import { FakeClock, FakeSocket, settle } from '../../test/fake.ts'
import type { BoardState, OpenOptions, Refused } from '../api.ts'
import type { DocumentBoard } from './board.ts'
import { open } from './open.ts'

let clock: FakeClock

beforeEach(() => {
  clock = new FakeClock()
  FakeSocket.all = []
})

const enter = async (options: Partial<OpenOptions> = {}): Promise<DocumentBoard> => {
  const all = { url: 'http://host', board: 'lesson 7', user: 'mina', WebSocket: FakeSocket as never, ...options }
  const opening = open(all, { clock, browser: null })
  await settle()
  FakeSocket.newest.welcome()
  return (await opening) as DocumentBoard
}

const draw = (board: DocumentBoard, id: string, gesture?: string) =>
  board.edit((doc) => doc.getMap('board:elements').set(id, new Y.Map([['x', 1]])), gesture)

const states = (board: DocumentBoard): BoardState['save'][] => {
  const heard = [board.state.save]
  board.on('state', ({ save }) => heard.at(-1) !== save && heard.push(save))
  return heard
}

/** The line is cut, and the client comes back to a server that knows so much of it. */
const comeBack = async (seq: number, welcome: Parameters<FakeSocket['welcome']>[0] = {}) => {
  FakeSocket.newest.end(1006)
  await clock.pass(40_000)
  FakeSocket.newest.welcome({ seq, ...welcome })
  return FakeSocket.newest
}

/** A server's document, to see what edits come to. */
const serverDoc = (edits: { update?: Uint8Array }[]): Y.Doc => {
  const doc = new Y.Doc()
  for (const { update } of edits) if (update) Y.applyUpdate(doc, update)
  return doc
}

test('greets with outbox, user and what the document has', async () => {
  await enter()
  const [hello] = FakeSocket.newest.heard
  expect(FakeSocket.newest.url).toBe('ws://host/v1/boards/lesson%207/ws')
  expect(hello).toMatchObject({ t: 'hello', user: 'mina', document: true, vector: Uint8Array.of(0) })
})

test('gives back what a crash took from the server, behind the edits that wait [R-14]', async () => {
  const board = await enter()
  draw(board, 'a')
  FakeSocket.newest.ack(1)
  for (let count = 0; count < 300; count += 1) draw(board, 'b')
  const socket = await comeBack(0, { vector: Uint8Array.of(0) })
  const handedOver = () => socket.heard.flatMap((frame) => (frame.t === 'resync' ? [frame.update] : []))
  // More than may be in flight: the last ones would come as one edit without a number.
  for (let seq = 2; seq <= 301; seq += 1) {
    expect(handedOver()).toEqual([])
    socket.ack(seq)
  }
  expect(socket.seqs()).toHaveLength(300)
  const [update, ...rest] = handedOver()
  const doc = serverDoc([{ update: update as Uint8Array }])
  expect([[...doc.getMap('board:elements').keys()].sort(), rest]).toEqual([['a', 'b'], []])
})

test('what builds on what the server lost cannot wait for that: it is given back when the first edit is refused', async () => {
  const board = await enter()
  draw(board, 'a')
  FakeSocket.newest.ack(1)
  draw(board, 'b')
  draw(board, 'c')
  const socket = await comeBack(0, { vector: Uint8Array.of(0) })
  const handedOver = () => socket.heard.filter(({ t }) => t === 'resync')
  socket.say({ t: 'error', code: 'needs_resync', message: 'gap', seq: 2 })
  await clock.pass(20_000)
  expect(handedOver()).toHaveLength(0)
  socket.say({ t: 'error', code: 'needs_resync', message: 'gap', seq: 3 })
  expect(handedOver()).toHaveLength(1)
  expect(FakeSocket.newest).toBe(socket)
})

test('a hand-over that does not fit is given up, and nothing else: the board goes on from what the server has', async () => {
  const board = await enter()
  const heard: Refused[] = []
  board.on('refused', (refused) => heard.push(refused))
  draw(board, 'lost')
  FakeSocket.newest.ack(1)
  const socket = await comeBack(1, { vector: Uint8Array.of(0) })
  expect(socket.heard.at(-1)).toMatchObject({ t: 'resync' })
  socket.end(4422)
  expect(board.state.save).toBe('offline')
  draw(board, 'new')
  await clock.pass(5_000)
  const { newest } = FakeSocket
  newest.welcome({ seq: 1 })
  expect(newest.heard[0]).not.toHaveProperty('vector')
  expect([Object.keys(board.doc.getMap('board:elements').toJSON()), heard]).toEqual([['new'], []])
  for (const seq of newest.seqs()) newest.ack(seq)
  expect(board.state.save).toBe('saved')
  newest.end(4422)
  expect(board.state).toMatchObject({ save: 'read-only', why: 'fault' })
})

test('a refusal waits for the first who listens', async () => {
  const board = await enter()
  draw(board, 'bad')
  FakeSocket.newest.say({ t: 'error', code: 'bad_op', message: 'no', seq: 1 })
  await settle()
  FakeSocket.newest.welcome({ seq: 1 })
  const heard: Refused[][] = [[], []]
  const end = board.on('refused', () => end())
  end()
  for (const list of heard) {
    board.on('refused', (refused) => list.push(refused))
    await settle()
  }
  expect(heard).toMatchObject([[{ code: 'bad_op' }], []])
})

test('saved only when the last edit is acknowledged', async () => {
  const board = await enter()
  const heard = states(board)
  draw(board, 'a')
  draw(board, 'b')
  expect(board.state).toMatchObject({ save: 'saving', unsaved: 2 })
  FakeSocket.newest.ack(2)
  expect(board.state).toMatchObject({ save: 'saving', unsaved: 1 })
  FakeSocket.newest.ack(1)
  expect(heard).toEqual(['saved', 'saving', 'saved'])
})

test('what is not acknowledged is sent again, in order, under the same numbers', async () => {
  const board = await enter()
  for (const id of ['a', 'b', 'c', 'd']) draw(board, id)
  FakeSocket.newest.ack(1)
  const first = FakeSocket.newest.edits()
  const heard = states(board)
  FakeSocket.newest.end(1006)
  draw(board, 'e')
  expect(board.state).toMatchObject({ save: 'offline', unsaved: 4 })
  const socket = await comeBack(0)
  const again = socket.edits()
  expect(again.map(({ seq }) => seq)).toEqual([2, 3, 4, 5])
  expect(again.slice(0, 3)).toEqual(first.slice(1))
  for (const seq of [2, 3, 4, 5]) socket.ack(seq)
  expect(heard).toEqual(['saving', 'offline', 'saving', 'saved'])
})

test('a lost refusal does not look like an acknowledgement', async () => {
  const board = await enter()
  draw(board, 'a')
  const op = board.op({ op: 'undo' })
  // The server refused 1 and took 2; both answers were lost.
  const socket = await comeBack(2)
  expect(socket.seqs()).toEqual([1, 2])
  const told = new Promise((resolve) => board.on('refused', resolve))
  // The number keeps its refusal.
  socket.say({ t: 'error', code: 'bad_op', message: 'no', seq: 1 })
  socket.ack(2)
  await op
  expect(board.state).toMatchObject({ unsaved: 1 })
  await settle()
  FakeSocket.newest.welcome({ seq: 2 })
  expect(await told).toMatchObject({ code: 'bad_op' })
  expect(board.state.save).toBe('saved')
})

test('busy: all of it again later, in order, under new numbers, ops once', async () => {
  const board = await enter()
  draw(board, 'a')
  const op = board.op({ op: 'element.move', targets: ['a'], dx: 1, dy: 0 })
  const socket = FakeSocket.newest
  expect(socket.seqs()).toEqual([1, 2])
  socket.say({ t: 'error', code: 'busy', message: 'later', seq: 1 })
  draw(board, 'b')
  expect(socket.seqs()).toEqual([])
  socket.say({ t: 'error', code: 'busy', message: 'later', seq: 2 })
  await clock.pass(2_000)
  const again = socket.edits()
  expect(again.map(({ seq, t }) => [seq, t])).toEqual([
    [6, 'update'],
    [7, 'op'],
    [8, 'update']
  ])
  for (const seq of [6, 7, 8]) socket.ack(seq)
  await expect(op).resolves.toMatchObject({ undone: null })
  expect(board.state.save).toBe('saved')
})

test('ops that may be known by their number keep it when others are refused', async () => {
  const board = await enter()
  draw(board, 'a')
  void board.op({ op: 'element.move', targets: ['a'], dx: 1, dy: 0 })
  const socket = await comeBack(0)
  socket.edits()
  // Only the first is answered; then the line is cut again.
  socket.say({ t: 'error', code: 'busy', message: 'later', seq: 1 })
  const next = await comeBack(2)
  expect(next.edits().map(({ seq, t }) => [seq, t])).toEqual([
    [2, 'op'],
    [4, 'update']
  ])
})

test('what speaks of the board as it is does not go out when the line was dead for long', async () => {
  const board = await enter()
  const known = board.op({ op: 'board.clear', page: '' })
  const late = board.op({ op: 'board.clear', page: '' })
  const like = board.op({ op: 'like.set', target: 'a', on: true })
  draw(board, 'a')
  // The lid was closed.
  clock.set(3 * 3_600_000)
  const socket = await comeBack(1)
  await expect(late).rejects.toMatchObject({ code: 'late' })
  expect(socket.seqs()).toEqual([1, 3, 4])
  for (const seq of [1, 3, 4]) socket.ack(seq)
  await expect(Promise.all([known, like])).resolves.toHaveLength(2)
  expect(board.state).toMatchObject({ save: 'saved', unsaved: 0 })
})

test('after a short cut it goes out', async () => {
  const board = await enter()
  void board.op({ op: 'undo' })
  FakeSocket.newest.end(1006)
  await clock.pass(5_000)
  FakeSocket.newest.welcome()
  expect(FakeSocket.newest.seqs()).toEqual([1])
})

test('an image that cannot be looked for now holds up no strokes [R-34]', async () => {
  const board = await enter()
  const added = board.op({ op: 'asset.add', sha256: 'a'.repeat(64) })
  const socket = FakeSocket.newest
  draw(board, 'a')
  expect(socket.seqs()).toEqual([1, 2])
  socket.say({ t: 'error', code: 'busy', message: 'later', seq: 1 })
  draw(board, 'b')
  expect(socket.seqs()).toEqual([3])
  await expect(added).rejects.toMatchObject({ code: 'busy' })
})

test('who was a viewer for a while only draws on without a connection', async () => {
  const board = await enter()
  const roles: unknown[] = []
  board.on('role', ({ role }) => roles.push(role))
  const tell = (why: string) => FakeSocket.newest.say({ t: 'role', role: 'viewer', why })
  tell('the server cannot save now: the board is read-only until it can')
  FakeSocket.newest.end(1012)
  expect([board.role, board.state.save]).toEqual(['teacher', 'offline'])
  await clock.pass(40_000)
  FakeSocket.newest.welcome({ role: 'viewer' })
  tell('the server cannot save now: the board is read-only until it can')
  expect(board.role).toBe('viewer')
  FakeSocket.newest.end(1012)
  expect([board.role, roles]).toEqual(['teacher', ['viewer', 'teacher', 'viewer', 'viewer', 'teacher']])
  await clock.pass(40_000)
  FakeSocket.newest.welcome()
  tell('a teacher changed it')
  FakeSocket.newest.end(1012)
  expect(board.role).toBe('viewer')
})

test('a board that takes no edits for a while: they wait, and go when it does again', async () => {
  const board = await enter()
  const socket = FakeSocket.newest
  socket.say({ t: 'role', role: 'viewer', why: 'the server cannot save now' })
  draw(board, 'a')
  const op = board.op({ op: 'undo' })
  socket.seqs()
  socket.say({ t: 'error', code: 'read_only', message: 'not now', seq: 1 })
  socket.say({ t: 'error', code: 'read_only', message: 'not now', seq: 2 })
  await expect(op).rejects.toMatchObject({ code: 'read_only' })
  expect(board.state).toMatchObject({ save: 'read-only', why: 'board_read_only', unsaved: 1 })
  await clock.pass(3_000)
  const [again] = socket.edits()
  socket.say({ t: 'error', code: 'read_only', message: 'not now', seq: again?.seq ?? 0 })
  socket.say({ t: 'role', role: 'teacher', why: 'the board takes edits again' })
  const [edit] = socket.edits()
  socket.ack(edit?.seq ?? 0)
  expect(board.state).toMatchObject({ save: 'saved', why: null, unsaved: 0 })
})

test('a refused op rejects with its code and changes nothing else', async () => {
  const board = await enter()
  const op = board.op({ op: 'undo' })
  FakeSocket.newest.say({ t: 'error', code: 'nothing_to_undo', message: 'no', seq: 1 })
  await expect(op).rejects.toMatchObject({ name: 'OpError', code: 'nothing_to_undo' })
  expect(board.state.save).toBe('saved')
})

test('a refused edit leaves the document, those beside it are written again', async () => {
  const board = await enter()
  const heard: Refused[] = []
  board.on('refused', (refused) => heard.push(refused))
  draw(board, 'bad')
  draw(board, 'good', '01980000-0000-7000-8000-000000000001')
  const old = board.doc
  const socket = FakeSocket.newest
  socket.say({ t: 'error', code: 'bad_op', message: 'no', seq: 1 })
  socket.say({ t: 'error', code: 'needs_resync', message: 'gap', seq: 2 })
  await settle()
  expect(FakeSocket.newest).not.toBe(socket)
  FakeSocket.newest.welcome()
  expect(FakeSocket.newest.heard[0]).not.toHaveProperty('vector')
  const [edit, ...rest] = FakeSocket.newest.edits()
  expect([edit?.seq, edit?.gesture, rest]).toEqual([5, '01980000-0000-7000-8000-000000000001', []])
  expect(Object.keys(board.doc.getMap('board:elements').toJSON())).toEqual(['good'])
  expect(board.doc.clientID).not.toBe(old.clientID)
  expect(heard).toMatchObject([{ code: 'bad_op', entries: [{ kind: 'element', id: 'bad', properties: { x: 1 } }] }])
  FakeSocket.newest.ack(5)
  expect(board.state).toMatchObject({ save: 'saved', unsaved: 0 })
})

test('a client id of another user: new document, the drawing is written again', async () => {
  const board = await enter()
  draw(board, 'a')
  const old = board.doc
  FakeSocket.newest.end(4409)
  expect(board.state).toMatchObject({ save: 'offline', unsaved: 1 })
  await clock.pass(5_000)
  FakeSocket.newest.welcome()
  expect(board.doc).not.toBe(old)
  const edits = FakeSocket.newest.edits()
  expect(
    serverDoc(edits as never)
      .getMap('board:elements')
      .toJSON()
  ).toEqual({ a: { x: 1 } })
  expect([...Y.decodeStateVector(Y.encodeStateVector(serverDoc(edits as never))).keys()]).toEqual([board.doc.clientID])
})

test("if it is refused as another user's again and again, it is told and left out", async () => {
  const board = await enter()
  const heard: Refused[] = []
  board.on('refused', (refused) => heard.push(refused))
  draw(board, 'a')
  for (let attempt = 0; attempt < 3; attempt += 1) {
    FakeSocket.newest.end(4409)
    await clock.pass(5_000)
    FakeSocket.newest.welcome()
  }
  expect(heard).toMatchObject([{ code: 'foreign_client', entries: [{ id: 'a' }] }])
  expect(board.state.save).toBe('saved')
})

test('what builds on lost work of others waits for them, then is written anew', async () => {
  const others = new Y.Doc()
  others.getMap('board:elements').set('theirs', new Y.Map(Object.entries({ type: 'text', x: 1 })))
  const board = await enter()
  const time = { id: [9, 1] as [number, number], author: 'juno', kind: 'update' as const, time: 1 }
  FakeSocket.newest.say({ t: 'event', ...time, update: Y.encodeStateAsUpdate(others) })
  const theirs = board.doc.getMap<Y.Map<unknown>>('board:elements').get('theirs') as Y.Map<unknown>
  board.doc.transact(() => theirs.set('x', 2))
  let sent: number[] = []
  for (let round = 0; round < 30 && sent.at(-1) !== -1; round += 1) {
    const socket = FakeSocket.newest
    if (socket.readyState === 0) {
      socket.welcome()
      sent = [-1]
      continue
    }
    for (const { seq } of socket.edits()) {
      sent.push(seq)
      socket.say({ t: 'error', code: 'needs_resync', message: 'gap', seq })
    }
    await clock.pass(1_500)
  }
  const edits = FakeSocket.newest.edits()
  expect(
    serverDoc(edits as never)
      .getMap('board:elements')
      .toJSON()
  ).toEqual({ theirs: { type: 'text', x: 2 } })
})

test('a large edit waits until it can be the first of a connection; a larger one is refused here', async () => {
  const board = await enter()
  const heard: Refused[] = []
  board.on('refused', (refused) => heard.push(refused))
  const text = (length: number) =>
    board.edit((doc) => doc.getMap('board:elements').set(`t${length}`, new Y.Map([['text', 'x'.repeat(length)]])))
  draw(board, 'small')
  text(4_000)
  const first = FakeSocket.newest
  expect(first.seqs()).toEqual([1])
  first.ack(1)
  await settle()
  expect(FakeSocket.newest).not.toBe(first)
  FakeSocket.newest.welcome({ seq: 1 })
  expect(FakeSocket.newest.seqs()).toEqual([2])
  FakeSocket.newest.ack(2)
  text(9_000)
  await settle()
  FakeSocket.newest.welcome({ seq: 2 })
  expect(heard).toMatchObject([{ code: 'too_large' }])
  await expect(board.op({ op: 'comment.add', comment: 'c', text: 'x'.repeat(5_000) })).rejects.toMatchObject({
    code: 'too_large'
  })
})

test("malformed by the server's word: what was under way is not sent again", async () => {
  const board = await enter()
  const heard: Refused[] = []
  board.on('refused', (refused) => heard.push(refused))
  draw(board, 'a')
  const op = board.op({ op: 'undo' })
  FakeSocket.newest.end(4400)
  await expect(op).rejects.toMatchObject({ code: 'malformed' })
  draw(board, 'b')
  await clock.pass(5_000)
  FakeSocket.newest.welcome()
  expect(heard).toMatchObject([{ code: 'malformed', entries: [{ id: 'a' }] }])
  expect(Object.keys(board.doc.getMap('board:elements').toJSON())).toEqual(['b'])
})

test.each([
  [4403, 'forbidden'],
  [4404, 'no_board']
])('after %i it is read-only and says why', async (code, why) => {
  const board = await enter()
  draw(board, 'a')
  FakeSocket.newest.end(code)
  expect(board.state).toMatchObject({ save: 'read-only', why, unsaved: 1 })
  await expect(board.saved()).rejects.toMatchObject({ code: 'closed' })
  await expect(board.op({ op: 'undo' })).rejects.toMatchObject({ code: 'closed' })
})

test('the token is a function and goes in the first frame; it is asked again when refused', async () => {
  let asked = 0
  const board = await enter({ token: () => `token ${++asked}` })
  expect(FakeSocket.newest.heard[0]).toMatchObject({ token: 'token 1' })
  FakeSocket.newest.end(1006)
  await clock.pass(500)
  FakeSocket.newest.accept()
  expect(FakeSocket.newest.heard[0]).toMatchObject({ token: 'token 1' })
  FakeSocket.newest.end(4401)
  await clock.pass(10)
  FakeSocket.newest.welcome()
  expect(FakeSocket.newest.heard[0]).toMatchObject({ token: 'token 2' })
  expect(board.state.save).toBe('saved')
})

test('a token that does not come is asked for again', async () => {
  let asked = 0
  const source = () => (++asked === 1 ? new Promise<string>(() => {}) : 'token')
  const opening = open(
    { url: 'http://host', board: 'b', WebSocket: FakeSocket as never, token: source },
    { clock, browser: null }
  )
  await clock.pass(25_000)
  FakeSocket.newest.welcome()
  await opening
  expect([asked, FakeSocket.newest.heard[0]]).toMatchObject([2, { token: 'token' }])
})

test('unknown frames and errors without a number are as if they had not come', async () => {
  const board = await enter()
  const heard = states(board)
  FakeSocket.newest.say({ t: 'weather' } as never)
  FakeSocket.newest.say({ t: 'error', code: 'bad_op', message: 'a pointer needs numbers' })
  FakeSocket.newest.ack(77)
  expect(heard).toEqual(['saved'])
})

test('opening fails with a reason where there will be no board', async () => {
  const opening = open({ url: 'http://host', board: 'b', WebSocket: FakeSocket as never }, { clock, browser: null })
  await settle()
  FakeSocket.newest.end(4404)
  await expect(opening).rejects.toMatchObject({ code: 'no_board' })
  expect(clock.waiting).toBe(0)
})

test('opening can be called off', async () => {
  const off = new AbortController()
  const { signal } = off
  const opening = open(
    { url: 'http://host', board: 'b', WebSocket: FakeSocket as never, signal },
    { clock, browser: null }
  )
  await settle()
  FakeSocket.newest.end(1006)
  off.abort()
  await expect(opening).rejects.toMatchObject({ code: 'closed' })
  expect(clock.waiting).toBe(0)
})
