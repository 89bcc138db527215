import { beforeEach, expect, test } from 'vitest'
import { FakeClock, FakeSocket, settle, WELCOME } from '../../test/fake.ts'
import type { Why } from '../api.ts'
import type { ServerFrame } from '../protocol/wire.gen.ts'
import { Link } from './socket.ts'

let clock: FakeClock
let heard: (ServerFrame['t'] | Why)[]
let canGreet: boolean
let token: string

const start = async (): Promise<Link> => {
  const owner = {
    hello: async () => {
      if (!canGreet) throw new Error('no token')
      return { client: '01980000-0000-7000-8000-00000000000c', token }
    },
    frame: ({ t }: ServerFrame) => heard.push(t),
    down: (why: Why) => {
      heard.push(why)
      if (why === 'unauthenticated') token += '+'
    },
    stopped: (why: Why) => heard.push(why)
  }
  const link = new Link('ws://board/v1?user=a', FakeSocket as never, clock, owner)
  link.start()
  await settle()
  return link
}

beforeEach(() => {
  clock = new FakeClock()
  FakeSocket.all = []
  heard = []
  canGreet = true
  token = 'a'
})

test('greets first, and is up with the welcome', async () => {
  const link = await start()
  FakeSocket.newest.accept()
  expect(FakeSocket.newest.heard).toMatchObject([{ t: 'hello' }])
  expect(link.isUp).toBe(false)
  FakeSocket.newest.welcome()
  expect(link.isUp).toBe(true)
  expect(heard).toEqual(['welcome', 'resync'])
})

test('comes back after waits that grow, and short ones again once it stood for a while', async () => {
  await start()
  const waits: number[] = []
  const end = async () => {
    FakeSocket.newest.end(1006)
    const before = FakeSocket.all.length
    const from = clock.now()
    while (FakeSocket.all.length === before) await clock.pass(5)
    waits.push(clock.now() - from)
  }
  for (let attempt = 0; attempt < 10; attempt += 1) await end()
  expect(waits).toEqual([125, 250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000])
  FakeSocket.newest.welcome()
  await clock.pass(1_000)
  await end()
  FakeSocket.newest.welcome()
  await clock.pass(6_000)
  await end()
  expect(waits.slice(10)).toEqual([15_000, 125])
})

test('a wake-up ends a wait, but not one that the server asked for', async () => {
  const link = await start()
  for (let attempt = 0; attempt < 8; attempt += 1) {
    FakeSocket.newest.end(1006)
    link.nudge()
    await settle()
  }
  expect(FakeSocket.all).toHaveLength(9)
  FakeSocket.newest.end(4529, '9')
  link.nudge()
  await clock.pass(8_900)
  expect(FakeSocket.all).toHaveLength(9)
  await clock.pass(5_000)
  expect(FakeSocket.all).toHaveLength(10)
})

test('a line that died silently is found: by a ping now and then, sooner after a wake-up', async () => {
  const link = await start()
  FakeSocket.newest.welcome()
  await clock.pass(24_000)
  FakeSocket.newest.say({ t: 'pong' })
  await clock.pass(24_900)
  expect(FakeSocket.newest.heard.filter(({ t }) => t === 'ping')).toHaveLength(0)
  await clock.pass(200)
  expect(FakeSocket.newest.heard.filter(({ t }) => t === 'ping')).toHaveLength(1)
  FakeSocket.newest.say({ t: 'pong' })
  await clock.pass(20_000)
  expect(FakeSocket.all).toHaveLength(1)
  const first = FakeSocket.newest
  link.nudge()
  await clock.pass(4_500)
  expect(FakeSocket.all).toHaveLength(2)
  expect(first.readyState).toBe(3)
})

test('a board that is long on its way is waited for, a wake-up included, but not for ever', async () => {
  const link = await start()
  const { newest } = FakeSocket
  newest.accept()
  newest.say(WELCOME)
  await clock.pass(60_000)
  link.nudge()
  await clock.pass(60_000)
  // The server hangs up on who says nothing for 45 s.
  expect(newest.heard.filter(({ t }) => t === 'ping').length).toBeGreaterThan(4)
  newest.say({ t: 'resync', update: new Uint8Array([0, 0]), position: [7, 1] })
  expect([FakeSocket.all.length, heard]).toEqual([1, ['welcome', 'resync']])
  link.nudge()
  await clock.pass(4_500)
  expect(FakeSocket.all).toHaveLength(2)
  FakeSocket.newest.accept()
  FakeSocket.newest.say(WELCOME)
  await clock.pass(170_000)
  expect(FakeSocket.all).toHaveLength(2)
  await clock.pass(30_000)
  expect(FakeSocket.all).toHaveLength(3)
})

test('a line on which a large edit goes up lives, until nothing moves any more', async () => {
  await start()
  const { newest } = FakeSocket
  newest.welcome()
  newest.bufferedAmount = 4_000_000
  for (let second = 0; second < 60; second += 1) {
    await clock.pass(1_000)
    newest.bufferedAmount -= 10_000
  }
  expect(FakeSocket.all).toHaveLength(1)
  await clock.pass(30_000)
  expect(FakeSocket.all).toHaveLength(2)
})

