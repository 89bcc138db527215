// Two people at one board: what one does, the other sees.

import { readFile } from 'node:fs/promises'

import { expect, test } from 'vitest'

import { until } from './browser'
import { board, kinds, server, setUp, visit } from './fixture'

setUp('open')

test('a stroke is seen while it is drawn, and written once', async () => {
  const [ann, bob] = [await visit('ann'), await visit('bob')]
  await ann.press('p')
  await ann.down(300, 300)
  await ann.move([300, 300], [600, 340], 40)
  await until('Bob sees the stroke', () => bob.sees(450, 320, 8))
  expect(await server.entries(board)).toEqual([])
  await ann.up()
  await until('it is written', async () => (await kinds()).join() === 'freedraw')
  await until('Ann knows it is saved', async () => (await ann.save()) === 'saved')
  expect(await bob.sees(450, 320, 8)).toBe(true)
  await ann.leave()
  await bob.leave()
})

test('a drag is seen while it lasts, and is one step of undo', async () => {
  const [ann, bob] = [await visit('ann'), await visit('bob')]
  await ann.draws('r', [400, 200], [500, 300])
  await until('Bob sees the rectangle', () => bob.sees(400, 250))
  await ann.press('v')
  await ann.down(400, 250)
  await ann.move([400, 250], [700, 450], 30)
  await until('Bob sees where it is dragged to', () => bob.sees(700, 450))
  await ann.up()
  await until('it is written', async () => (await server.entries(board))[0]?.properties.x === 700)
  await ann.press('Control+z')
  await until('it is back', async () => (await server.entries(board))[0]?.properties.x === 400)
  await until('Bob sees it back', () => bob.sees(400, 250))
  await ann.leave()
  await bob.leave()
})

test('undo takes back what one did oneself, and says when there is nothing', async () => {
  const [ann, bob] = [await visit('ann'), await visit('bob')]
  await ann.draws('r', [300, 200], [400, 300])
  await until('it is written', async () => (await kinds()).length === 1)
  await bob.draws('o', [600, 200], [700, 300])
  await until('both are written', async () => (await kinds()).length === 2)
  await ann.page.getByTestId('button-undo').click()
  await until('Bob’s is left', async () => (await kinds()).join() === 'ellipse')
  await ann.page.getByTestId('button-undo').click()
  await ann.page.getByText('Nothing to undo').waitFor()
  await ann.page.getByTestId('button-redo').click()
  await until('Ann’s is back', async () => (await kinds()).length === 2)
  await ann.leave()
  await bob.leave()
})

test('Korean text comes letter by letter', async () => {
  const [ann, bob] = [await visit('ann'), await visit('bob')]
  await ann.press('t')
  await ann.page.mouse.click(400, 300)
  const devtools = await ann.devtools()
  for (const text of ['ㅍ', '파', '판']) {
    await devtools.send('Input.imeSetComposition', { text, selectionStart: 1, selectionEnd: 1 })
  }
  await devtools.send('Input.insertText', { text: '판' })
  const text = async () => (await server.entries(board))[0]?.properties.text
  await until('the first letter is written while the editor is open', async () => (await text()) === '판')
  for (const part of ['ㅅ', '서']) {
    await devtools.send('Input.imeSetComposition', { text: part, selectionStart: 1, selectionEnd: 1 })
  }
  await devtools.send('Input.insertText', { text: '서' })
  await ann.press('Escape')
  await until('the text is written', async () => (await text()) === '판서')
  await until('Bob sees it', () => bob.sees(420, 300, 20))
  await ann.press('Control+z')
  await until('typing is one step', async () => (await kinds()).length === 0)
  await ann.leave()
  await bob.leave()
})

test('the pressure of a pen is kept', async () => {
  const ann = await visit('ann')
  const devtools = await ann.devtools()
  await ann.press('p')
  const pen = (type: string, x: number, force: number) =>
    devtools.send('Input.dispatchMouseEvent', {
      type: type as 'mouseMoved',
      x,
      y: 300,
      button: 'left',
      buttons: 1,
      clickCount: 1,
      pointerType: 'pen',
      force
    })
  await pen('mousePressed', 300, 0.2)
  for (let step = 1; step <= 20; step++) await pen('mouseMoved', 300 + step * 8, 0.2 + step * 0.03)
  await pen('mouseReleased', 460, 0)
  await until('the stroke is written', async () => (await kinds()).length === 1)
  const [stroke] = await server.entries(board)
  const points = Buffer.from(stroke?.properties.points as string, 'base64')
  expect((points[0] as number) & 1).toBe(1)
  await ann.leave()
})

