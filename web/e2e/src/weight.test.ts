// What a stroke weighs, and what many elements cost.

import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { Person, launch, until } from './browser'
import { Server } from './server'

let server: Server
let browser: Browser

beforeAll(async () => {
  server = await Server.start('open')
  browser = await launch()
})
afterAll(async () => {
  await browser?.close()
  await server?.stop()
})

test('a stroke of 152 points weighs little, on its way and in the end', async () => {
  const ann = await Person.open(browser, `${server.url}/b/weight?user=ann`)
  const frames: Buffer[] = []
  ann.page.on('websocket', (socket) => socket.on('framesent', ({ payload }) => frames.push(Buffer.from(payload))))
  await ann.page.reload()
  await ann.ready()
  await until('it is quiet', async () => (await ann.save()) === 'saved')
  await ann.press('p')
  await ann.down(300, 400)
  frames.length = 0
  for (let step = 1; step <= 151; step++) {
    await ann.page.mouse.move(300 + step * 3, 400 + 40 * Math.sin(step / 9))
  }
  await ann.up()
  await until('the stroke is saved', async () => {
    return (await server.entries('weight')).length === 1 && (await ann.save()) === 'saved'
  })
  const named = (name: string) => frames.filter((frame) => frame.includes(name))
  const [live, edits] = [named('ephemeral'), named('update')]
  const [stroke] = await server.entries('weight')
  const points = Buffer.from(stroke?.properties.points as string, 'base64').length
  expect(edits.length).toBe(1)
  expect(edits[0]?.length).toBeLessThanOrEqual(1_200)
  // At 60 points a second this takes two and a half seconds, 50 frames; the machine of this test may be slower.
  const bytes = live.reduce((sum, frame) => sum + frame.length + 6, 0)
  const frameBytes = (bytes - points) / live.length
  expect(points + 50 * frameBytes + (edits[0]?.length ?? 0)).toBeLessThanOrEqual(3_072)
  await ann.leave()
})

test('4,000 elements open, can be drawn on, and are warned of', async () => {
  const board = await server.boardOf(4_000)
  const ann = await Person.open(browser, `${server.url}/b/${board}?user=ann`)
  await ann.page.getByText('4000 elements on this page').waitFor()
  await ann.draws('r', [300, 300], [400, 400])
  await until('one more is written', async () => (await server.entries(board)).length === 4_001)
  await ann.leave()
})
