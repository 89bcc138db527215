// Two nodes over Kafka and PostgreSQL: a board's clients go to the node that serves it best, and on when that one dies.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { draw, ids, join as joinBoard, newBoard } from './people.ts'
import { Server, until } from './server.ts'

const { PANSEO_TEST_KAFKA: kafka, PANSEO_TEST_POSTGRES: postgres, PANSEO_TEST_ALL: all } = process.env
const isThere = kafka !== undefined && postgres !== undefined
if (all && !isThere) throw new Error('PANSEO_TEST_KAFKA and PANSEO_TEST_POSTGRES must be set')

const hostsOf = async (node: Server, board: string): Promise<string[]> => {
  const answer = await fetch(`${node.url}/v1/boards/${board}/route?user=mina`)
  return ((await answer.json()) as { hosts: string[] }).hosts
}

test.skipIf(!isThere)('goes to the best node, and to the other one when it is killed', async () => {
  const assets = await mkdtemp(join(tmpdir(), 'panseo-assets-'))
  const nodes = [
    await Server.node('one', kafka ?? '', postgres ?? '', assets),
    await Server.node('two', kafka ?? '', postgres ?? '', assets)
  ]
  const board = newBoard()
  const [one] = nodes as [Server, Server]
  await fetch(`${one.url}/v1/boards?user=mina`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ id: board, title: 'lesson' })
  })
  const best = await until('both nodes name one host', async () => {
    const [first, second] = await Promise.all(nodes.map((node) => hostsOf(node, board)))
    return first?.length === 2 && first[0] === second?.[0] && first[0]
  })
  const owner = nodes.find(({ url }) => url === best) as Server
  const other = nodes.find(({ url }) => url !== best) as Server

  const mina = await joinBoard(other.url, board, 'mina')
  await other.kill()
  draw(mina, 'while the first address is dead')
  await mina.saved()
  await other.run()
  const juno = await joinBoard(other.url, board, 'juno')
  await owner.kill()
  draw(mina, 'after the best node died')
  await mina.saved()
  const drawn = ['after the best node died', 'while the first address is dead']
  await until('the other one has all', () => String(ids(juno).sort()) === String(drawn))
  expect(mina.state).toMatchObject({ save: 'saved', unsaved: 0 })

  await Promise.all([mina.close(), juno.close()])
  for (const node of nodes) await node.stop()
  await rm(assets, { recursive: true })
})
