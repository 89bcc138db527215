// A class with log-in: who may draw, and what happens without a connection.

import { beforeEach, expect, test } from 'vitest'

import { PHONE, Person, until } from './browser'
import { board, browser, kinds, server, setUp } from './fixture'

setUp('jwt')
beforeEach(async () => {
  await server.call('POST', '/boards', { id: board, title: 'Lesson 7' })
})

const visit = (user: string, role: string, options = {}) =>
  Person.open(browser, `${server.url}/b/${board}#token=${server.token(user, role)}`, options)
const give = (user: string, role: string) => server.call('PUT', `/boards/${board}/members/${user}`, { role })

const EDITS = ['Delete', 'Backspace', 'Enter', 'Control+Delete', 'Control+z', 'Control+a', 'Control+d', 'Control+v']

/** Waits until one sees the laser that the other moves. */
async function seesLaser(one: Person, other: Person): Promise<void> {
  const isLit = async () => (await one.trails()).length > 0
  await until('no laser is lit', async () => !(await isLit()))
  await other.down(400, 500)
  await until('the laser is seen', async () => {
    await other.move([400, 500], [600, 550], 4)
    return isLit()
  })
  await other.up()
}

async function redSquare({ page }: Person): Promise<Buffer> {
  const url = await page.evaluate(() => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 200, height: 200 })
    const context = canvas.getContext('2d') as CanvasRenderingContext2D
    context.fillStyle = '#c00'
    context.fillRect(0, 0, 200, 200)
    return canvas.toDataURL()
  })
  return Buffer.from(url.slice(url.indexOf(',') + 1), 'base64')
}

test('the token does not stay in the address', async () => {
  const kim = await visit('kim', 'teacher')
  expect(kim.page.url()).toBe(`${server.url}/b/${board}`)
  await kim.page.reload()
  await kim.ready()
  await kim.leave()
})

test('a student without the pen cannot draw, with it they can, and without it no more', async () => {
  const [kim, mina] = [await visit('kim', 'teacher'), await visit('mina', 'viewer')]
  await kim.draws('r', [500, 300], [600, 400])
  await until('Mina sees it', () => mina.sees(500, 350))
  await mina.draws('r', [700, 300], [800, 400])
  expect(await mina.sees(700, 350)).toBe(false)
  await mina.page.getByText('Read-only').waitFor()
  expect(await mina.barriers()).toEqual([])

  await give('mina', 'editor')
  await mina.page.getByTestId('toolbar-rectangle').waitFor({ state: 'attached' })
  await mina.draws('r', [700, 300], [800, 400])
  await until('it is written', async () => (await kinds()).length === 2)

  await mina.press('Escape')
  await mina.press('r')
  await mina.down(850, 300)
  await give('mina', 'viewer')
  await mina.page.getByText('Read-only').waitFor()
  await mina.move([850, 300], [950, 400])
  await mina.up()
  await until('what came too late is gone from the screen', async () => !(await mina.sees(850, 330)))
  expect(await kinds()).toEqual(['rectangle', 'rectangle'])
  await kim.leave()
  await mina.leave()
})

test('a student without the pen points, and changes nothing with it', async () => {
  const [kim, mina] = [await visit('kim', 'teacher'), await visit('mina', 'viewer')]
  await kim.draws('r', [500, 300], [600, 400])
  await until('Mina sees it', () => mina.sees(500, 350))
  const before = await server.entries(board)
  expect(await kim.page.getByTestId('point').count()).toBe(0)
  const isPointing = async () => (await mina.page.getByTestId('point').getAttribute('aria-pressed')) === 'true'
  const isInPlace = () => mina.sees(550, 300)

  const place = () => mina.page.getByTestId('point').boundingBox()
  const button = await place()
  await mina.page.getByTestId('point').click()
  await until('she points', isPointing)
  expect(await place()).toEqual(button)
  await seesLaser(kim, mina)

  for (const key of [...'vrdoaltephfiq1270', ...EDITS]) {
    await mina.press(key)
    await mina.down(520, 320)
    await mina.move([520, 320], [720, 420], 2)
    await mina.up()
  }
  await mina.page.mouse.dblclick(700, 500)
  await mina.page.keyboard.type('words')
  await mina.page.mouse.click(500, 350, { button: 'right' })
  await mina.page.evaluate((text) => {
    const data = new DataTransfer()
    data.setData('text/plain', text)
    const of = { bubbles: true, cancelable: true }
    document.body.dispatchEvent(new ClipboardEvent('paste', { ...of, clipboardData: data }))
    document.querySelector('canvas.interactive')?.dispatchEvent(new DragEvent('drop', { ...of, dataTransfer: data }))
  }, 'pasted')
  expect(await isPointing()).toBe(true)
  expect(await mina.page.locator('.context-menu, .Modal, textarea.excalidraw-wysiwyg').count()).toBe(0)
  for (const tool of ['toolbar-rectangle', 'toolbar-laser', 'button-undo'])
    expect(await mina.page.getByTestId(tool).locator('visible=true').count()).toBe(0)
  await seesLaser(kim, mina)
  expect(await isInPlace()).toBe(true)
  expect(await mina.shown()).toEqual(await kim.shown())
  expect(await server.entries(board)).toEqual(before)

  await mina.page.mouse.wheel(0, 150)
  await until('the wheel moves the board', async () => !(await isInPlace()))
  await mina.press('Escape')
  await until('she does not point', async () => !(await isPointing()))
  await mina.press('k')
  await until('she points again', isPointing)
  await give('mina', 'editor')
  await mina.page.getByTestId('point').waitFor({ state: 'detached' })
  await mina.draws('r', [800, 300], [900, 400])
  await until('with the pen she draws', async () => (await kinds()).length === 2)
  await give('mina', 'viewer')
  await mina.page.getByTestId('point').waitFor()
  expect(await isPointing()).toBe(false)
  await kim.leave()
  await mina.leave()
})