test('an image goes to the server under its hash, and comes to others', async () => {
  const [ann, bob] = [await visit('ann'), await visit('bob')]
  await ann.inserts('red.svg', [500, 300], async () => (await kinds()).includes('image'))
  await until('the board knows it', async () => (await server.entries(board, 'asset')).length === 1)
  const [image] = (await server.entries(board)).filter(({ properties }) => properties.type === 'image')
  const [asset] = await server.entries(board, 'asset')
  expect(image?.properties.fileId).toBe(asset?.id)
  await until('Bob sees it', () => bob.seesPicture(500, 300))
  await ann.leave()
  await bob.leave()
})

test('the same file twice is two images, and undo takes back one', async () => {
  const ann = await visit('ann')
  for (const [count, y] of [200, 500].entries()) {
    await ann.inserts('red.svg', [500, y], async () => (await kinds()).length === count + 1)
  }
  await until('both have their content', async () => {
    const files = (await server.entries(board)).map(({ properties }) => properties.fileId)
    return files.length === 2 && new Set(files).size === 1
  })
  await ann.press('Control+z')
  await until('one is left', async () => (await kinds()).length === 1)
  await ann.leave()
})

test('a photo put in without a connection, just after opening, comes to the server small', async () => {
  const ann = await visit('ann')
  await ann.page.context().setOffline(true)
  const photo = await ann.page.evaluate(async () => {
    const [width, height] = [2_000, 1_500]
    const canvas = Object.assign(document.createElement('canvas'), { width, height })
    const context = canvas.getContext('2d') as CanvasRenderingContext2D
    // Noise: nothing makes it smaller but fewer dots.
    const image = context.createImageData(width, height)
    for (let at = 0; at < image.data.length; at++) image.data[at] = at % 4 === 3 ? 255 : Math.random() * 256
    context.putImageData(image, 0, 0)
    const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve))
    const bytes = new Uint8Array(await (blob as Blob).arrayBuffer())
    let text = ''
    for (let at = 0; at < bytes.length; at += 32_768) text += String.fromCharCode(...bytes.subarray(at, at + 32_768))
    return btoa(text)
  })
  const buffer = Buffer.from(photo, 'base64')
  expect(buffer.length).toBeGreaterThan(8 << 20)
  await ann.chooses('noise.png', 'image/png', buffer)
  await until('it is on the canvas', async () => {
    await ann.page.mouse.click(500, 400)
    return (await ann.shown()).length === 1
  })
  await ann.page.context().setOffline(false)
  await until('the board knows it', async () => (await server.entries(board, 'asset')).length === 1, 40_000)
  const [asset] = await server.entries(board, 'asset')
  const answer = await fetch(`${server.url}/v1/boards/${board}/assets/${asset?.id}?user=ann`)
  const content = Buffer.from(await answer.arrayBuffer())
  expect(content.length).toBeLessThanOrEqual(4 << 20)
  // The width, where a PNG has it.
  expect(content.readUInt32BE(16)).toBeLessThanOrEqual(1_440)
  await ann.leave(/ERR_INTERNET_DISCONNECTED|WebSocket connection/)
})

test('a sticky note, a second page, a comment with an answer', async () => {
  const [ann, bob] = [await visit('ann'), await visit('bob')]
  await ann.page.getByTestId('sticky-note').first().click()
  await ann.page.locator('textarea.excalidraw-wysiwyg').waitFor()
  await ann.page.keyboard.type('read page 4')
  await ann.press('Escape')
  await until('the note is written', async () => (await kinds()).join() === 'rectangle,text')

  await ann.page.getByTestId('page-add').click()
  await ann.draws('d', [850, 200], [950, 300])
  await until('the diamond is on the new page', async () => {
    const [page] = await server.entries(board, 'page')
    return (await server.entries(board)).some(({ properties }) => properties.page === page?.id)
  })
  await bob.page.getByRole('tab').nth(1).click()
  await until('the diamond alone is there', async () => (await bob.shown()).length === 1)
  await bob.page.getByRole('tab').first().click()
  await until('the note alone is here', async () => (await bob.shown()).length === 2)
  await bob.page.getByRole('tab').nth(1).click()
  await bob.page.getByTestId('comments').first().click()
  await bob.page.getByTestId('comment-add').click()
  await bob.page.mouse.click(400, 500)
  await bob.page.keyboard.type('why a diamond?')
  await bob.press('Control+Enter')

  await ann.page.locator('.panseo-pin').click()
  await ann.page.getByText('why a diamond?').waitFor()
  await ann.page.getByRole('button', { name: 'Reply' }).click()
  await ann.page.keyboard.type('because')
  await ann.press('Control+Enter')
  await bob.page.getByText('because').waitFor()
  expect(await bob.barriers()).toEqual([])
  await ann.leave()
  await bob.leave()
})

