import { beforeEach, expect, test } from 'vitest'
import { FakeClock } from '../test/fake.ts'
import type { Person } from './api.ts'
import { Presence } from './presence.ts'
import type { ClientFrame, EphemeralState, Value } from './protocol/wire.gen.ts'

let clock: FakeClock
let sent: ClientFrame[]
let people: ReadonlyMap<number, Person>[]
let told: EphemeralState[]
let isUp: boolean
let hasRoom: boolean
let presence: Presence

beforeEach(() => {
  clock = new FakeClock()
  sent = []
  people = []
  told = []
  isUp = true
  hasRoom = true
  const outside = {
    send: (frame: ClientFrame) => sent.push(frame),
    isUp: () => isUp,
    hasRoom: () => hasRoom,
    people: (all: ReadonlyMap<number, Person>) => people.push(all),
    ephemeral: (shown: EphemeralState) => told.push(shown)
  }
  presence = new Presence(outside, clock)
  presence.welcome(1, 30)
})

const state = (session: number, kind: string, data: Value): EphemeralState => ({
  session,
  user: `user ${session}`,
  kind,
  data
})
const points = () =>
  sent.flatMap((frame) => (frame.t === 'ephemeral' ? [frame.data] : frame.t === 'more' ? [frame.d] : []))

test('thirty states a second at most, the newest of each kind, none left behind', async () => {
  for (let x = 0; x < 300; x += 1) {
    presence.pointer(x, 0, {})
    if (x % 50 === 0) presence.show('viewport', { x }, null)
    await clock.pass(10)
  }
  expect(sent.length).toBeGreaterThan(80)
  expect(sent.length).toBeLessThanOrEqual(91)
  await clock.pass(100)
  expect(points()).toContainEqual({ x: 299, y: 0 })
  expect(points()).toContainEqual({ x: 250 })
})

test('only movement is news', async () => {
  for (let turn = 0; turn < 10; turn += 1) {
    presence.pointer(5, 5, { page: 'p' })
    await clock.pass(50)
  }
  expect(points()).toEqual([{ x: 5, y: 5, page: 'p' }])
  presence.pointer(5, 5, { page: 'q' })
  await clock.pass(50)
  expect(sent).toHaveLength(2)
})

test('edits go first: states wait while the line is full', async () => {
  hasRoom = false
  presence.pointer(1, 1, {})
  await clock.pass(1_000)
  presence.pointer(2, 2, {})
  hasRoom = true
  await clock.pass(50)
  expect(points()).toEqual([{ x: 2, y: 2 }])
})

test('without a connection nothing runs; a new one hears what is still shown', async () => {
  presence.pointer(1, 1, {})
  presence.show('hand', true, null)
  await clock.pass(100)
  presence.show('hand', null, null)
  await clock.pass(100)
  isUp = false
  presence.empty()
  sent = []
  presence.pointer(3, 3, {})
  await clock.pass(10_000)
  expect([sent, clock.waiting]).toEqual([[], 0])
  isUp = true
  presence.welcome(2, 30)
  await clock.pass(100)
  expect(points()).toEqual([{ x: 3, y: 3 }])
})

test('people of both doors are listed, with name and colour, and leave with all they showed', () => {
  presence.take([state(1, 'join', { color: 'red' }), state(2, 'join', { color: 'blue', name: 'Juno' })])
  presence.take([state(3, 'awareness', { user: { name: 'Sora', color: '#123456' }, pointer: { x: 1, y: 1 } })])
  expect([...presence.people.values()]).toEqual([
    { session: 1, user: 'user 1', name: null, color: 'red', isSelf: true },
    { session: 2, user: 'user 2', name: 'Juno', color: 'blue', isSelf: false },
    { session: 3, user: 'user 3', name: 'Sora', color: '#123456', isSelf: false }
  ])
  const before = people.length
  presence.take([state(3, 'awareness', { user: { name: 'Sora', color: '#123456' }, pointer: { x: 2, y: 1 } })])
  presence.take([state(2, 'pointer', { x: 1, y: 1 }), state(1, 'pointer', { x: 9, y: 9 })])
  expect(people.length).toBe(before)
  expect(presence.shown.map(({ session, kind }) => [session, kind])).toEqual([
    [3, 'awareness'],
    [2, 'pointer']
  ])
  presence.take([state(2, 'leave', null)])
  expect([...presence.people.keys()]).toEqual([1, 3])
  expect(told.at(-1)).toMatchObject({ session: 2, kind: 'pointer', data: null })
})

test('a stroke is named once, and again after a pause, an edit, and on a new connection', async () => {
  const named = () => sent.map((frame) => frame.t === 'ephemeral')
  presence.stroke('one', 1)
  presence.stroke('one', 2)
  presence.stroke('two', 3)
  presence.stroke('two', 4)
  await clock.pass(3_000)
  presence.stroke('two', 5)
  presence.committed('two')
  presence.stroke('two', 6)
  presence.welcome(2, 30)
  presence.stroke('two', 7)
  presence.stroke('two', null)
  presence.stroke('two', 8)
  expect(named()).toEqual([true, false, true, false, true, true, true, true, true])
})
