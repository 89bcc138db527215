// Odd moments: what is on its way is neither lost nor left behind, and files do not take the board's place.

import { expect, test } from 'vitest'

import { Person, until } from './browser'
import { board, kinds, server, setUp, visit } from './fixture'

setUp('open')

const beginStroke = async (ann: Person, bob: Person) => {
  await ann.press('p')
  await ann.down(300, 300)
  await ann.move([300, 300], [600, 340], 40)
  await until('Bob sees the stroke', () => bob.sees(450, 320, 8))
}

test('a stroke is kept when its page is reloaded before pen-up', async () => {
  const [ann, bob] = [await visit('ann'), await visit('bob')]
  await beginStroke(ann, bob)
  await ann.page.reload()
  await ann.ready()
  await until('it is written', async () => (await kinds()).join() === 'freedraw')
  await until('Ann has it again', async () => (await ann.shown()).length === 1)
  expect((await bob.shown()).length).toBe(1)
  await ann.leave()
  await bob.leave()
})

test('a stroke whose author is gone does not stay on other screens', async () => {
  const [ann, bob] = [await visit('ann'), await visit('bob')]
  await beginStroke(ann, bob)
  // It never answers.
  void (await ann.devtools()).send('Page.crash').catch(() => {})
  await until('Bob’s canvas is empty', async () => !(await bob.sees(450, 320, 8)))
  expect(await bob.shown()).toEqual([])
  expect(await kinds()).toEqual([])
  await ann.page.context().close()
  await bob.leave()
})

test('a picture that holds a drawing is added to the board, not put in its place', async () => {
  const [ann, bob] = [await visit('ann'), await visit('bob')]
  await ann.inserts('red.svg', [700, 500], async () => (await kinds()).includes('image'))
  const scene = { type: 'excalidraw', version: 2, elements: [ELLIPSE], appState: { viewBackgroundColor: '#ffc9c9' } }
  await ann.brings('drop', 'drawing.svg', 'image/svg+xml', withScene(scene))
  await until('both are there', async () => (await kinds()).join() === 'ellipse,image')
  await ann.brings('drop', 'drawing.json', 'application/json', JSON.stringify({ ...scene, elements: [DIAMOND] }))
  await until('all are there', async () => (await kinds()).join() === 'diamond,ellipse,image')
  await until('Bob has them', async () => (await bob.shown()).length === 3)
  expect(await server.entries(board, 'page')).toEqual([])
  await until('the picture is still painted', () => ann.seesPicture(700, 500))
  await ann.leave()
  await bob.leave()
})

test('a picture without a drawing is dropped as a picture', async () => {
  const ann = await visit('ann')
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="60"><rect width="90" height="60"/></svg>'
  await ann.brings('drop', 'plain.svg', 'image/svg+xml', svg)
  await until('it is there', async () => (await kinds()).join() === 'image')
  await ann.leave()
})

/** Pictures of the canvas take a second to be decoded. */
const slowDecoding = (ann: Person) =>
  ann.page.evaluate(() => {
    const { prototype } = HTMLImageElement
    const { set } = Object.getOwnPropertyDescriptor(prototype, 'src') as Required<PropertyDescriptor>
    const { decode } = prototype
    const late = new WeakMap<HTMLImageElement, Promise<void>>()
    Object.defineProperty(prototype, 'src', {
      set(this: HTMLImageElement, url: string) {
        if (!url.startsWith('data:')) return set.call(this, url)
        const wait = new Promise((resolve) => setTimeout(resolve, 1_000))
        late.set(
          this,
          wait.then(() => set.call(this, url))
        )
      }
    })
    prototype.decode = async function () {
      await late.get(this)
      return decode.call(this)
    }
  })

const WIDE = '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200"><rect width="300" height="200"/></svg>'

const WAYS: [string, (ann: Person) => Promise<void>][] = [
  ['dropped', (ann) => ann.brings('drop', 'wide.svg', 'image/svg+xml', WIDE)],
  ['pasted', (ann) => ann.brings('paste', 'wide.svg', 'image/svg+xml', WIDE)],
  ['placed before it is decoded', (ann) => placed(ann, async () => (await ann.shown()).length === 1)],
  ['placed late', (ann) => placed(ann, async () => (await server.entries(board, 'asset')).length === 1)]
]

const placed = async (ann: Person, isTime: () => Promise<boolean>) => {
  await ann.chooses('wide.svg', 'image/svg+xml', Buffer.from(WIDE))
  await until('it is time to place it', isTime)
  await ann.page.mouse.click(500, 300)
}

test.each(WAYS)('a picture that is %s keeps its proportions, and is one step of undo', async (_way, put) => {
  const ann = await visit('ann')
  await slowDecoding(ann)
  await put(ann)
  await until('it is there', async () => {
    // Whatever is done meanwhile makes the board look for what is new.
    await ann.press('h')
    await ann.press('v')
    return (await kinds()).join() === 'image'
  })
  const [image] = await server.entries(board)
  expect(image?.properties).toMatchObject({ width: 300, height: 200 })
  await ann.press('Control+z')
  await until('it is taken back', async () => (await kinds()).length === 0)
  await ann.leave()
})

test('no key hides the state of one’s work', async () => {
  const ann = await visit('ann')
  await ann.press('Alt+z')
  await ann.draws('r', [300, 200], [400, 300])
  await until('it is written', async () => (await kinds()).length === 1)
  const box = await ann.page.getByTestId('save-state').first().boundingBox()
  expect(box && box.x + box.width <= 1_280 && box.y >= 0).toBe(true)
  await ann.leave()
})

test('the library is there again after a reload, beside the state of one’s work', async () => {
  const ann = await visit('ann')
  await ann.draws('r', [300, 200], [400, 300])
  await until('it is written', async () => (await kinds()).length === 1)
  await ann.page.locator('.sidebar-trigger').first().click()
  await ann.page.locator('.library-unit').first().click()
  await ann.page.reload()
  await ann.ready()
  await ann.page.locator('.sidebar-trigger').first().click()
  await ann.page.locator('.library-unit__active').waitFor()
  const [state, panel] = [ann.page.getByTestId('save-state').first(), ann.page.locator('.sidebar').first()]
  const right = async () => {
    const [one, other] = [await state.boundingBox(), await panel.boundingBox()]
    return one !== null && other !== null && one.x + one.width <= other.x
  }
  await until('the state is not covered', right)
  await ann.leave()
})

const common = { x: 0, y: 0, width: 100, height: 100, seed: 1, version: 1, versionNonce: 1, updated: 1 }
const ELLIPSE = { ...common, id: 'one', type: 'ellipse' }
const DIAMOND = { ...common, id: 'two', type: 'diamond' }

/** An SVG file as Excalidraw writes it, with what it was made from. */
function withScene(scene: object): string {
  const text = JSON.stringify({ version: '1', encoding: 'bstring', compressed: false, encoded: JSON.stringify(scene) })
  return [
    '<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"><!-- svg-source:excalidraw -->',
    '<!-- payload-type:application/vnd.excalidraw+json --><!-- payload-version:2 -->',
    `<!-- payload-start -->${Buffer.from(text).toString('base64')}<!-- payload-end --></svg>`
  ].join('')
}
