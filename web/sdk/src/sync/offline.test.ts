// What is kept on the device: reloads, crashes, several tabs, full disks.

import 'fake-indexeddb/auto'
import { beforeEach, expect, test } from 'vitest'
import * as Y from 'yjs'
import { FakeClock, FakeSocket, settle } from '../../test/fake.ts'
import { Profile, type Tab } from '../../test/profile.ts'
import { until } from '../../test/server.ts'
import type { OpenOptions } from '../api.ts'
import type { DocumentBoard } from './board.ts'
import { open } from './open.ts'
import type { Setting } from './session.ts'

let clock: FakeClock
let profile: Profile

beforeEach(() => {
  clock = new FakeClock()
  profile = new Profile()
  FakeSocket.all = []
})

/** Opens the board in a tab; `welcome`: the server answers the first connection so. */
const enter = async (
  tab: Tab,
  welcome: Parameters<FakeSocket['welcome']>[0] | null = {},
  options: Partial<OpenOptions> = {}
) => {
  const before = FakeSocket.all.length
  const all = { url: 'http://host', board: 'lesson', user: 'mina', WebSocket: FakeSocket as never, ...options }
  const opening = open(all, { clock, browser: tab })
  await until('it connects', () => FakeSocket.all.length > before)
  if (welcome) FakeSocket.newest.welcome(welcome)
  return (await opening) as DocumentBoard
}

const draw = (board: DocumentBoard, ...ids: string[]) => {
  for (const id of ids) board.edit((doc) => doc.getMap('board:elements').set(id, new Y.Map([['x', 1]])))
}
const ids = (board: DocumentBoard) => Object.keys(board.doc.getMap('board:elements').toJSON()).sort()
const client = (socket: FakeSocket) => socket.heard.flatMap((frame) => (frame.t === 'hello' ? [frame.client] : []))[0]

const flushed = (board: DocumentBoard) => (board as unknown as { setting: Setting }).setting.device?.flushed()

/** A crash in the middle of things: what the database was asked to do is done, the rest is lost. */
const crash = async (tab: Tab, board: DocumentBoard) => {
  await flushed(board)
  tab.die()
  FakeSocket.newest.onclose = FakeSocket.newest.onmessage = null
}

test('edits made offline are there after a reload, and sent as they were', async () => {
  const tab = profile.tab()
  const board = await enter(tab)
  draw(board, 'a', 'b')
  FakeSocket.newest.ack(1)
  FakeSocket.newest.end(1006)
  draw(board, 'c')
  const like = { op: 'like.set' as const, target: 'a', on: true }
  for (const op of [like, { op: 'board.clear' as const }, { op: 'undo' as const }]) void board.op(op).catch(() => {})
  draw(board, 'd')
  const wanted = FakeSocket.newest.heard
  const first = client(FakeSocket.newest)
  await crash(tab, board)

  const again = await enter(profile.tab(), null)
  expect(ids(again)).toEqual(['a', 'b', 'c', 'd'])
  expect(again.state).toMatchObject({ save: 'offline', unsaved: 4, device: 'kept' })
  const socket = FakeSocket.newest
  socket.welcome()
  expect(client(socket)).toBe(first)
  const edits = socket.edits()
  expect(edits.map(({ seq, t }) => [seq, t])).toEqual([
    [2, 'update'],
    [3, 'update'],
    [4, 'op'],
    // What undoes or clears is of its moment.
    [7, 'update']
  ])
  expect(edits[0]).toEqual(wanted.find((frame) => 'seq' in frame && frame.seq === 2))
  // New edits wait: they go out under the outbox of this tab.
  draw(again, 'e')
  for (const seq of [2, 3, 4, 7]) socket.ack(seq)
  await settle()
  expect(FakeSocket.newest).not.toBe(socket)
  FakeSocket.newest.welcome()
  expect(client(FakeSocket.newest)).not.toBe(first)
  expect(FakeSocket.newest.seqs()).toEqual([1])
  FakeSocket.newest.ack(1)
  expect(again.state).toMatchObject({ save: 'saved', unsaved: 0 })
})

