// Every page and state there is, each with the way there and, where something is wrong, the sentence that is said. The
// tests look for the sentences, the screenshots show the pages.

import type { Browser, BrowserContextOptions, Page } from 'playwright-core'

import { Person, launch, until } from './browser'
import { Server } from './server'

export type Language = 'en' | 'ko'

/** One browser window of one person. */
export interface Visit {
  page: Page
  person: Person
}

export interface State {
  name: string
  /** What must be read there. */
  says?: Record<Language, RegExp>
  /** Faults of the page that belong to it. */
  faults?: RegExp
  go(stage: Stage, visit: Visit): Promise<void>
}

const CUT = /WebSocket connection|Failed to (load|fetch)/
const TOUCH = '.panseo-phone-bar'
const LETTER = 'this is a letter, not a picture'
const NO_IMAGE = {
  en: /not an image that the board can show: choose a PNG/,
  ko: /칠판에 넣을 수 있는 이미지가 아닙니다.*골라 주세요/
}

/** Servers and a browser for all states. */
export class Stage {
  private constructor(
    readonly browser: Browser,
    /** Nobody logs in. */
    readonly open: Server,
    /** Everybody needs a token; its boards hold few elements. */
    readonly school: Server,
    /** May be stopped by a state. */
    readonly frail: Server
  ) {}

  static async set(): Promise<Stage> {
    const browser = await launch()
    const [open, school, frail] = [
      await Server.start('open'),
      await Server.start('jwt', { elements_max: 3 }),
      await Server.start('open')
    ]
    return new Stage(browser, open, school, frail)
  }

  async clear(): Promise<void> {
    await this.browser.close()
    for (const server of [this.open, this.school, this.frail]) await server.stop()
  }

  /** A window in which nothing is opened yet. */
  async visit(language: Language, options: BrowserContextOptions = {}): Promise<Visit> {
    const locale = language === 'ko' ? 'ko-KR' : 'en-US'
    const person = await Person.visit(this.browser, `${this.open.url}/health/live`, { locale, ...options })
    return { person, page: person.page }
  }

  /** Goes into a state, and waits for what is said there. */
  async reach({ go, says }: State, visit: Visit, language: Language): Promise<void> {
    await go(this, visit)
    if (says) await visit.page.getByText(says[language]).first().waitFor()
  }

  async board(server: Server, title = 'Fractions'): Promise<string> {
    const id = `state-${crypto.randomUUID()}`
    await server.call('POST', '/boards', { id, title })
    return id
  }

  /** Opens a board of the school with a role in the member list. */
  async attend(visit: Visit, role: string, board: string): Promise<void> {
    await this.school.call('PUT', `/boards/${board}/members/mina`, { role })
    await enter(visit, `${this.school.url}/b/${board}#token=${this.school.token('mina')}`)
  }
}

async function enter({ page, person }: Visit, address: string): Promise<void> {
  await page.goto(address)
  await person.ready()
}

/** A board of the open server with something on it. */
async function lesson(stage: Stage, visit: Visit, server = stage.open): Promise<string> {
  const board = await stage.board(server)
  await server.call('POST', `/boards/${board}/import`, DRAWING)
  await enter(visit, `${server.url}/b/${board}?user=mina`)
  return board
}

/** Such a board, at which Juno is, too. */
async function lessonWithJuno(stage: Stage, visit: Visit): Promise<void> {
  const board = await lesson(stage, visit)
  const other = await visit.page.context().newPage()
  await other.goto(`${stage.open.url}/b/${board}?user=juno`)
  await other.waitForSelector('[data-loaded="true"]')
  await visit.page.bringToFront()
}

async function draws({ page, person }: Visit): Promise<void> {
  const { width, height } = page.viewportSize() as { width: number; height: number }
  await page.locator('label:has([data-testid="toolbar-rectangle"])').click()
  await person.down(width * 0.4, height * 0.5)
  await person.move([width * 0.4, height * 0.5], [width * 0.6, height * 0.6])
  await person.up()
}

/** A button of ours that is in another place on a phone. */
async function press({ page }: Visit, testId: string): Promise<void> {
  const isPhone = (await page.locator(TOUCH).count()) > 0
  await page
    .locator(isPhone ? TOUCH : 'body')
    .getByTestId(testId)
    .first()
    .click()
}

async function chooses({ page, person }: Visit, name: string, mimeType: string, buffer: Buffer): Promise<void> {
  await person.chooses(name, mimeType, buffer)
  const { width, height } = page.viewportSize() as { width: number; height: number }
  await until('something is said', async () => {
    await page.mouse.click(width / 2, height * 0.6)
    // A press beside a dialog would close it again.
    const said = page.locator('.excalidraw :is(.Toast, .Modal)').first()
    return said.waitFor({ timeout: 2_000 }).then(
      () => true,
      () => false
    )
  })
}

