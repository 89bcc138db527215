// Random lives of a board on one device: edits, ops, cuts, crashes of server and tabs, busy servers, refusals, reloads.
// Whatever happens, after it is quiet every edit is on the server or was told as refused, every op was done once, and
// what the tab shows is what the server has. A failure names its seed: PANSEO_SEED=n repeats it.

import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { FakeClock, FakeSocket } from '../../test/fake.ts'
import { ModelServer } from '../../test/model.ts'
import { Profile, type Tab } from '../../test/profile.ts'
import type { DocumentBoard } from './board.ts'
import { open } from './open.ts'
import type { Setting } from './session.ts'

const seeds = process.env.PANSEO_SEED
  ? [Number(process.env.PANSEO_SEED)]
  : Array.from({ length: Number(process.env.PANSEO_SOAK ?? 30) }, (_, index) => index + 1)
const STEPS = 120
const TABS_MAX = 3

const chance = (seed: number) => {
  let state = seed
  return (bound: number) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound)
  }
}

/** Lets the database work; it runs on immediates. */
const breathe = async () => {
  for (let turn = 0; turn < 12; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

class Life {
  readonly server = new ModelServer()
  readonly clock = new FakeClock()
  readonly profile = new Profile()
  readonly next: (bound: number) => number
  readonly drawn: string[] = []
  readonly ops: string[] = []
  readonly refused = new Set<string>()
  tabs: { tab: Tab; board: DocumentBoard }[] = []

  constructor(seed: number) {
    this.next = chance(seed)
  }

  async openTab(): Promise<void> {
    const tab = this.profile.tab()
    const options = { url: 'http://host', board: 'lesson', user: 'mina', WebSocket: FakeSocket as never }
    const opening = open(options, { clock: this.clock, browser: tab })
    for (let turn = 0; turn < 50; turn += 1) {
      await breathe()
      this.server.serve(0)
    }
    const board = (await opening) as DocumentBoard
    board.on('refused', ({ entries }) => {
      for (const { id } of entries) this.refused.add(id)
    })
    this.tabs.push({ tab, board })
  }

  async killTab(index: number): Promise<void> {
    const [killed] = this.tabs.splice(index, 1)
    if (!killed) return
    const { device } = (killed.board as unknown as { setting: Setting }).setting
    // What was begun is done: a crash may cut off the last edits, which the person then sees are not there.
    await device?.flushed()
    killed.tab.die()
    // Nothing of it runs any more: the link is stopped without a goodbye, the database is not touched.
    const { link } = killed.board as unknown as { link: { stop(why: string): void } }
    link.stop('closed')
  }

  edit(): void {
    const board = this.tabs[this.next(this.tabs.length)]?.board
    if (!board) return
    const elements = board.doc.getMap<Y.Map<unknown>>('board:elements')
    const known = [...elements.keys()]
    const id = `e${this.drawn.length}`
    const kind = this.next(4)
    if (kind === 0) {
      this.ops.push(id)
      this.drawn.push('')
      void board.op({ op: 'like.set', target: id, on: true }).catch(() => {})
    } else if (kind < 3 || known.length === 0) {
      this.drawn.push(id)
      board.edit(() =>
        elements.set(
          id,
          new Y.Map([
            ['type', 'text'],
            ['n', 0]
          ] as [string, unknown][])
        )
      )
    } else {
      const target = elements.get(known[this.next(known.length)] as string)
      board.edit(() => target?.set('n', this.next(1_000)))
    }
  }

  async step(): Promise<void> {
    const kind = this.next(20)
    if (kind < 9) this.edit()
    else if (kind < 12) this.server.serve(1 + this.next(5))
    else if (kind < 14) this.server.flush()
    else if (kind === 14) this.server.cut()
    else if (kind === 15) this.server.crash()
    else if (kind === 16) this.server.isBusy = this.next(2) === 0
    else if (kind === 17) this.server.refusesNext = true
    else if (kind === 18 && this.tabs.length > 1) await this.killTab(this.next(this.tabs.length))
    else if (kind === 19 && this.tabs.length < TABS_MAX) await this.openTab()
    await this.clock.pass(this.next(2_000))
    await breathe()
  }

  /** All tabs are reloaded into one, the server is well, and time goes by. */
  async rest(): Promise<DocumentBoard> {
    this.server.isBusy = false
    this.server.refusesNext = false
    while (this.tabs.length > 0) await this.killTab(0)
    await this.openTab()
    const { board } = this.tabs[0] as { board: DocumentBoard }
    for (let turn = 0; turn < 400 && !(board.state.save === 'saved' && turn > 20); turn += 1) {
      this.server.serve(1_000)
      this.server.flush()
      await this.clock.pass(500)
      await breathe()
    }
    return board
  }
}

test.each(seeds)('life %i ends well', async (seed) => {
  FakeSocket.all = []
  const life = new Life(seed)
  await life.openTab()
  for (let step = 0; step < STEPS; step += 1) await life.step()
  const board = await life.rest()
  expect(board.state).toMatchObject({ save: 'saved', unsaved: 0, device: 'kept' })
  const kept = life.server.doc.getMap('board:elements').toJSON()
  expect(board.doc.getMap('board:elements').toJSON()).toEqual(kept)
  expect(Y.encodeStateVector(board.doc)).toEqual(Y.encodeStateVector(life.server.doc))
  const lost = life.drawn.filter((id) => id !== '' && !(id in kept) && !life.refused.has(id))
  expect(lost).toEqual([])
  expect([...life.server.done].filter(([, times]) => times !== 1)).toEqual([])
  expect(life.ops.filter((id) => !life.server.done.has(id))).toEqual([])
})
