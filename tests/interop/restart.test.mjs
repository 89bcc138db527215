// kill -9 of the server under providers and own clients, and the same data again.

import { after, before, test } from 'node:test'
import assert from 'node:assert/strict'

import { OwnClient } from './lib/own.mjs'
import { Painter, equal } from './lib/painter.mjs'
import { Server, newBoard } from './lib/server.mjs'
import { until } from './lib/wait.mjs'

let server
before(async () => { server = await Server.start() })
after(() => server?.stop())

test('after kill -9 everybody comes back and is equal', { timeout: 120_000 }, async (context) => {
  if (!server.isOurs) return context.skip('the server at PANSEO_URL is not ours to kill')
  const board = newBoard()
  const painters = Array.from({ length: 5 }, (_, index) => new Painter(server, board, `p${index}`))
  await Promise.all(painters.map((painter) => painter.synced()))
  const own = await new OwnClient(server, board, 'own').connect()
  await own.ops({ op: 'element.create', element: { id: 'counted', type: 'rectangle', x: 0, y: 0, width: 1, height: 1 } })

  let moves = 0
  for (let round = 0; round < 5; round += 1) {
    const acknowledged = []
    for (let step = 0; step < 10; step += 1) {
      for (const [index, painter] of painters.entries()) painter.draw(`${index}-${round}-${step}`)
      acknowledged.push(own.ops({ op: 'element.move', targets: ['counted'], dx: 1, dy: 0 }))
      moves += 1
    }
    // Killed with frames under way: some are durable, some are not, none is lost.
    await acknowledged[round]
    await server.killAndRestart()
    await until('the own client notices', () => own.closed !== null)
    await own.connect()
    await Promise.all(acknowledged)
    await until('providers are back', () => painters.every((painter) => painter.provider.synced))
    await equal(...painters.map((painter) => painter.doc))
    assert.equal(painters[0].elements.size, 1 + painters.length * 10 * (round + 1))
  }

  const fresh = await new OwnClient(server, board, 'fresh').connect()
  assert.equal(fresh.get('counted', 'x'), moves)
  const newcomer = await new Painter(server, board, 'newcomer').synced()
  await equal(newcomer.doc, painters[0].doc)
  for (const client of [own, fresh, newcomer, ...painters]) client.leave()
})
