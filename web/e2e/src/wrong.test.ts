// Whatever goes wrong is said, in the person's language, with what to do about it; and what was drawn is still there.

import { afterAll, beforeAll, expect, test } from 'vitest'

import { Person, until } from './browser'
import { STATES, Stage } from './states'

let stage: Stage

beforeAll(async () => {
  stage = await Stage.set()
})
afterAll(() => stage?.clear())

const said = STATES.wrong.flatMap((state) =>
  (['en', 'ko'] as const).map((language) => ({ name: state.name, language, state }))
)

test.each(said)('$name, $language', async ({ state, language }) => {
  const visit = await stage.visit(language)
  await stage.reach(state, visit, language)
  await visit.person.leave(state.faults)
})

test('two windows of one person draw on one board, and count once', async () => {
  const board = await stage.board(stage.open)
  const first = await Person.open(stage.browser, `${stage.open.url}/b/${board}?user=mina`)
  const page = await first.page.context().newPage()
  await page.goto(`${stage.open.url}/b/${board}?user=mina`)
  await page.waitForSelector('[data-loaded="true"]')
  await page.keyboard.press('r')
  await page.mouse.move(700, 300)
  await page.mouse.down()
  await page.mouse.move(800, 400, { steps: 5 })
  await page.mouse.up()
  await first.page.bringToFront()
  await first.draws('o', [400, 300], [500, 400])
  await until('both are written', async () => (await stage.open.kinds(board)).join() === 'ellipse,rectangle')
  await until('the first window shows both', () => first.sees(700, 350))
  expect(await first.page.getByTestId('people').first().textContent()).toMatch(/1$/)
  await first.leave()
})

test.each([-1, 1])('a clock that is wrong by %i day', async (days) => {
  const board = await stage.board(stage.open)
  const mina = await Person.open(stage.browser, `${stage.open.url}/b/${board}?user=mina`)
  const wrong = Date.now() + days * 86_400_000
  await mina.page.clock.setSystemTime(wrong)
  await mina.page.reload()
  await mina.ready()
  await mina.draws('r', [500, 300], [600, 400])
  await until('it is saved', async () => (await stage.open.entries(board)).length === 1)
  await until('she knows it', async () => (await mina.save()) === 'saved')
  await mina.press('Delete')
  await until('it is deleted', async () => (await stage.open.entries(board)).length === 0)
  await mina.press('Control+z')
  await until('it is back', async () => (await stage.open.entries(board)).length === 1)
  await mina.leave()
})

test('what is drawn while the browser keeps nothing is saved all the same', async () => {
  const visit = await stage.visit('en')
  const state = STATES.wrong.find(({ name }) => name === 'storage-full')
  await state?.go(stage, visit)
  const board = new URL(visit.page.url()).pathname.split('/').at(-1) as string
  const rectangles = async () => (await stage.open.kinds(board)).filter((kind) => kind === 'rectangle')
  await until('it is written beside the one that was there', async () => (await rectangles()).length === 2)
  await until('it is saved', async () => (await visit.person.save()) === 'saved')
  await visit.person.leave()
})