test('a ping that leaves the browser is no sign of life', async () => {
  await start()
  const { newest } = FakeSocket
  newest.welcome()
  const send = newest.send.bind(newest)
  newest.send = (data) => {
    send(data)
    newest.bufferedAmount = data.length
    void Promise.resolve().then(() => (newest.bufferedAmount = 0))
  }
  await clock.pass(40_000)
  expect(FakeSocket.all).toHaveLength(2)
})

test('a line that died while the clock was set back is found as soon', async () => {
  await start()
  FakeSocket.newest.welcome()
  await clock.pass(10_000)
  clock.set(-3_600_000)
  await clock.pass(30_000)
  expect(FakeSocket.all).toHaveLength(2)
})

test('an attempt that hangs is given up', async () => {
  await start()
  await clock.pass(20_500)
  expect(FakeSocket.all).toHaveLength(2)
})

test('a token that cannot be fetched is a reason to wait, a second bad one to stop', async () => {
  canGreet = false
  await start()
  expect(heard).toEqual(['token'])
  canGreet = true
  await clock.pass(200)
  FakeSocket.newest.end(4401)
  await settle()
  await clock.pass(10)
  FakeSocket.newest.end(4401)
  expect(heard).toEqual(['token', 'unauthenticated', 'unauthenticated'])
  await clock.pass(60_000)
  expect(FakeSocket.all).toHaveLength(2)
  expect(clock.waiting).toBe(0)
})

test('a fresh token that ran out while the network was away is no reason to stop', async () => {
  await start()
  FakeSocket.newest.end(4401)
  await clock.pass(10)
  FakeSocket.newest.end(1006)
  await clock.pass(1_000)
  FakeSocket.newest.end(4401)
  await clock.pass(10)
  FakeSocket.newest.welcome()
  expect(heard.slice(-2)).toEqual(['welcome', 'resync'])
})

test('the token that was refused is not tried again', async () => {
  await start()
  FakeSocket.newest.end(4401)
  token = 'a'
  await clock.pass(10)
  expect(heard).toEqual(['unauthenticated', 'unauthenticated'])
  expect([FakeSocket.all.length, clock.waiting]).toEqual([1, 0])
})

test('after the end nothing comes any more', async () => {
  const link = await start()
  FakeSocket.newest.welcome()
  link.stop('closed')
  link.nudge()
  await clock.pass(100_000)
  expect(heard).toEqual(['welcome', 'resync', 'closed'])
  expect([FakeSocket.all.length, clock.waiting]).toEqual([1, 0])
})

test('bytes that are no frame end the connection, not the program', async () => {
  await start()
  FakeSocket.newest.welcome()
  FakeSocket.newest.onmessage?.({ data: Uint8Array.of(0xc1, 1, 2).buffer } as never)
  await clock.pass(500)
  expect(heard.at(-1)).toBe('connecting')
  expect(FakeSocket.all).toHaveLength(2)
})

const NODES = ['http://a', 'http://b', 'http://c']
const urls = () => FakeSocket.all.map(({ url }) => url)
const loses = async (code: number) => {
  FakeSocket.newest.end(code)
  await clock.pass(1_000)
}

test('goes to the node that serves the board best, and stays where it was sent', async () => {
  const link = await start()
  FakeSocket.newest.welcome({ route: { here: 'http://b', hosts: NODES } })
  await settle()
  expect(heard).toEqual([])
  FakeSocket.newest.welcome({ route: { here: 'http://a', hosts: ['http://c', 'http://a'] } })
  expect([urls(), link.isUp]).toEqual([['ws://board/v1?user=a', 'ws://a/v1?user=a'], true])
  await loses(1006)
  expect(urls().at(-1)).toBe('ws://a/v1?user=a')
})

test('goes on to the next node when one stops or does not answer, and at last to the given address', async () => {
  await start()
  FakeSocket.newest.welcome({ route: { here: 'http://a', hosts: NODES } })
  await loses(1012)
  expect(urls().at(-1)).toBe('ws://a/v1?user=a')
  await loses(1006)
  expect(urls().at(-1)).toBe('ws://b/v1?user=a')
  FakeSocket.newest.welcome({ route: { here: 'http://b', hosts: NODES } })
  await loses(1012)
  expect(urls().at(-1)).toBe('ws://c/v1?user=a')
  await loses(1006)
  expect(urls().at(-1)).toBe('ws://board/v1?user=a')
})

test('stays at the given address once a node could not be reached', async () => {
  const link = await start()
  FakeSocket.newest.welcome({ route: { here: 'http://b', hosts: ['http://a'] } })
  await settle()
  await loses(1006)
  expect(urls()).toEqual(['ws://board/v1?user=a', 'ws://a/v1?user=a', 'ws://board/v1?user=a'])
  FakeSocket.newest.welcome({ route: { here: 'http://b', hosts: ['http://a'] } })
  expect([link.isUp, heard.at(-1)]).toEqual([true, 'resync'])
})