test('what was acknowledged is not sent again after a reload, and is not asked for', async () => {
  const tab = profile.tab()
  const board = await enter(tab)
  draw(board, 'a')
  FakeSocket.newest.ack(1)
  await board.close()
  const again = await enter(profile.tab(), null)
  FakeSocket.newest.accept()
  const [hello] = FakeSocket.newest.heard
  expect(hello).toMatchObject({ vector: Y.encodeStateVector(board.doc) })
  FakeSocket.newest.welcome()
  expect([ids(again), FakeSocket.newest.seqs(), again.state.save]).toEqual([['a'], [], 'saved'])
})

test('what others drew is kept, too', async () => {
  const others = new Y.Doc()
  others.getMap('board:elements').set('theirs', new Y.Map([['x', 1]]))
  const board = await enter(profile.tab(), { update: Y.encodeStateAsUpdate(others) })
  await clock.pass(3_000)
  await board.close()
  expect(ids(await enter(profile.tab(), null))).toEqual(['theirs'])
})

test("two tabs of one person have an outbox each; one takes over the other's only when that is gone", async () => {
  const one = profile.tab()
  const first = await enter(one)
  const firstSocket = FakeSocket.newest
  draw(first, 'a')
  await flushed(first)
  const two = profile.tab()
  const second = await enter(two)
  const secondSocket = FakeSocket.newest
  expect(ids(second)).toEqual(['a'])
  expect(client(secondSocket)).not.toBe(client(firstSocket))
  expect(secondSocket.seqs()).toEqual([])
  draw(second, 'b')
  expect(secondSocket.seqs()).toEqual([1])
  expect(second.state.unsaved).toBe(1)
  firstSocket.ack(1)
  expect([first.state.save, second.state.save]).toEqual(['saved', 'saving'])

  await crash(two, second)
  const third = await enter(profile.tab(), {})
  expect(client(FakeSocket.newest)).toBe(client(secondSocket))
  expect(ids(third)).toEqual(['a', 'b'])
})

test('several outboxes that tabs have left are sent one after the other', async () => {
  const tabs = [profile.tab(), profile.tab(), profile.tab()]
  const clients: (string | undefined)[] = []
  for (const [index, tab] of tabs.entries()) {
    const board = await enter(tab)
    clients.push(client(FakeSocket.newest))
    draw(board, `left${index}`)
    await flushed(board)
    FakeSocket.newest.onmessage = FakeSocket.newest.onclose = null
  }
  for (const tab of tabs) tab.die()
  const board = await enter(profile.tab(), null)
  expect(board.state.unsaved).toBe(3)
  const seen: (string | undefined)[] = []
  for (let turn = 0; turn < 3; turn += 1) {
    const socket = FakeSocket.newest
    socket.welcome()
    seen.push(client(socket))
    expect(socket.seqs()).toEqual([1])
    socket.ack(1)
    await settle()
  }
  FakeSocket.newest.welcome()
  expect(seen.sort()).toEqual(clients.sort())
  expect(board.state.save).toBe('saved')
  expect(clients).not.toContain(client(FakeSocket.newest))
})

test('a refused edit does not come back with a reload', async () => {
  const tab = profile.tab()
  const board = await enter(tab)
  draw(board, 'bad', 'good')
  FakeSocket.newest.say({ t: 'error', code: 'bad_op', message: 'no', seq: 1 })
  FakeSocket.newest.say({ t: 'error', code: 'needs_resync', message: 'gap', seq: 2 })
  await settle()
  FakeSocket.newest.welcome()
  await crash(tab, board)
  const again = await enter(profile.tab(), {})
  expect(ids(again)).toEqual(['good'])
  expect(FakeSocket.newest.seqs()).toEqual([5])
})

test('whose copy it is decides the token or the name; others do not see it', async () => {
  const token = (sub: string) => `x.${Buffer.from(JSON.stringify({ sub })).toString('base64url')}.y`
  const board = await enter(profile.tab(), { user: '미나' }, { token: token('미나') })
  draw(board, 'mine')
  await board.close()
  const other = await enter(profile.tab(), { user: 'juno' }, { token: token('juno') })
  expect(ids(other)).toEqual([])
  await other.close()
  const same = await enter(profile.tab(), null, { token: token('미나') })
  expect(ids(same)).toEqual(['mine'])
  // The server says that it is somebody else: nothing of it may go out under that name.
  FakeSocket.newest.welcome({ user: 'juno' })
  expect(FakeSocket.newest.seqs()).toEqual([])
  expect(same.state).toMatchObject({ save: 'read-only', why: 'other_user', unsaved: 1 })
})

