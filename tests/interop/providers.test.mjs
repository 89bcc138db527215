// Unmodified y-websocket providers on one board, with drops and reconnects.

import { after, before, describe, test } from 'node:test'
import assert from 'node:assert/strict'

import { Painter, equal } from './lib/painter.mjs'
import { Server, newBoard } from './lib/server.mjs'
import { seeded, until } from './lib/wait.mjs'

/** A lost socket's presence goes within 2 s; four times that on a busy machine, far below awareness' own 30 s. */
const GHOST_MS = 8_000

let server
before(async () => { server = await Server.start() })
after(() => server?.stop())

/** Everybody edits everybody's elements while connections are cut, closed and opened again. */
const lesson = async (people, rounds) => {
  const board = newBoard()
  const random = seeded()
  const painters = Array.from({ length: people }, (_, index) => new Painter(server, board, `p${index}`))
  await Promise.all(painters.map((painter) => painter.synced()))
  for (const [index, painter] of painters.entries()) {
    painter.show({ user: { name: painter.user }, pointer: { x: index, y: index } })
    painter.draw(`of-${index}`, { x: index })
  }
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, painter] of painters.entries()) {
      disturb(painter, random)
      painter.set(`of-${index}`, 'x', round * 100 + index)
      const other = `of-${random.below(people)}`
      // An element of somebody else is there only once it has arrived.
      if (painter.elements.has(other)) painter.set(other, 'strokeColor', `#00${String(round % 100).padStart(2, '0')}ff`)
      painter.draw(`${index}-${round}`)
    }
    const witness = painters[random.below(people)]
    if (witness.provider.shouldConnect) await until('an edit makes its way', () => witness.provider.synced)
  }
  for (const painter of painters) painter.provider.connect()
  await Promise.all(painters.map((painter) => painter.synced()))
  await equal(...painters.map((painter) => painter.doc))
  assert.equal(painters[0].elements.size, people * (rounds + 1))
  return { board, painters }
}

const disturb = (painter, random) => {
  const dice = random.below(12)
  if (dice === 0) painter.cut()
  else if (dice === 1) painter.provider.disconnect()
  else if (dice <= 4) painter.provider.connect()
}

for (const [people, rounds] of [[2, 40], [10, 20], [40, 8]]) {
  test(`${people} providers with drops end equal, and leave no ghost`, { timeout: 120_000 }, async () => {
    const { board, painters } = await lesson(people, rounds)
    // Pointers move: after a cut a peer shows again only with a newer state than the one the server took away.
    let moves = 0
    await until('everybody sees everybody', () => {
      if (painters.every((painter) => painter.peers().length === people - 1)) return true
      moves += 1
      if (moves % 20 === 1) for (const painter of painters) painter.show({ user: { name: painter.user }, pointer: { x: moves, y: 0 } })
      return false
    })

    const newcomer = new Painter(server, board, 'newcomer')
    await newcomer.synced()
    await equal(newcomer.doc, painters[0].doc)

    // Half of them say goodbye, half of them just vanish.
    for (const [index, painter] of painters.entries()) {
      if (index % 2 === 1) {
        painter.provider.shouldConnect = false
        painter.cut()
      }
      painter.leave()
    }
    await until('presence is empty', () => newcomer.peers().length === 0, GHOST_MS)
    newcomer.leave()
  })
}

describe('one painter away from the network', () => {
  test('what was drawn offline arrives with the reconnect', { timeout: 60_000 }, async () => {
    const board = newBoard()
    const [alice, bob] = [new Painter(server, board, 'alice'), new Painter(server, board, 'bob')]
    await Promise.all([alice.synced(), bob.synced()])
    alice.draw('shared', { x: 1 })
    await until('bob has it', () => bob.get('shared', 'x') === 1)

    alice.provider.disconnect()
    alice.set('shared', 'x', 2)
    alice.draw('offline')
    bob.set('shared', 'y', 3)
    alice.provider.connect()

    await alice.synced()
    await equal(alice.doc, bob.doc)
    assert.equal(bob.get('shared', 'x'), 2)
    assert.equal(alice.get('shared', 'y'), 3)
    assert.ok(bob.elements.has('offline'))
    alice.leave()
    bob.leave()
  })

  test('a provider that is alone for longer than its watchdog keeps its connection', { timeout: 90_000 }, async () => {
    const painter = await new Painter(server, newBoard(), 'alone').synced()
    painter.show({ user: { name: 'alone' } })
    let closes = 0
    painter.provider.on('connection-close', () => { closes += 1 })
    // The provider closes after 30 s without a message; the server has to say something before that.
    const begin = Date.now()
    await until('its watchdog has passed', () => Date.now() - begin > 36_000, 60_000)
    assert.equal(closes, 0)
    assert.ok(painter.provider.synced)
    painter.leave()
  })
})
