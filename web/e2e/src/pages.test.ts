// A teacher's day: from the start page to a board, a link, a student, the pen; and back to the list of boards.

import { expect, onTestFinished, test } from 'vitest'

import { Person, until } from './browser'
import { browser, server, setUp } from './fixture'
import { Server } from './server'

setUp('open')

test('a board is made, shared by a link, and the pen is handed over', async () => {
  const kim = await Person.visit(browser, server.url)
  expect(await kim.barriers()).toEqual([])
  await kim.page.getByLabel('Your name').fill('Kim')
  await kim.page.getByLabel('Title of the board').fill('Fractions')
  await kim.page.getByRole('button', { name: 'Make board' }).click()
  await kim.ready()
  expect(await kim.page.title()).toBe('Fractions')

  const board = new URL(kim.page.url()).pathname.split('/').at(-1) as string
  const kinds = () => server.kinds(board)
  await kim.draws('p', [300, 300], [420, 380])
  await kim.press('t')
  await kim.page.mouse.click(300, 450)
  await kim.page.keyboard.type('one half')
  await kim.press('Escape')
  await kim.inserts('half.svg', [700, 300], async () => (await kinds()).includes('image'))
  await until('all is written', async () => (await kinds()).join() === 'freedraw,image,text')

  await kim.page.getByTestId('share').first().click()
  await kim.page.getByTestId('make-link').click()
  const link = await kim.page.getByTestId('link').inputValue()
  expect(await kim.barriers()).toEqual([])

  const mina = await Person.visit(browser, link)
  await mina.page.getByLabel('Your name').fill('Mina')
  await mina.page.getByRole('button', { name: 'Go to the board' }).click()
  await mina.ready()
  expect(await mina.save()).toBe('read-only')
  expect(mina.page.url()).not.toContain('invite')

  const row = kim.page.getByTestId('members').locator('li', { hasText: 'Mina' })
  await kim.page.getByText('everybody who has the address comes in').waitFor()
  expect(await row.getByRole('button', { name: 'Remove' }).count()).toBe(0)
  await row.getByRole('button', { name: 'Give pen' }).click()
  await until('Mina may draw', async () => (await mina.save()) === 'saved')
  await mina.draws('r', [300, 550], [400, 600])
  await until('Mina has drawn', async () => (await kinds()).includes('rectangle'))
  await kim.page.locator('dialog.share header button').click()
  await kim.press('Control+z')
  await until('Kim takes back what he did last', async () => (await kinds()).join() === 'freedraw,rectangle,text')
  await kim.page.getByTestId('share').first().click()
  await row.getByRole('button', { name: 'Take pen' }).click()
  await until('Mina may not draw any more', async () => (await mina.save()) === 'read-only')

  await mina.leave()
  await kim.page.goto(server.url)
  await kim.page.getByRole('link', { name: /Fractions/ }).click()
  await kim.ready()
  await until('all is there again', async () => (await kim.shown()).length === 3)
  await kim.leave()
})

test('a code is typed as people type it; a wrong one is told', async () => {
  const kim = await Person.visit(browser, server.url)
  const made = await kim.page.request.post(`${server.url}/v1/boards?user=kim`, {
    data: { id: 'maths', title: 'Maths' }
  })
  expect(made.status()).toBe(201)
  const invite = await kim.page.request.post(`${server.url}/v1/boards/maths/invites?user=kim`, {
    data: { role: 'editor' }
  })
  const { code } = (await invite.json()) as { code: string }

  await kim.page.getByLabel('Your name').fill('Ben')
  await kim.page.getByLabel('Code or link from your teacher').fill('zzzz zzzz')
  await kim.page.getByRole('button', { name: 'Join' }).click()
  await kim.page.getByRole('alert').getByText('There is no board with this code').waitFor()
  await kim.page.getByLabel('Code or link from your teacher').fill(`${code.slice(0, 4).toUpperCase()}-${code.slice(4)}`)
  await kim.page.getByRole('button', { name: 'Join' }).click()
  await kim.ready()
  expect(await kim.save()).toBe('saved')
  await kim.leave(/404/)
})

test('without log-in on a server that wants one, the page says what to do', async () => {
  const closed = await Server.start('jwt')
  onTestFinished(() => closed.stop())
  const guest = await Person.visit(browser, `${closed.url}/b/nowhere`)
  await guest.page.getByLabel('Your name').fill('Guest')
  await guest.page.getByRole('button', { name: 'Go to the board' }).click()
  await guest.page.getByRole('heading', { name: 'A log-in is needed' }).waitFor()
  await guest.leave(/400/)
})
