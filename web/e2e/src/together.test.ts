// What people show each other without leaving anything on the board: the laser pointer, and where they look.

import { expect, test } from 'vitest'

import { PHONE, Person, until } from './browser'
import { board, server, setUp, visit } from './fixture'

setUp('open')

const follows = async ({ page }: Person, whom: string) => {
  await page.getByTestId('people').first().click()
  await page.locator('.panseo-person:visible', { hasText: whom }).click()
  await page.locator('.panseo-following').waitFor()
}

test('the laser pointer is seen by the other while it is pressed, and leaves nothing', async () => {
  const [ann, bob] = [await visit('ann'), await visit('bob')]
  await ann.press('k')
  await ann.down(400, 300)
  const points = async () => {
    for (const to of [700, 400]) await ann.move([1_100 - to, 300], [to, 300], 20)
    return (await bob.trails()).join() === 'red'
  }
  await until('Bob sees the trail', points)
  await ann.up()
  await until('it fades', async () => (await bob.trails()).length === 0)
  expect(await server.entries(board)).toEqual([])
  expect([await ann.shown(), await bob.shown()]).toEqual([[], []])
  await ann.leave()
  await bob.leave()
})

test('who follows another sees what they see, on every page, until they scroll themselves', async () => {
  const [ann, bob] = [await visit('ann'), await visit('bob')]
  await ann.draws('r', [400, 300], [500, 400])
  await until('Bob has it', () => bob.sees(400, 350))
  await follows(bob, 'ann')
  expect(await bob.barriers()).toEqual([])
  await ann.page.mouse.wheel(0, 200)
  await until('it is higher for Bob, too', async () => (await bob.sees(400, 150)) && !(await bob.sees(400, 390)))
  await ann.page.getByRole('button', { name: 'Add page' }).first().click()
  await until('Bob is there, too', async () => (await bob.shown()).length === 0)
  await bob.page.locator('.panseo-following').waitFor()
  await ann.page.locator('.panseo-tab').first().click()
  await until('and back', () => bob.sees(400, 150))
  await bob.page.mouse.wheel(0, 100)
  await bob.page.locator('.panseo-following').waitFor({ state: 'detached' })
  await until('it is where Bob wants it', () => bob.sees(400, 50))
  await ann.page.mouse.move(700, 500)
  await ann.page.mouse.wheel(0, -200)
  await until('Ann is back', () => ann.sees(400, 350))
  await ann.draws('o', [600, 300], [700, 400])
  await until('Bob has what she drew after it', async () => (await bob.shown()).length === 2)
  expect(await bob.sees(400, 50)).toBe(true)
  await ann.leave()
  await bob.leave()
})

test('a phone shows all that a desk shows, and says how to stop', async () => {
  const [ann, bob] = [await visit('ann'), await visit('bob', { ...PHONE, locale: 'ko-KR' })]
  await ann.draws('r', [300, 300], [1_200, 500])
  await until('Bob has it', async () => (await bob.shown()).length === 1)
  await follows(bob, 'ann')
  // 390 px for 1,280: three tenths of it, in the middle.
  const [left, right] = [195 + 0.3 * (300 - 640), 195 + 0.3 * (1_200 - 640)]
  await until('both ends are there', async () => (await bob.sees(left, 422)) && (await bob.sees(right, 422)))
  expect(await bob.barriers()).toEqual([])
  await bob.page.getByRole('button', { name: '그만 따라가기' }).click()
  await bob.page.locator('.panseo-following').waitFor({ state: 'detached' })
  await ann.leave()
  await bob.leave()
})

test('two who follow each other stand still, a third follows through to whom their leader follows', async () => {
  const [ann, bob, cleo] = [await visit('ann'), await visit('bob'), await visit('cleo')]
  await ann.draws('r', [400, 300], [500, 400])
  for (const other of [bob, cleo]) await until('it is there', () => other.sees(400, 350))
  await follows(cleo, 'bob')
  await follows(bob, 'ann')
  await ann.page.mouse.wheel(0, 200)
  await until('Bob goes along', () => bob.sees(400, 150))
  await until('Cleo goes along', () => cleo.sees(400, 150))
  await follows(ann, 'bob')
  await bob.page.mouse.wheel(0, -100)
  await until('Ann follows Bob now', () => ann.sees(400, 250))
  await until('Cleo still does', () => cleo.sees(400, 250))
  for (const person of [ann, bob, cleo]) await person.leave()
})