/** Does what is to be kept while there is no room. */
const onFullDisk = (edit: () => void) => {
  const put = IDBObjectStore.prototype.put
  IDBObjectStore.prototype.put = () => {
    throw new DOMException('no room', 'QuotaExceededError')
  }
  edit()
  IDBObjectStore.prototype.put = put
}

test('a full disk is told, and the board goes on', async () => {
  const board = await enter(profile.tab())
  draw(board, 'a')
  onFullDisk(() => draw(board, 'b'))
  draw(board, 'c')
  expect(board.state).toMatchObject({ save: 'saving', unsaved: 3, device: 'full' })
  expect(FakeSocket.newest.seqs()).toEqual([1, 2, 3])
  for (const seq of [1, 2, 3]) FakeSocket.newest.ack(seq)
  expect(board.state).toMatchObject({ save: 'saved', device: 'full' })
  await board.close()
  // What is kept is the beginning of what there was, and nothing is sent twice.
  const again = await enter(profile.tab(), null)
  expect(ids(again)).toEqual(['a'])
  FakeSocket.newest.welcome()
  expect(FakeSocket.newest.seqs()).toEqual([])
})

test('unsent edits are there after a reload on a full disk', async () => {
  const tab = profile.tab()
  const board = await enter(tab)
  FakeSocket.newest.end(1006)
  draw(board, 'a', 'b')
  await crash(tab, board)
  const add = IDBObjectStore.prototype.add
  IDBObjectStore.prototype.add = function (this: IDBObjectStore, ...what) {
    const adding = add.apply(this, what)
    this.transaction.abort()
    return adding
  }
  const again = await enter(profile.tab(), null)
  IDBObjectStore.prototype.add = add
  expect(ids(again)).toEqual(['a', 'b'])
  expect(again.state).toMatchObject({ save: 'offline', unsaved: 2, device: 'kept' })
  FakeSocket.newest.welcome()
  expect(FakeSocket.newest.seqs()).toEqual([1, 2])
})

test('a tab that cannot read what is kept leaves it to others', async () => {
  const tab = profile.tab()
  const board = await enter(tab)
  FakeSocket.newest.end(1006)
  draw(board, 'a')
  await crash(tab, board)
  const getAll = IDBObjectStore.prototype.getAll
  IDBObjectStore.prototype.getAll = function (this: IDBObjectStore, ...what) {
    if (this.name === 'document') throw new DOMException('no', 'UnknownError')
    return getAll.apply(this, what)
  }
  const blind = await enter(profile.tab())
  IDBObjectStore.prototype.getAll = getAll
  expect([ids(blind), blind.state.device]).toEqual([[], 'forbidden'])
  const other = await enter(profile.tab(), null)
  expect([ids(other), other.state.unsaved]).toEqual([['a'], 1])
})

test('a browser that forbids it is told, and the board goes on', async () => {
  const tab = profile.tab()
  const indexedDB = {
    open: () => {
      throw new DOMException('no', 'SecurityError')
    }
  }
  const board = await enter({ ...tab, locks: tab.locks, indexedDB: indexedDB as never } as never)
  draw(board, 'a')
  FakeSocket.newest.ack(1)
  expect(board.state).toMatchObject({ save: 'saved', device: 'forbidden' })
})

/** A tab whose connection to the database can be taken away, as WebKit does in the background. */
const takenFrom = (tab: Tab) => {
  let last: IDBDatabase
  const open = (...what: Parameters<IDBFactory['open']>) => {
    const opening = tab.indexedDB.open(...what)
    opening.addEventListener('success', () => (last = opening.result as never))
    return opening
  }
  const take = (isTold: boolean) => {
    last.close()
    if (isTold) last.onclose?.({} as never)
  }
  return { take, tab: { locks: tab.locks, indexedDB: { open } } as never as Tab }
}
const kept = (board: DocumentBoard) => until('it is kept', () => board.state.device === 'kept')

