// Servers that die, lines that are cut, rights that change: nothing acknowledged is lost, nothing is doubled, and the
// state never says «saved» before it is.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Board, openRest, type Refused, uuid } from '../src/index.ts'
import { CutSocket, draw, equal, get, ids, join, newBoard, set } from './people.ts'
import { Server, until } from './server.ts'

let server: Server
const open: Board[] = []
beforeAll(async () => {
  server = await Server.start('--auth', 'open', '--no-rate-limits')
})
afterAll(async () => {
  for (const board of open) await board.close()
  await server?.stop()
})

const enter = async (board: string, user: string): Promise<Board> => {
  const entered = await join(server.url, board, user, { WebSocket: CutSocket })
  open.push(entered)
  return entered
}

/** The network fails for everybody: sockets go without a goodbye. */
const cut = () => {
  for (const socket of CutSocket.open) socket.terminate()
}

const refusals = (board: Board): Refused[] => {
  const heard: Refused[] = []
  board.on('refused', (refused) => heard.push(refused))
  return heard
}

test('a server that dies loses nothing that it acknowledged, and gets the rest again', async () => {
  const name = newBoard()
  const mina = await enter(name, 'mina')
  const juno = await enter(name, 'juno')
  const wanted: string[] = []
  for (let round = 0; round < 4; round += 1) {
    for (let shape = 0; shape < 30; shape += 1)
      wanted.push(draw(mina, `${round}-m${shape}`), draw(juno, `${round}-j${shape}`))
    const op = mina.op({ op: 'element.create', element: { id: `${round}-op`, type: 'text', x: 0, y: 0, text: '판서' } })
    wanted.push(`${round}-op`)
    await server.kill()
    for (let shape = 0; shape < 5; shape += 1) wanted.push(draw(mina, `${round}-off${shape}`))
    await until('she knows', () => mina.state.save === 'offline')
    expect(mina.state.unsaved).toBeGreaterThanOrEqual(5)
    await server.run()
    await Promise.all([op, mina.saved(), juno.saved()])
    await equal(mina, juno)
  }
  const late = await enter(name, 'late')
  expect(ids(late)).toEqual(wanted.sort())
  // Ops are not done twice: each was one step of undo.
  await mina.op({ op: 'element.move', targets: ['0-op'], dx: 5, dy: 0 })
  await until('once', () => get(late, '0-op', 'x') === 5)
})

test('moves by a distance count once, however often the line is cut', async () => {
  const name = newBoard()
  const mina = await enter(name, 'mina')
  draw(mina, 'ball', { x: 0 })
  await mina.saved()
  const moves: Promise<unknown>[] = []
  for (let move = 0; move < 60; move += 1) {
    moves.push(mina.op({ op: 'element.move', targets: ['ball'], dx: 1, dy: 0 }))
    draw(mina, `beside${move}`)
    if (move % 6 === 0) {
      cut()
      await until('she is back', () => mina.state.save !== 'offline')
    }
  }
  await Promise.all(moves)
  await mina.saved()
  await until('all moves are seen', () => get(mina, 'ball', 'x') === 60)
  expect(ids(await enter(name, 'late'))).toHaveLength(61)
})

test('a viewer is refused, and the screen goes back to what the board is', async () => {
  const name = newBoard()
  const teacher = await enter(name, 'teacher')
  draw(teacher, 'sum', { x: 1 })
  await teacher.saved()
  const rest = openRest({ url: server.url, user: 'teacher' })
  await rest.setRole(name, 'student', 'viewer')
  const student = await enter(name, 'student')
  expect(student.state).toMatchObject({ save: 'read-only', why: 'viewer' })
  const heard = refusals(student)
  draw(student, 'scribble')
  set(student, 'sum', 'x', 99)
  await until(
    'it is undone',
    () => ids(student).join() === 'sum' && get(student, 'sum', 'x') === 1 && student.state.unsaved === 0
  )
  await until('and told', () => heard.length === 2)
  expect(heard[0]).toMatchObject({ code: 'forbidden', entries: [{ kind: 'element', id: 'scribble' }] })
  expect(heard[1]).toMatchObject({ code: 'forbidden', entries: [{ id: 'sum', properties: { x: 99 } }] })
  await expect(student.op({ op: 'undo' })).rejects.toMatchObject({ code: 'forbidden' })

  await rest.setRole(name, 'student', 'editor')
  await until('the pen is given', () => student.role === 'editor' && student.state.save === 'saved')
  draw(student, 'answer')
  await student.saved()
  await equal(student, teacher)
  expect(ids(teacher)).toEqual(['answer', 'sum'])
})

test('who loses the pen while away keeps what was saved, and hears of the rest', async () => {
  const name = newBoard()
  const teacher = await enter(name, 'teacher')
  const student = await enter(name, 'student')
  const rest = openRest({ url: server.url, user: 'teacher' })
  await rest.setRole(name, 'student', 'editor')
  draw(student, 'early', { x: 1 })
  await student.saved()
  const heard = refusals(student)
  CutSocket.isBarred = true
  cut()
  draw(student, 'late')
  set(student, 'early', 'x', 50)
  await rest.setRole(name, 'student', 'viewer')
  CutSocket.isBarred = false
  await until('she sees the board as it is', () => student.state.unsaved === 0 && student.state.why === 'viewer')
  expect([ids(student), get(student, 'early', 'x')]).toEqual([['early'], 1])
  expect(heard.map(({ code, entries }) => [code, entries[0]?.id])).toEqual([
    ['forbidden', 'late'],
    ['forbidden', 'early']
  ])
  await equal(student, teacher)
})

test('a refused edit takes nothing else with it', async () => {
  const name = newBoard()
  const mina = await enter(name, 'mina')
  draw(mina, 'base', { x: 0 })
  await mina.saved()
  const heard = refusals(mina)
  const documents: unknown[] = []
  mina.on('document', (doc) => documents.push(doc))
  const first = uuid()
  // An element is a map: this does not fit the schema, and what the same document does next builds on it.
  mina.edit((doc) => doc.getMap('board:elements').set('bad', 'text'))
  draw(mina, 'good', { x: 3 }, first)
  set(mina, 'good', 'x', 4, first)
  set(mina, 'base', 'x', 8)
  await mina.saved()
  expect(heard.map(({ code }) => code)).toEqual(['bad_op'])
  expect(documents).toEqual([mina.doc])
  expect([ids(mina), get(mina, 'good', 'x'), get(mina, 'base', 'x')]).toEqual([['base', 'good'], 4, 8])
  await equal(mina, await enter(name, 'juno'))
  // The gesture is still one step.
  await mina.op({ op: 'undo' })
  await mina.op({ op: 'undo' })
  await until('base and good are taken back', () => ids(mina).join() === 'base' && get(mina, 'base', 'x') === 0)
})
