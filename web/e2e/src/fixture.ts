// What the tests of one file share: one server, one browser, and for each test a board of its own. Vitest gives each
// file its own copy of this module.

import type { Browser, BrowserContextOptions } from 'playwright-core'
import { afterAll, beforeAll, beforeEach } from 'vitest'

import { Person, launch } from './browser'
import { Server } from './server'

export let server: Server
export let browser: Browser
/** Id of the board; nothing makes it before the first visit. */
export let board = ''

/** To be called once, at the head of a test file. */
export function setUp(auth: 'open' | 'jwt'): void {
  beforeAll(async () => {
    server = await Server.start(auth)
    browser = await launch()
  })
  afterAll(async () => {
    await browser?.close()
    await server?.stop()
  })
  beforeEach(() => {
    board = `e2e-${crypto.randomUUID()}`
  })
}

/** Types of the elements on the board, from A to Z. */
export const kinds = () => server.kinds(board)

/** A window with the board, of somebody who needs no log-in. */
export const visit = (user: string, options: BrowserContextOptions = {}) =>
  Person.open(browser, `${server.url}/b/${board}?user=${user}`, options)