test('a database that the browser took away is opened again, and all of it is kept', async () => {
  const one = profile.tab()
  const { take, tab } = takenFrom(one)
  const board = await enter(tab)
  draw(board, 'a')
  FakeSocket.newest.ack(1)
  FakeSocket.newest.end(1006)
  take(true)
  draw(board, 'b')
  expect(board.state.device).toBe('forbidden')
  await kept(board)
  draw(board, 'c')
  await crash(one, board)
  const again = await enter(profile.tab(), null)
  expect([ids(again), again.state.unsaved]).toEqual([['a', 'b', 'c'], 2])
  FakeSocket.newest.welcome({ seq: 1 })
  expect(FakeSocket.newest.seqs()).toEqual([2, 3])
})

test('where nobody said that it is gone, it is opened again when the tab is shown', async () => {
  const one = profile.tab()
  const { take, tab } = takenFrom(one)
  const board = await enter(tab)
  draw(board, 'bad', 'good')
  await flushed(board)
  take(false)
  FakeSocket.newest.say({ t: 'error', code: 'bad_op', message: 'no', seq: 1 })
  FakeSocket.newest.say({ t: 'error', code: 'needs_resync', message: 'gap', seq: 2 })
  await settle()
  FakeSocket.newest.welcome()
  expect(board.state.device).toBe('forbidden')
  board.nudge()
  await kept(board)
  await crash(one, board)
  // The document that took the place of the old one meanwhile is the one that is kept.
  const again = await enter(profile.tab(), null)
  expect([ids(again), again.state.unsaved]).toEqual([['good'], 1])
})

test('when acknowledgements made room, all of it is kept again', async () => {
  const tab = profile.tab()
  const board = await enter(tab)
  onFullDisk(() => draw(board, 'a'))
  draw(board, 'b')
  expect(board.state.device).toBe('full')
  FakeSocket.newest.ack(1)
  await clock.pass(10_000)
  await kept(board)
  await crash(tab, board)
  const again = await enter(profile.tab(), null)
  expect([ids(again), again.state.unsaved]).toEqual([['a', 'b'], 1])
})

test('the browser is asked once not to throw it away', async () => {
  let asked = 0
  const persist = async () => ++asked > 0
  const tab = profile.tab()
  const board = await enter({ indexedDB: tab.indexedDB, locks: tab.locks, storage: { persist } } as never)
  expect(asked).toBe(0)
  draw(board, 'a', 'b')
  expect(asked).toBe(1)
})

test('new edits stand behind those that tabs have left, when both have to be written anew', async () => {
  for (const x of [1, 2]) {
    const tab = profile.tab()
    const left = await enter(tab)
    FakeSocket.newest.end(1006)
    const set = (doc: Y.Doc) => doc.getMap<number>('board:likes').set('a', x)
    for (let count = 0; count < 3; count += 1) left.edit(set)
    await crash(tab, left)
  }
  const board = await enter(profile.tab(), null)
  board.edit((doc) => doc.getMap<number>('board:likes').set('a', 3))
  const { outboxes } = (board as unknown as { setting: Setting }).setting
  const orders = outboxes.flatMap(({ edits }) => edits.map(({ order }) => order))
  expect([...new Set(orders)].sort((one, other) => one - other)).toEqual(orders)
})

test('many rows become one', async () => {
  const board = await enter(profile.tab())
  for (let stroke = 0; stroke < 700; stroke += 1) draw(board, `s${stroke}`)
  await board.close()
  const [{ name }] = (await profile.indexedDB.databases()) as [{ name: string }]
  const database = await new Promise<IDBDatabase>((resolve) => {
    const opening = profile.indexedDB.open(name)
    opening.onsuccess = () => resolve(opening.result as never)
  })
  const rows = await new Promise<number>((resolve) => {
    const counting = database.transaction('document').objectStore('document').count()
    counting.onsuccess = () => resolve(counting.result)
  })
  database.close()
  expect(rows).toBeLessThan(500)
  expect(ids(await enter(profile.tab(), null))).toHaveLength(700)
})