const DRAWING = {
  type: 'excalidraw',
  version: 2,
  elements: [
    { id: 'a', type: 'ellipse', x: 0, y: 0, width: 200, height: 200, backgroundColor: '#a5d8ff', fillStyle: 'solid' },
    {
      id: 'b',
      type: 'line',
      x: 100,
      y: 0,
      width: 0,
      height: 200,
      points: [
        [0, 0],
        [0, 200]
      ]
    },
    {
      id: 'c',
      type: 'text',
      x: 240,
      y: 60,
      width: 200,
      height: 40,
      text: '1/2 + 1/4 = ?',
      fontSize: 32,
      fontFamily: 5
    },
    { id: 'd', type: 'text', x: 240, y: 120, width: 200, height: 40, text: '분수의 덧셈', fontSize: 32, fontFamily: 5 },
    { id: 'e', type: 'rectangle', x: 0, y: 260, width: 440, height: 80, backgroundColor: '#ffec99', fillStyle: 'solid' }
  ],
  files: {}
}

const pages: State[] = [
  {
    name: 'start-empty',
    go: async ({ open }, { page }) => {
      await page.goto(`${open.url}/?user=new~0001`)
      await page.locator('.recent .empty').waitFor()
    }
  },
  {
    name: 'start-recent',
    go: async (stage, visit) => {
      await lesson(stage, visit)
      await until('it is saved', async () => (await visit.person.save()) === 'saved')
      await visit.page.goto(`${stage.open.url}/?user=mina`)
      await visit.page.locator('.sheet img').first().waitFor()
    }
  },
  {
    name: 'start-wrong-code',
    says: { en: /There is no board with this code/, ko: /이 코드의 칠판이 없습니다/ },
    faults: /404/,
    go: async ({ open }, { page }) => {
      await page.goto(`${open.url}/?user=mina`)
      await page.locator('input[name="join"]').fill('abcd-2345')
      await page.locator('form:has(input[name="join"]) button').click()
    }
  },
  {
    name: 'gate',
    go: async ({ open }, { page }) => {
      await page.goto(`${open.url}/b/lesson`)
      await page.locator('.gate form').waitFor()
    }
  },
  {
    name: 'board-empty',
    go: async (stage, visit) => enter(visit, `${stage.open.url}/b/${await stage.board(stage.open)}?user=mina`)
  },
  { name: 'board', go: async (stage, visit) => void (await lesson(stage, visit)) },
  {
    name: 'share',
    go: async (stage, visit) => {
      await lesson(stage, visit)
      await press(visit, 'share')
      await visit.page.getByTestId('make-link').click()
      await visit.page.getByTestId('link').waitFor()
    }
  },
  {
    name: 'people',
    go: async (stage, visit) => {
      await lessonWithJuno(stage, visit)
      await press(visit, 'people')
      await visit.page.locator('.panseo-panel:visible li').nth(1).waitFor()
    }
  },
  {
    name: 'following',
    go: async (stage, visit) => {
      await lessonWithJuno(stage, visit)
      await press(visit, 'people')
      await visit.page.locator('.panseo-person:visible').click()
      await visit.page.locator('.panseo-following').waitFor()
    }
  },
  {
    name: 'comments',
    go: async (stage, visit) => {
      const board = await lesson(stage, visit)
      await stage.open.call('POST', `/boards/${board}/ops`, {
        ops: [
          { op: 'comment.add', comment: 'one', text: 'Why a quarter?\n왜 사분의 일이에요?', x: 150, y: 50 },
          { op: 'comment.add', comment: 'two', text: 'Half of a half', parent: 'one' },
          { op: 'like.set', target: 'one', on: true }
        ]
      })
      await press(visit, 'comments')
      await visit.page.locator('.panseo-thread').waitFor()
    }
  },
  {
    name: 'pages',
    go: async (stage, visit) => {
      const board = await lesson(stage, visit)
      for (const title of ['분모가 다를 때', 'Homework for the whole of next week', undefined])
        await stage.open.call('POST', `/boards/${board}/ops`, {
          ops: [{ op: 'page.add', page: crypto.randomUUID(), ...(title && { title }) }]
        })
      await until('the pages are there', async () => {
        const text = await visit.page.locator('.panseo-pages:visible').first().textContent()
        const isPhone = (await visit.page.locator(TOUCH).count()) > 0
        return isPhone || text?.includes('Homework') === true
      })
      await press(visit, 'page-menu')
    }
  },
  {
    name: 'pointing',
    go: async (stage, visit) => {
      const board = await stage.board(stage.school)
      await stage.attend(visit, 'viewer', board)
      await press(visit, 'point')
      await visit.page.locator('[data-testid="point"][aria-pressed="true"]:visible').waitFor()
      await visit.page.locator('[data-testid^="toolbar-"]:visible').waitFor({ state: 'detached' })
    }
  }
]

