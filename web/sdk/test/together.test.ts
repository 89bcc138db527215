// Two people, one server: what one draws the other sees, and nothing that was acknowledged is ever lost.

import { afterAll, beforeAll, expect, test } from 'vitest'
import WebSocket from 'ws'
import { type Board, openBoard, openRest, uuid } from '../src/index.ts'
import { draw, equal, get, ids, join, newBoard, set } from './people.ts'
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

const people = async (...names: string[]): Promise<Board[]> => {
  const board = newBoard()
  const all = await Promise.all(names.map((name) => join(server.url, board, name)))
  open.push(...all)
  return all
}

test('two people draw and converge', async () => {
  const [mina, juno] = (await people('mina', 'juno')) as [Board, Board]
  for (let round = 0; round < 50; round += 1) {
    draw(mina, `m${round}`)
    draw(juno, `j${round}`)
    if (round > 0) set(mina, `m${round - 1}`, 'strokeColor', '#ff0000')
  }
  await Promise.all([mina.saved(), juno.saved()])
  await equal(mina, juno)
  expect(ids(mina)).toHaveLength(100)
  expect(mina.state).toEqual({ save: 'saved', unsaved: 0, why: null, device: 'off' })
})

test('undo takes back a whole gesture of one person', async () => {
  const [mina, juno] = (await people('mina', 'juno')) as [Board, Board]
  const drag = uuid()
  draw(juno, 'of-juno')
  draw(mina, 'shape', { x: 1 })
  for (let x = 2; x < 10; x += 1) set(mina, 'shape', 'x', x, drag)
  const { undone } = await mina.op({ op: 'undo' })
  expect(undone).toMatchObject({ changed: 1, skipped: 0 })
  await until('the shape is back', () => get(mina, 'shape', 'x') === 1 && get(juno, 'shape', 'x') === 1)
  await mina.op({ op: 'redo' })
  await until('the drag is back', () => get(juno, 'shape', 'x') === 9)
  await mina.op({ op: 'undo' })
  await mina.op({ op: 'undo' })
  await until('only the shape of the other is left', () => String(ids(juno)) === 'of-juno')
  await expect(mina.op({ op: 'undo' })).rejects.toMatchObject({ code: 'nothing_to_undo' })
})

test('a board without a document speaks in ops and hears in changes', async () => {
  const [mina] = (await people('mina')) as [Board]
  const bot = await openBoard({ url: server.url, board: mina.id, user: 'bot', WebSocket, document: false })
  await bot.op({ op: 'element.create', element: { id: 'by-bot', type: 'ellipse', x: 1, y: 2 } })
  await until('it is seen', () => get(mina, 'by-bot', 'type') === 'ellipse')
  set(mina, 'by-bot', 'x', 7)
  await until('the bot hears', () => bot.entries.get('element:by-bot')?.properties.x === 7)
  await expect(bot.op({ op: 'element.move', targets: ['none'], dx: 1, dy: 1 })).rejects.toMatchObject({
    code: 'not_found'
  })
  await bot.close()
})

test('people and pointers come and go', async () => {
  const [mina, juno] = (await people('mina', 'juno')) as [Board, Board]
  const names = (board: Board) => String([...board.people.values()].map(({ user }) => user).sort())
  await until('they see each other', () => names(mina) === 'juno,mina' && names(juno) === 'juno,mina')
  expect([...mina.people.values()].filter(({ isSelf }) => isSelf)).toMatchObject([{ user: 'mina' }])
  const strokes: unknown[] = []
  juno.on('ephemeral', ({ kind, data }) => kind === 'stroke' && strokes.push(data))
  for (let x = 0; x <= 100; x += 1) mina.pointer(x, 5)
  const gesture = uuid()
  mina.stroke(gesture, { points: [1, 2] })
  mina.stroke(gesture, { points: [3, 4] })
  await until('the newest pointer is seen', () => juno.shown.some(({ data }) => (data as { x: number }).x === 100))
  await until('all of the stroke is seen', () => JSON.stringify(strokes) === '[{"points":[1,2]},{"points":[3,4]}]')
  await mina.close()
  await until('nobody is left behind', () => names(juno) === 'juno' && juno.shown.length === 0)
})

test('REST makes, lists and exports boards, and keeps images', async () => {
  const rest = openRest({ url: server.url, user: 'mina' })
  const { id } = await rest.createBoard({ title: '수학 3-2' })
  expect(await rest.board(id)).toMatchObject({ title: '수학 3-2', role: 'teacher', owner: 'mina' })
  expect((await rest.boards(undefined, 500)).boards.map((board) => board.id)).toContain(id)
  const png = new Uint8Array(
    Buffer.from(
      'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
      'base64'
    )
  )
  const { sha256, mimeType } = await rest.putAsset(id, png)
  expect(mimeType).toBe('image/png')
  expect(new Uint8Array(await (await rest.asset(id, sha256)).arrayBuffer())).toEqual(png)
  const board = await join(server.url, id, 'mina')
  open.push(board)
  await board.op({ op: 'asset.add', sha256 })
  draw(board, 'exported')
  await board.saved()
  expect(await (await rest.export(id, 'excalidraw')).text()).toContain('exported')
  await expect(rest.board('no-such-board')).rejects.toMatchObject({ status: 404, code: 'not_found' })
})
