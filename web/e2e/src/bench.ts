// The figures of docs/PERFORMANCE.md, «Browser»: `make bench-web`, on a quiet machine, with the release binary.

import { gzipSync } from 'node:zlib'

import { afterAll, test } from 'vitest'

import { Person, until } from './browser'
import { browser, server, setUp } from './fixture'
import { reachedAt, watchStroke } from './paint'

/** A stroke at the pace of a screen: 152 points in two and a half seconds. */
const POINTS = 152
const FRAME_MS = 1_000 / 60
const STROKES = 4
const WATCHED_MS = 4_000

const rows: [what: string, figure: string, goal: string][] = []

setUp('open')
afterAll(() => {
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => (row[column] as string).length)))
  for (const row of rows)
    console.log(`| ${row.map((cell, column) => cell.padEnd(widths[column] as number)).join(' | ')} |`)
})

const visit = (board: string, user: string) => Person.open(browser, `${server.url}/b/${board}?user=${user}`)
const round = (value: number) => Math.round(value).toString()
const quantile = (values: number[], part: number) =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))] ?? NaN

/** Draws from left to right, one point a frame whatever the answers take; where each point was made, and when. */
async function draws(person: Person, y: number): Promise<void> {
  await person.down(300, y)
  const begin = performance.now()
  const moves: Promise<void>[] = []
  for (let step = 1; step < POINTS; step++) {
    const due = begin + step * FRAME_MS - performance.now()
    if (due > 0) await new Promise((resolve) => setTimeout(resolve, due))
    moves.push(person.page.mouse.move(300 + step * 4, y + 10 * Math.sin(step / 9)))
  }
  await Promise.all(moves)
  await person.up()
}

test('a live stroke', async () => {
  const [ann, bob] = [await visit('live', 'ann'), await visit('live', 'bob')]
  const sent: number[] = []
  ann.page.on('websocket', (socket) =>
    // With the head of a WebSocket frame.
    socket.on('framesent', ({ payload }) => sent.push(payload.length + (payload.length < 126 ? 6 : 8)))
  )
  await ann.page.reload()
  await ann.ready()
  await until('it is quiet', async () => (await ann.save()) === 'saved')
  await ann.press('p')
  const delays: number[] = []
  const bytes: number[] = []
  for (let stroke = 0; stroke < STROKES; stroke++) {
    const y = 200 + stroke * 100
    await watchStroke(ann, bob, y)
    sent.length = 0
    await draws(ann, y)
    await until('it is written', async () => (await server.entries('live')).length === stroke + 1)
    await until('it is saved', async () => (await ann.save()) === 'saved')
    bytes.push(sent.reduce((sum, size) => sum + size, 0))
    delays.push(...(await reachedAt(ann, bob)))
  }
  rows.push([
    'pointer event to paint in the other browser, live stroke, p50',
    `${round(quantile(delays, 0.5))} ms`,
    '60'
  ])
  rows.push(['the same, p95', `${round(quantile(delays, 0.95))} ms`, '150'])
  rows.push([`wire bytes of a stroke of ${POINTS} points, all of them`, round(quantile(bytes, 0.5)), '3,072'])
  await ann.leave()
  await bob.leave()
})

test('a drag, watched', async () => {
  const board = await server.boardOf(5_000)
  const [ann, bob] = [await visit(board, 'ann'), await visit(board, 'bob')]
  await ann.draws('r', [400, 300], [500, 400])
  await until('it is written', async () => (await server.entries(board)).length === 5_001)
  await ann.press('v')
  await ann.down(400, 350)
  const frames = bob.page.evaluate(
    (ms) =>
      new Promise<number>((done) => {
        const end = performance.now() + ms
        let count = 0
        const frame = () => (performance.now() < end ? (count++, requestAnimationFrame(frame)) : done(count))
        requestAnimationFrame(frame)
      }),
    WATCHED_MS
  )
  const end = performance.now() + WATCHED_MS
  for (let step = 0; performance.now() < end; step++) await ann.page.mouse.move(400 + 3 * (step % 100), 350)
  const rate = (await frames) / (WATCHED_MS / 1_000)
  rows.push(['frames a second of one who watches another drag, 5000 elements in view', round(rate), '-'])
  await ann.leave()
  await bob.leave()
})

test('the first load', async () => {
  const context = await browser.newContext()
  const page = await context.newPage()
  const scripts: number[] = []
  let foreign = 0
  page.on('request', (request) => {
    const { protocol, origin } = new URL(request.url())
    if (protocol.startsWith('http') && origin !== server.url) foreign++
  })
  page.on('response', (response) => {
    if (response.request().resourceType() === 'script')
      void response.body().then((body) => scripts.push(gzipSync(body, { level: 9 }).length))
  })
  await page.goto(`${server.url}/b/first?user=ann`)
  await page.waitForSelector('[data-loaded="true"]')
  await page.waitForLoadState('networkidle')
  const kilobytes = scripts.reduce((sum, size) => sum + size, 0) / 1_000
  rows.push(['script of the first load, gz', `${round(kilobytes)} KB`, '480'])
  rows.push(['requests to other hosts', String(foreign), '0'])
  await context.close()
})

for (const count of [1_000, 5_000]) {
  test(`open ${count} elements`, async () => {
    const board = await server.boardOf(count)
    const times: number[] = []
    for (let round = 0; round < 3; round++) {
      const context = await browser.newContext({ viewport: { width: 1280, height: 800 } })
      const page = await context.newPage()
      const begin = performance.now()
      await page.goto(`${server.url}/b/${board}?user=ann`)
      await page.waitForSelector('[data-loaded="true"]')
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done))))
      times.push(performance.now() - begin)
      await context.close()
    }
    rows.push([
      `open a board of ${count} elements to painted`,
      `${(quantile(times, 0.5) / 1_000).toFixed(1)} s`,
      count === 1_000 ? '2' : '4'
    ])
  })
}