const wrong: State[] = [
  {
    name: 'view-only',
    says: { en: /Read-only: You can look, but not draw/, ko: /읽기 전용: 볼 수만 있고/ },
    go: async (stage, visit) => {
      const board = await stage.board(stage.school)
      await stage.attend(visit, 'viewer', board)
    }
  },
  {
    name: 'socket-blocked',
    says: { en: /Opening the board….*Check the network/, ko: /칠판을 여는 중….*네트워크를 확인해 주세요/ },
    faults: CUT,
    go: async ({ open }, { page }) => {
      // As behind a proxy that knows no WebSockets.
      await page.routeWebSocket(/\/ws/, (socket) => void socket.close({ code: 1006 as never }))
      await page.goto(`${open.url}/b/${crypto.randomUUID()}?user=mina`)
    }
  },
  {
    name: 'not-saved-yet',
    says: { en: /Not saved yet: reconnecting/, ko: /아직 저장되지 않음/ },
    faults: CUT,
    go: async (stage, visit) => {
      // The one before has left it stopped.
      await stage.frail.kill()
      await stage.frail.restart()
      await lesson(stage, visit, stage.frail)
      await stage.frail.kill()
      await until('it is noticed', async () => (await visit.person.save()) === 'offline')
      await draws(visit)
    }
  },
  {
    name: 'board-full',
    says: { en: /An edit was not taken: The board is full/, ko: /칠판이 가득 찼습니다/ },
    go: async (stage, visit) => {
      const board = await stage.board(stage.school)
      await stage.attend(visit, 'editor', board)
      for (let count = 1; count <= 3; count++) {
        await draws(visit)
        await until('it is written', async () => (await stage.school.entries(board)).length === count)
      }
      await draws(visit)
    }
  },
  {
    name: 'refused',
    says: { en: /locked or somebody else’s: it was put back/, ko: /되돌렸습니다/ },
    go: async (stage, visit) => {
      const board = await stage.board(stage.school)
      const element = { id: 'a', type: 'rectangle', x: 0, y: 0, width: 300, height: 300 }
      await stage.school.call('POST', `/boards/${board}/ops`, { ops: [{ op: 'element.create', element }] })
      await stage.attend(visit, 'editor', board)
      await until('it is shown', async () => (await visit.person.shown()).length === 1)
      await visit.page.keyboard.press('Control+a')
      // Locked while somebody else has it under the hand.
      await stage.school.call('POST', `/boards/${board}/ops`, {
        ops: [{ op: 'element.update', target: 'a', set: { locked: true } }]
      })
      await visit.page.keyboard.press('Delete')
    }
  },
  {
    name: 'unknown-board',
    says: { en: /There is no such board/, ko: /이런 칠판이 없습니다/ },
    faults: /404/,
    go: async ({ school }, { page }) => {
      await page.goto(`${school.url}/b/nowhere#token=${school.token('mina', 'teacher')}`)
    }
  },
  {
    name: 'no-token',
    says: { en: /A log-in is needed/, ko: /로그인이 필요합니다/ },
    faults: /400/,
    go: async (stage, { page }) => {
      await page.goto(`${stage.school.url}/b/${await stage.board(stage.school)}?user=mina`)
    }
  },
  {
    name: 'expired',
    says: { en: /Your log-in is not valid any more/, ko: /로그인이 끝났습니다/ },
    faults: /401/,
    go: async (stage, { page }) => {
      const exp = Math.floor(Date.now() / 1_000) - 3_600
      const token = stage.school.forge({ sub: 'mina', iat: exp - 60, exp, boards: { '*': 'teacher' } })
      await page.goto(`${stage.school.url}/b/${await stage.board(stage.school)}#token=${token}`)
    }
  },
  {
    name: 'revoked',
    says: { en: /Your log-in has ended: open your personal link again/, ko: /개인 링크를 다시 열어 주세요/ },
    faults: /401/,
    go: async (stage, visit) => {
      const user = `rev-${crypto.randomUUID()}`
      const token = stage.school.token(user, 'teacher')
      await enter(visit, `${stage.school.url}/b/${await stage.board(stage.school)}#token=${token}`)
      await draws(visit)
      await stage.school.revoke(user)
    }
  },
  {
    name: 'removed',
    says: { en: /You were taken off this board: ask its teacher/, ko: /명단에서 빠졌습니다/ },
    go: async (stage, visit) => {
      const board = await stage.board(stage.school)
      await stage.attend(visit, 'editor', board)
      await draws(visit)
      await stage.school.call('DELETE', `/boards/${board}/members/mina`)
    }
  },
  {
    name: 'deleted',
    says: { en: /This board was deleted/, ko: /지워졌습니다/ },
    go: async (stage, visit) => {
      const board = await stage.board(stage.school)
      await stage.attend(visit, 'editor', board)
      await stage.school.call('DELETE', `/boards/${board}`)
    }
  },
  {
    name: 'not-invited',
    says: { en: /You are not on this board’s list/, ko: /명단에 없습니다/ },
    faults: /403/,
    go: async (stage, { page }) => {
      await page.goto(`${stage.school.url}/b/${await stage.board(stage.school)}#token=${stage.school.token('mina')}`)
    }
  },
  {
    name: 'bad-invite',
    says: { en: /This invitation does not work/, ko: /쓸 수 없는 초대입니다/ },
    faults: /404/,
    go: async (stage, { page }) => {
      await page.goto(`${stage.open.url}/b/${await stage.board(stage.open)}?user=mina&invite=abcd2345`)
    }
  },
  {
    name: 'other-version',
    says: { en: /This page is older than the server/, ko: /페이지가 서버보다 오래되었습니다/ },
    faults: CUT,
    go: async (stage, visit) => {
      const { page } = visit
      let isNew = false
      await page.route('**/b/*', async (route) => {
        const answer = await route.fetch()
        const body = (await answer.text()).replace(/assets\/[^"]+\.js/g, 'assets/newer.js')
        await (isNew ? route.fulfill({ response: answer, body }) : route.continue())
      })
      let cut = () => {}
      await page.routeWebSocket(/\/ws/, (socket) => {
        if (isNew) return void socket.close({ code: 1006 as never })
        const server = socket.connectToServer()
        cut = () => void server.close().then(() => socket.close())
      })
      await lesson(stage, visit)
      isNew = true
      cut()
    }
  },
  {
    name: 'image-too-large',
    says: { en: /too large for the board.*choose a smaller one/, ko: /너무 큰 그림입니다.*더 작은 그림을 고르거나/ },
    go: async (stage, visit) => {
      await lesson(stage, visit)
      const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><!--${'x'.repeat(12 << 20)}--></svg>`
      await chooses(visit, 'large.svg', 'image/svg+xml', Buffer.from(svg))
    }
  },
  ...(
    [
      ['image-of-wrong-kind', 'letter.png', 'image/png'],
      ['file-of-wrong-kind', 'letter.txt', 'text/plain'],
      ['drawing-not-well-formed', 'letter.svg', 'image/svg+xml']
    ] as const
  ).map(([name, file, type]): State => ({
    name,
    says: NO_IMAGE,
    go: async (stage, visit) => {
      await lesson(stage, visit)
      await chooses(visit, file, type, Buffer.from(LETTER))
    }
  })),
  ...(['drop', 'paste'] as const).map((way): State => ({
    name: `${way}-of-wrong-kind`,
    says: NO_IMAGE,
    go: async (stage, visit) => {
      await lesson(stage, visit)
      await visit.person.brings(way, 'letter.txt', 'text/plain', LETTER)
    }
  })),
  {
    name: 'storage-forbidden',
    says: { en: /This browser keeps nothing/, ko: /이 브라우저는 내용을 보관하지 않습니다/ },
    go: async (stage, visit) => {
      await visit.page.addInitScript(() => {
        IDBFactory.prototype.open = () => {
          throw new DOMException('forbidden here', 'SecurityError')
        }
        for (const name of ['localStorage', 'sessionStorage'] as const)
          Object.defineProperty(window, name, {
            get: () => {
              throw new DOMException('forbidden here', 'SecurityError')
            }
          })
      })
      await lesson(stage, visit)
    }
  },
  {
    name: 'storage-full',
    says: { en: /No room on this device/, ko: /남은 공간이 없습니다/ },
    go: async (stage, visit) => {
      await lesson(stage, visit)
      await visit.page.evaluate(() => {
        IDBObjectStore.prototype.put = IDBObjectStore.prototype.add = () => {
          throw new DOMException('full', 'QuotaExceededError')
        }
      })
      await draws(visit)
    }
  }
]

export const STATES = { pages, wrong }
