// People at browsers: each has a window of their own, and notes every fault of the page.

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

import {
  type Browser,
  type BrowserContextOptions,
  type CDPSession,
  type JSHandle,
  type Page,
  chromium
} from 'playwright-core'
import { expect } from 'vitest'

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync'
]
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
/** Our own parts: what Excalidraw draws is not ours to judge. */
const OURS = [
  '.home',
  '.gate',
  '.share',
  '.outdated',
  '.panseo-status',
  '.panseo-footer',
  '.panseo-phone-bar',
  '.panseo-sidebar',
  '.panseo-comments',
  '.panseo-following',
  '.panseo-dialog',
  '.panseo-pins'
]

export const PHONE: BrowserContextOptions = {
  viewport: { width: 390, height: 844 },
  hasTouch: true,
  isMobile: true,
  deviceScaleFactor: 2
}

export async function launch(): Promise<Browser> {
  const executablePath = execFileSync('which', ['chromium'], { encoding: 'utf8' }).trim()
  return chromium.launch({ executablePath, args: FLAGS })
}

/** Waits until something holds. */
export async function until(what: string, check: () => Promise<boolean> | boolean, ms = 15_000): Promise<void> {
  const end = Date.now() + ms
  while (!(await check())) {
    if (Date.now() > end) throw new Error(`it never came to this: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 30))
  }
}

/** What the tests use of Excalidraw's own component. */
interface Excalidraw {
  scene: { getNonDeletedElements(): { id: string; x: number }[] }
  state: { scrollX: number; scrollY: number; width: number; height: number; zoom: { value: number } }
  scrollToContent(target: undefined, options: object): void
}

export class Person {
  readonly faults: string[] = []

  private constructor(readonly page: Page) {}

  /** A window at any page. */
  static async visit(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Person> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-US', ...options })
    // The picker of the system cannot be driven; without it a plain file input is used.
    await context.addInitScript(() => Reflect.deleteProperty(window, 'showOpenFilePicker'))
    const page = await context.newPage()
    const person = new Person(page)
    const { hostname } = new URL(url)
    page.on('pageerror', (error) => person.faults.push(String(error)))
    page.on('console', (message) => {
      if (message.type() === 'error') person.faults.push(`${message.text()} (${message.location().url})`)
    })
    page.on('request', (request) => {
      const to = new URL(request.url())
      if (!['data:', 'blob:'].includes(to.protocol) && to.hostname !== hostname) person.faults.push(`asked ${to.href}`)
    })
    await page.goto(url)
    return person
  }

  /** A window with a board, ready to be drawn on. */
  static async open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Person> {
    const { origin, pathname, searchParams } = new URL(url)
    const [user, id] = [searchParams.get('user'), pathname.split('/').at(-1)]
    if (user) {
      // Without log-in the page of a board that is not there makes it, but the browser reports the 404 before.
      const headers = { 'content-type': 'application/json' }
      await fetch(`${origin}/v1/boards?user=${user}`, { method: 'POST', headers, body: JSON.stringify({ id }) })
    }
    const person = await Person.visit(browser, url, options)
    await person.ready()
    return person
  }

  async ready(): Promise<void> {
    await this.page.waitForSelector('[data-loaded="true"]')
  }

  /** Ends the window; fails if the page had a fault that the test did not ask for. */
  async leave(expected?: RegExp): Promise<void> {
    await this.page.context().close()
    expect(this.faults.filter((fault) => !expected?.test(fault))).toEqual([])
  }

  async press(key: string): Promise<void> {
    await this.page.keyboard.press(key)
  }

  async down(x: number, y: number): Promise<void> {
    await this.page.mouse.move(x, y)
    await this.page.mouse.down()
  }

  /** Moves the pressed pointer there, as a hand does: in steps. */
  async move(from: [number, number], to: [number, number], steps = 12): Promise<void> {
    for (let step = 1; step <= steps; step++) {
      const at = (axis: 0 | 1) => from[axis] + ((to[axis] - from[axis]) * step) / steps
      await this.page.mouse.move(at(0), at(1))
      await this.page.evaluate(() => new Promise(requestAnimationFrame))
    }
  }

  async up(): Promise<void> {
    await this.page.mouse.up()
  }

  /** Draws with the tool of a key, from corner to corner. */
  async draws(tool: string, from: [number, number], to: [number, number], steps = 12): Promise<void> {
    await this.press('Escape')
    await this.press(tool)
    await this.down(...from)
    await this.move(from, to, steps)
    await this.up()
  }

  /** Gives a file to the image button; Excalidraw then waits for the place. */
  async chooses(name: string, mimeType: string, buffer: Buffer): Promise<void> {
    const chosen = this.page.waitForEvent('filechooser')
    await this.page.locator('label:has([data-testid="toolbar-image"])').click()
    await (await chosen).setFiles({ name, mimeType, buffer })
  }

  /** Puts a picture of one colour onto the board, its middle at that point. */
  async inserts(name: string, [x, y]: [number, number], isThere: () => Promise<boolean>): Promise<void> {
    const svg =
      '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200"><rect width="300" height="200" fill="#c00"/></svg>'
    await this.chooses(name, 'image/svg+xml', Buffer.from(svg))
    await this.page.mouse.move(x, y)
    await until('the image is there', async () => {
      await this.page.mouse.click(x, y)
      return isThere()
    })
  }

  /** Drops a file onto the canvas, or pastes it there; on a phone that point is in the window, too. */
  async brings(way: 'drop' | 'paste', name: string, type: string, text: string): Promise<void> {
    const [x, y] = [300, 300]
    await this.page.mouse.move(x, y)
    await this.page.evaluate(
      ([way, name, type, text, clientX, clientY]) => {
        const data = new DataTransfer()
        data.items.add(new File([text], name, { type }))
        const common = { bubbles: true, cancelable: true, clientX, clientY }
        const event =
          way === 'drop'
            ? new DragEvent(way, { ...common, dataTransfer: data })
            : new ClipboardEvent(way, { ...common, clipboardData: data })
        document.elementFromPoint(clientX, clientY)?.dispatchEvent(event)
      },
      [way, name, type, text, x, y] as const
    )
  }

  /** Whether something is painted near a point of the window. */
  async sees(x: number, y: number, radius = 5): Promise<boolean> {
    return this.page.evaluate(
      ([x, y, radius]) => {
        const canvas = document.querySelector<HTMLCanvasElement>('canvas.excalidraw__canvas.static')
        const context = canvas?.getContext('2d')
        if (!canvas || !context) return false
        const box = canvas.getBoundingClientRect()
        const scale = canvas.width / box.width
        const corner = [(x - radius - box.left) * scale, (y - radius - box.top) * scale] as const
        const { data } = context.getImageData(...corner, 2 * radius * scale, 2 * radius * scale)
        return data.some((value, index) => index % 4 !== 3 && value < 200 && (data[index | 3] ?? 0) > 0)
      },
      [x, y, radius] as const
    )
  }

  /** Whether a picture is painted around a point: beside the dark sign that Excalidraw paints while it is on its way. */
  seesPicture(x: number, y: number): Promise<boolean> {
    return this.sees(x - 45, y - 45, 4)
  }

  /** Colours of the laser pointers' trails on the screen. */
  trails(): Promise<(string | null)[]> {
    return this.page.$$eval('.SVGLayer path', (paths) =>
      paths.filter((path) => (path.getAttribute('d') ?? '').length > 40).map((path) => path.getAttribute('fill'))
    )
  }

  /** Excalidraw itself, which it hands to nobody outside of it. */
  excalidraw(): Promise<JSHandle<Excalidraw>> {
    return this.page.evaluateHandle(() => {
      type Fiber = { return: Fiber; stateNode: Excalidraw | null }
      const node = document.querySelector('.excalidraw canvas')?.closest('.excalidraw') as unknown as Record<
        string,
        Fiber
      >
      let fiber = node[Object.keys(node).find((key) => key.startsWith('__reactFiber')) ?? ''] as Fiber
      while (!fiber.stateNode?.scene) fiber = fiber.return
      return fiber.stateNode
    })
  }

  /** What is on the canvas. */
  async shown(): Promise<{ id: string; x: number }[]> {
    const excalidraw = await this.excalidraw()
    return excalidraw.evaluate(({ scene }) => scene.getNonDeletedElements().map(({ id, x }) => ({ id, x })))
  }

  save(): Promise<string | null> {
    return this.page.getByTestId('save-state').first().getAttribute('data-state')
  }

  devtools(): Promise<CDPSession> {
    return this.page.context().newCDPSession(this.page)
  }

  /** Serious findings of axe in our own parts. */
  async barriers(): Promise<string[]> {
    await this.page.evaluate(AXE)
    return this.page.evaluate(async (ours) => {
      const axe = (window as unknown as { axe: { run: (context: unknown) => Promise<{ violations: Finding[] }> } }).axe
      type Finding = { id: string; impact: string; nodes: { html: string }[] }
      const include = ours.filter((selector) => document.querySelector(selector)).map((selector) => [selector])
      const { violations } = await axe.run({ include })
      const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
      return serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' | ')}`)
    }, OURS)
  }
}