test('who is removed in the share dialog is out', async () => {
  await give('mina', 'editor')
  const kim = await visit('kim', 'teacher')
  const mina = await Person.open(browser, `${server.url}/b/${board}#token=${server.token('mina')}`)
  await kim.page.getByTestId('share').first().click()
  const row = kim.page.getByTestId('members').locator('li[data-user="mina"]')
  await row.getByRole('button', { name: 'Remove' }).click()
  await mina.page.getByText('You were taken off this board').waitFor()
  expect(await kim.page.getByText('There is no log-in').count()).toBe(0)
  await kim.leave()
  await mina.leave()
})

test('what a teacher locked is put back, with the reason', async () => {
  const [kim, mina] = [await visit('kim', 'teacher'), await visit('mina', 'editor')]
  await kim.draws('r', [500, 300], [600, 400])
  await kim.press('Control+Shift+l')
  const isLocked = async () => (await server.entries(board))[0]?.properties.locked === true
  await until('it is locked', isLocked)
  await until('Mina sees it', () => mina.sees(500, 350))
  await mina.page.mouse.click(500, 350, { button: 'right' })
  await mina.page.getByText('Unlock', { exact: true }).click()
  await mina.page.getByText('it was put back').waitFor()
  expect(await isLocked()).toBe(true)
  await kim.leave()
  await mina.leave()
})

test('drawn without a connection, reloaded, and saved when the server is back', async () => {
  const [kim, mina] = [await visit('kim', 'teacher'), await visit('mina', 'editor')]
  await kim.draws('r', [500, 300], [600, 400])
  await until('it is saved', async () => (await kim.save()) === 'saved' && (await kinds()).length === 1)
  await server.kill()
  await until('Mina knows', async () => (await mina.save()) === 'offline')
  await mina.draws('d', [650, 300], [750, 400])
  const waiting = () => mina.page.getByTestId('save-state').first().getAttribute('title')
  await until('the diamond waits', async () => (await waiting())?.includes('edit') === true)
  const diamond = await waiting()
  await mina.chooses('red.png', 'image/png', await redSquare(mina))
  await until('the image is on the canvas', async () => {
    await mina.page.mouse.click(450, 600)
    return mina.sees(450, 600)
  })
  await until('it waits as well', async () => (await waiting()) !== diamond)
  await mina.press('Control+z')
  await mina.page.getByText('Undo rests: no connection').waitFor()
  // The page itself comes from the same server: only her line to the board stays cut.
  let isCut = true
  await mina.page.route('**/v1/**', (route) => (isCut ? route.abort() : route.continue()))
  await mina.page.routeWebSocket(/\/ws/, (socket) => (isCut ? socket.close() : socket.connectToServer()))
  await server.restart()
  await mina.page.reload()
  await mina.ready()
  expect(await mina.save()).toBe('offline')
  isCut = false
  await until('it is saved', async () => (await mina.save()) === 'saved', 40_000)
  expect(await kinds()).toEqual(['diamond', 'image', 'rectangle'])
  await until('Kim sees the diamond', () => kim.sees(700, 300), 40_000)
  await until('Kim sees the image', () => kim.seesPicture(450, 600), 40_000)
  const cut = /WebSocket connection|502|Failed to (load|fetch)/
  await kim.leave(cut)
  await mina.leave(cut)
})

test('on a phone, in the dark, in Korean', async () => {
  const kim = await visit('kim', 'teacher', { ...PHONE, colorScheme: 'dark', locale: 'ko-KR' })
  expect(await kim.page.locator('html').getAttribute('lang')).toMatch(/^ko/)
  await kim.page.locator('.excalidraw.theme--dark.excalidraw--mobile').waitFor()
  const devtools = await kim.devtools()
  const touch = (type: 'touchStart' | 'touchMove' | 'touchEnd', x = 0) =>
    devtools.send('Input.dispatchTouchEvent', { type, touchPoints: type === 'touchEnd' ? [] : [{ x, y: 400 }] })
  await kim.page.locator('label:has([data-testid="toolbar-freedraw"])').tap()
  await touch('touchStart', 100)
  for (let x = 100; x <= 260; x += 8) await touch('touchMove', x)
  await touch('touchEnd')
  await until('the finger’s stroke is written', async () => (await kinds()).length === 1)
  await kim.page.locator('.panseo-phone-bar').getByTestId('people').click()
  await kim.page.getByRole('heading', { name: '참여자' }).waitFor()
  expect(await kim.barriers()).toEqual([])
  const small = await kim.page.$$eval('.panseo-phone-bar button:not(.panseo-panel *)', (buttons) =>
    buttons.map((button) => button.getBoundingClientRect()).filter(({ width, height }) => width < 40 || height < 40)
  )
  expect(small).toEqual([])
  await kim.leave()
})