test('keys on a button press it and nothing else; after a click they are the canvas’s', async () => {
  const ann = await visit('ann')
  await ann.draws('r', [400, 300], [500, 400])
  await until('the rectangle is written', async () => (await kinds()).join() === 'rectangle')
  const [drawn] = await ann.shown()
  const [people, comments] = [ann.page.getByTestId('people').first(), ann.page.getByTestId('comments').first()]
  const isThere = () => people.evaluate((node) => node === document.activeElement)
  for (let count = 0; count < 60 && !(await isThere()); count++) await ann.press('Tab')
  expect(await isThere()).toBe(true)
  for (const key of ['Space', 'Enter']) {
    await ann.press(key)
    await ann.page.locator('.panseo-panel').waitFor()
    await ann.press('Escape')
    await ann.page.locator('.panseo-panel').waitFor({ state: 'detached' })
  }
  await ann.press('ArrowRight')
  expect(await ann.shown()).toEqual([drawn])
  expect(await ann.page.locator('textarea.excalidraw-wysiwyg').count()).toBe(0)

  await ann.draws('r', [600, 300], [700, 400])
  await until('another one is written', async () => (await kinds()).length === 2)
  await comments.click()
  const isOpen = async () => (await comments.getAttribute('aria-pressed')) === 'true'
  await until('the comments are open', isOpen)
  await ann.press('Space')
  expect(await isOpen()).toBe(true)
  await ann.press('ArrowRight')
  await until('the selected one has moved', async () => (await ann.shown())[1]?.x !== 600)
  await ann.leave()
})

test('a page is renamed, moved, and deleted after a question', async () => {
  const [ann, bob] = [await visit('ann'), await visit('bob')]
  const tabs = () => bob.page.getByRole('tab').allTextContents()
  await ann.page.getByTestId('page-add').click()
  await ann.page.getByTestId('page-menu').click()
  await ann.page.getByRole('menuitem', { name: 'Rename page' }).click()
  await ann.page.keyboard.type('Fractions')
  await ann.press('Enter')
  await until('Bob reads the title', async () => (await tabs()).join() === 'Page 1,Fractions')
  await ann.page.getByTestId('page-menu').click()
  await ann.page.getByRole('menuitem', { name: 'Move left' }).click()
  await until('it comes first', async () => (await tabs()).join() === 'Fractions,Page 2')
  await bob.page.getByRole('tab').first().click()
  await ann.page.getByTestId('page-menu').click()
  await ann.page.getByRole('menuitem', { name: 'Delete page' }).click()
  await ann.page.getByRole('button', { name: 'Delete', exact: true }).click()
  await until('Bob is on the page that is left', async () => (await tabs()).join() === 'Page 1')
  await ann.leave()
  await bob.leave()
})

test('undo shows the page it changed', async () => {
  const ann = await visit('ann')
  await ann.draws('r', [400, 300], [500, 400])
  await ann.page.getByTestId('page-add').click()
  await until('the rectangle is written', async () => (await kinds()).length === 1)
  await until('and the page', async () => (await server.entries(board, 'page')).length === 1)
  await ann.press('Control+z')
  await until('the page is gone again', async () => (await ann.page.getByRole('tab').count()) === 1)
  await ann.press('Control+Shift+z')
  await until('the page is back', async () => (await ann.page.getByRole('tab').count()) === 2)
  await ann.page.getByRole('tab').nth(1).click()
  await ann.draws('o', [400, 300], [500, 400])
  await until('the ellipse is written', async () => (await kinds()).length === 2)
  await ann.page.getByRole('tab').first().click()
  await ann.press('Control+z')
  await until('the second page is shown', async () => {
    return (await ann.page.getByRole('tab').nth(1).getAttribute('aria-selected')) === 'true'
  })
  expect(await kinds()).toEqual(['rectangle'])
  await ann.leave()
})

test('a file is added to the board, and the board comes out as a file without foreign addresses', async () => {
  const ann = await visit('ann')
  const elements = [{ id: 'one', type: 'ellipse', x: 0, y: 0, width: 50, height: 50 }]
  const file = JSON.stringify({ type: 'excalidraw', version: 2, elements, files: {} })
  await ann.draws('r', [400, 300], [500, 400])
  await ann.page.getByTestId('main-menu-trigger').click()
  const chosen = ann.page.waitForEvent('filechooser')
  await ann.page.getByTestId('menu-import').click()
  await (await chosen).setFiles({ name: 'a.excalidraw', mimeType: 'application/json', buffer: Buffer.from(file) })
  await until('both are there', async () => (await kinds()).join() === 'ellipse,rectangle')
  await ann.page.getByTestId('main-menu-trigger').click()
  const saved = ann.page.waitForEvent('download')
  await ann.page.getByTestId('menu-export-board').click()
  const text = await readFile(await (await saved).path(), 'utf8')
  expect((JSON.parse(text) as { elements: unknown[] }).elements.length).toBe(2)
  expect(text).not.toMatch(/https?:/)
  await ann.leave()
})
