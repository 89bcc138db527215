// A clock that moves when it is told, and a server that says what it is told, for tests about time and order.

import type { SocketLike } from '../src/api.ts'
import type { Clock } from '../src/clock.ts'
import { decodeAny, encode } from '../src/protocol/codec.ts'
import type { ClientFrame, ClientLimits, Role, Route, ServerFrame } from '../src/protocol/wire.gen.ts'

/** Lets all that is ready run. */
export const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve()
}

export class FakeClock implements Clock {
  chance = 0.5
  #now = 1_760_000_000_000
  #timers: { at: number; call: () => void }[] = []

  now = () => this.#now
  random = () => this.chance
  after = (ms: number, call: () => void) => {
    const timer = { at: this.#now + ms, call }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer)
    }
  }

  get waiting(): number {
    return this.#timers.length
  }

  /** The wall clock is set; timers know nothing of it. */
  set(ms: number): void {
    this.#now += ms
    for (const timer of this.#timers) timer.at += ms
  }

  async pass(ms: number): Promise<void> {
    const end = this.#now + ms
    for (;;) {
      await settle()
      const next = this.#timers.filter(({ at }) => at <= end).sort((one, other) => one.at - other.at)[0]
      if (!next) break
      this.#timers = this.#timers.filter((timer) => timer !== next)
      this.#now = next.at
      next.call()
    }
    this.#now = end
  }
}

/** The far end of one connection. */
export class FakeSocket implements SocketLike {
  /** All that were opened, the newest last. */
  static all: FakeSocket[] = []
  static get newest(): FakeSocket {
    return FakeSocket.all.at(-1) as FakeSocket
  }

  binaryType = ''
  bufferedAmount = 0
  readyState = 0
  onopen: ((event: never) => void) | null = null
  onmessage: ((event: never) => void) | null = null
  onclose: ((event: never) => void) | null = null
  onerror: ((event: never) => void) | null = null
  readonly url: string
  /** What the client has sent and the test has not read. */
  heard: ClientFrame[] = []

  constructor(url: string) {
    this.url = url
    FakeSocket.all.push(this)
  }

  send(data: Uint8Array<ArrayBuffer>): void {
    this.heard.push(decodeAny(data) as unknown as ClientFrame)
  }

  close(): void {
    this.readyState = 3
  }

  // What the server does.

  accept(): void {
    this.readyState = 1
    this.onopen?.({} as never)
  }

  say(frame: ServerFrame): void {
    this.onmessage?.({ data: encode(frame).buffer } as never)
  }

  welcome({
    seq = 0,
    user = 'mina',
    role = 'teacher' as Role,
    update = new Uint8Array([0, 0]) as Uint8Array,
    vector = null as Uint8Array | null,
    route = null as Route | null
  } = {}): void {
    this.accept()
    this.say({ t: 'welcome', session: 1, user, role, seq, position: [7, 1], limits: LIMITS, ...(route && { route }) })
    this.say({ t: 'resync', update, position: [7, 1], ...(vector && { vector }) })
  }

  ack(seq: number): void {
    this.say({ t: 'ack', seq, position: [7, seq] })
  }

  /** The connection ends from the far side, or by the network. */
  end(code: number, reason = ''): void {
    this.readyState = 3
    this.onclose?.({ code, reason } as never)
  }

  /** Edits the client has sent since the last look. */
  edits(): Extract<ClientFrame, { seq: number }>[] {
    const edits = this.heard.filter((frame) => frame.t === 'op' || frame.t === 'update')
    this.heard = this.heard.filter((frame) => frame.t !== 'op' && frame.t !== 'update')
    return edits
  }

  seqs(): number[] {
    return this.edits().map(({ seq }) => seq)
  }
}

export const LIMITS: ClientLimits = {
  op_bytes_max: 4_096,
  update_bytes_max: 2_048,
  first_update_bytes_max: 8_192,
  asset_bytes_max: 1_000_000,
  elements_max: 50_000,
  updates_per_second: 120,
  ephemeral_per_second: 30,
  tick_ms: 33
}

/** Without a board behind it. */
export const WELCOME: ServerFrame = {
  t: 'welcome',
  session: 1,
  user: 'mina',
  role: 'teacher',
  seq: 0,
  position: [7, 1],
  limits: LIMITS
}
