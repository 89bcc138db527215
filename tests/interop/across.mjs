// Unmodified y-websocket providers on one board, split over two nodes at PANSEO_ONE and PANSEO_TWO.

import { test } from 'node:test'
import assert from 'node:assert/strict'

import { Painter, equal } from './lib/painter.mjs'
import { newBoard } from './lib/server.mjs'
import { until } from './lib/wait.mjs'

/** A lost socket's presence goes within 2 s; four times that on a busy machine. */
const GHOST_MS = 8_000
const nodes = [process.env.PANSEO_ONE, process.env.PANSEO_TWO].map((address) => ({ ws: `ws://${address}` }))

const sees = (painter, user, x) =>
  painter.peers().some((state) => state.user?.id === user && (x === undefined || state.pointer?.x === x))

test('providers of both nodes see each other come, move and go', { timeout: 120_000 }, async () => {
  const board = newBoard()
  const painters = Array.from({ length: 8 }, (_, index) => new Painter(nodes[index % 2], board, `p${index}`))
  await Promise.all(painters.map((painter) => painter.synced()))
  for (const [index, painter] of painters.entries()) {
    painter.show({ user: { name: painter.user }, pointer: { x: index, y: index } })
    painter.draw(`of-${index}`)
  }
  const seeEachOther = (people) => until('everybody sees everybody', () =>
    people.every((painter) => people.every((other) => other === painter || sees(painter, other.user))))
  await seeEachOther(painters)
  for (let x = 100; x < 110; x += 1) {
    painters[0].show({ user: { name: 'p0' }, pointer: { x, y: 1 } })
    await until('a pointer crosses', () => painters.slice(1).every((painter) => sees(painter, 'p0', x)))
  }
  // One goes on at the other node, under the same client id.
  const mover = painters[0]
  mover.provider.disconnect()
  const others = painters.slice(1)
  await until('who left is gone', () => others.every((painter) => !sees(painter, 'p0')), GHOST_MS)
  mover.provider.serverUrl = `${nodes[1].ws}/yjs`
  mover.provider.connect()
  await mover.synced()
  mover.show({ user: { name: 'p0' }, pointer: { x: 500, y: 1 } })
  await until('who moved is there again', () => others.every((painter) => sees(painter, 'p0', 500)))
  await seeEachOther(painters)
  await equal(...painters.map((painter) => painter.doc))
  assert.equal(mover.elements.size, painters.length)
  for (const painter of painters.slice(0, 4)) painter.provider.destroy()
  const left = painters.slice(4)
  await until('nobody is left as a ghost', () => left.every((painter) => painter.peers().length === left.length - 1), GHOST_MS)
  for (const painter of left) painter.provider.destroy()
})
