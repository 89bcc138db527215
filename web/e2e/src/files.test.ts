// Drawings of other people, imported and opened: the page and the server's picture show the same elements, in the same place.

import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { expect, test } from 'vitest'

import { Person, until } from './browser'
import { browser, server, setUp } from './fixture'
import { root } from './server'

const shared = process.env.PANSEO_SHARED_DATA ?? join(root, '../shared/data')
const folder = existsSync(join(shared, 'excalidraw')) ? join(shared, 'excalidraw') : join(root, 'tests/fixtures')
const files = readdirSync(folder).filter((name) => name.endsWith('.excalidraw'))

setUp('open')

type Box = [left: number, top: number, right: number, bottom: number]

/** Width and height of a picture without its margin of 10 px. */
const sizeOf = (svg: string) =>
  ['width', 'height'].map((side) => Number(new RegExp(`<svg[^>]* ${side}="([\\d.]+)`).exec(svg)?.[1]) - 20) as [
    number,
    number
  ]

/** Where on the board the server's picture lies: each element stands in it that much off its own place. */
function boxOf(svg: string, elements: { id: string; x: number; y: number; width: number; height: number }[]): Box {
  const [width, height] = sizeOf(svg)
  for (const element of elements) {
    const at = new RegExp(`data-id="${element.id}" transform="translate\\(([-\\d.]+) ([-\\d.]+)\\)`).exec(svg)
    // A side that goes backwards is turned around, and a label lies where its line does.
    if (!at || element.width < 0 || element.height < 0 || 'containerId' in element) continue
    const [left, top] = [element.x - Number(at[1]) + 10, element.y - Number(at[2]) + 10]
    return [left, top, left + width, top + height]
  }
  throw new Error('no element to measure by')
}

/** Where on the board Excalidraw's picture lies: it shows the middle of what it measured in the middle of its window. */
async function boxOn(person: Person, [width, height]: [number, number]): Promise<Box> {
  const excalidraw = await person.excalidraw()
  const [x, y] = await excalidraw.evaluate(async (excalidraw) => {
    excalidraw.scrollToContent(undefined, { fitToContent: true, animate: false })
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))
    const { scrollX, scrollY, width, height, zoom } = excalidraw.state
    return [width / 2 / zoom.value - scrollX, height / 2 / zoom.value - scrollY] as const
  })
  return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
}

/** The picture that Excalidraw itself makes. */
async function picture({ page }: Person): Promise<string> {
  await page.keyboard.press('Control+Shift+e')
  const saved = page.waitForEvent('download')
  await page.getByRole('button', { name: 'Export to SVG' }).click()
  return readFile(await (await saved).path(), 'utf8')
}

test('there are files', () => expect(files.length).toBeGreaterThan(0))

test.each(files)('%s', async (name) => {
  const { board } = (await server.call('POST', '/import', JSON.parse(readFileSync(join(folder, name), 'utf8')))) as {
    board: string
  }
  const ann = await Person.open(browser, `${server.url}/b/${board}?user=ann`)
  const answer = await fetch(`${server.url}/v1/boards/${board}/export.svg`)
  const ours = await answer.text()
  const drawn = [...ours.matchAll(/data-id="([^"]*)"/g)].map(([, id]) => id)
  await until('all is on the canvas', async () => (await ann.shown()).length === drawn.length)
  expect(ann.faults).toEqual([])
  const shown = await boxOn(ann, sizeOf(await picture(ann)))
  const entries = await server.entries(board)
  const served = boxOf(
    ours,
    entries.map(({ id, properties }) => ({
      ...(properties as { x: number; y: number; width: number; height: number }),
      id
    }))
  )
  for (const side of [0, 1, 2, 3] as const)
    expect(Math.abs(shown[side] - served[side]), `${shown} and ${served}`).toBeLessThanOrEqual(2)
  // Making its picture, Excalidraw tries ways that the page's policy forbids, and then takes others.
  await ann.leave(/subsetting|Connecting to 'data:/)
})
