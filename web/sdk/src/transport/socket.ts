// One connection after another over WebSocket: opens, greets, watches that it lives, and comes back when it ends, in a
// cluster at the node that serves the board best, or the next one. What the frames mean is its owner's business.

import type { SocketClass, SocketLike, Why } from '../api.ts'
import type { Clock } from '../clock.ts'
import { decode, encode, SUBPROTOCOL } from '../protocol/codec.ts'
import type { ClientFrame, Hello, Route, ServerFrame } from '../protocol/wire.gen.ts'
import { type Advice, advise, backoff, STEADY_MS } from './close.ts'

/** From the beginning of an attempt to `welcome`. */
const GREETING_MS_MAX = 20_000
/** From there to the first `resync`: the whole board in one message, behind which no pong can come. */
const LOADING_MS_MAX = 180_000
/** After so long without a frame we ask whether anybody is there; servers ping at another level, where we cannot see it. */
const SILENCE_MS = 25_000
const PONG_MS_MAX = 10_000
/** The same after a wake-up, when people look at the screen. */
const PONG_MS_AWAKE = 4_000
/** States that are only shown wait while more than this is unsent, so that they do not delay edits. */
const UNSENT_BYTES_MAX = 16 * 1024

export interface Owner {
  /** The first frame; it may have to fetch a token. */
  hello(): Promise<Hello>
  frame(frame: ServerFrame): void
  /** The connection has ended, and the next one comes. What must not be sent again is the owner's to put aside. */
  down(why: Why, advice: Advice): void
  /** There will be no other. */
  stopped(why: Why): void
}

export class Link {
  /** Whether `welcome` has come on this connection. */
  isUp = false
  readonly #url: string
  readonly #Socket: SocketClass
  readonly #clock: Clock
  readonly #owner: Owner
  #socket: SocketLike | null = null
  #attempt = 0
  #upSince = 0
  #heard = 0
  /** The first `resync` of this connection has not come. */
  #isLoading = false
  /** The token that went out last, and whether it was refused. */
  #token: string | null | undefined
  #isRefused = false
  #mayNudge = false
  #isStopped = false
  #cancel = () => {}
  /** The nodes that serve the board, the best first, and which of them is this one's; -1: the address that was given. */
  #hosts: readonly string[] = []
  #at = -1
  /** A node that we were sent to did not answer: we stay where we find one. */
  #isBarred = false

  constructor(url: string, Socket: SocketClass, clock: Clock, owner: Owner) {
    this.#url = url
    this.#Socket = Socket
    this.#clock = clock
    this.#owner = owner
  }

  start(): void {
    void this.#connect()
  }

  /** Sends, if there is a connection that has been greeted. */
  send(frame: ClientFrame): void {
    if (this.isUp && this.#socket?.readyState === 1) this.#socket.send(encode(frame))
  }

  /** Whether what is only shown may be sent now. */
  get hasRoom(): boolean {
    return this.isUp && this.#unsent <= UNSENT_BYTES_MAX
  }

  /** Ends this connection and opens the next one at once. */
  renew(): void {
    this.#drop()
    if (!this.#isStopped) void this.#connect()
  }

  /** Something says that the network may be back: do not wait, or ask whether the connection still lives. */
  nudge(): void {
    if (this.#mayNudge) this.renew()
    else if (this.isUp && !this.#isLoading) this.#ask(PONG_MS_AWAKE)
  }

  stop(why: Why): void {
    if (this.#isStopped) return
    this.#isStopped = true
    this.#drop()
    this.#owner.stopped(why)
  }

  async #connect(): Promise<void> {
    this.#mayNudge = false
    let isCurrent = true
    this.#cancel = () => {
      isCurrent = false
    }
    const hello = await this.#owner.hello().catch(() => null)
    if (!isCurrent) return
    if (hello === null) return this.#retry('token', backoff(this.#attempt++, 250, this.#clock.random))
    if (this.#isRefused && hello.token === this.#token) return this.stop('unauthenticated')
    this.#token = hello.token
    this.#wait(GREETING_MS_MAX, () => this.#ended(1006, ''))
    let socket: SocketLike
    try {
      socket = new this.#Socket(this.#address, SUBPROTOCOL)
    } catch {
      if (this.#at >= 0) return this.#ended(1006, '')
      // The address is none, or the page's policy forbids it: no other attempt would end differently.
      return this.stop('fault')
    }
    this.#socket = socket
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => socket.send(encode({ t: 'hello', ...hello }))
    socket.onmessage = (event) => this.#take(new Uint8Array((event as { data: ArrayBuffer }).data))
    socket.onclose = (event) => {
      const { code, reason } = event as { code: number; reason: string }
      this.#ended(code, reason)
    }
    // `close` follows every error and says as much.
    socket.onerror = () => {}
  }

  #take(bytes: Uint8Array): void {
    let frame: ServerFrame
    try {
      frame = decode(bytes)
    } catch {
      return this.#ended(1006, '')
    }
    this.#heard = this.#clock.now()
    if (frame.t === 'welcome') {
      if (this.#isSentOn(frame.route)) return this.renew()
      this.isUp = true
      this.#isLoading = true
      this.#isRefused = false
      this.#upSince = this.#heard
      this.#watch()
    }
    if (frame.t === 'resync') this.#isLoading = false
    this.#owner.frame(frame)
  }

  get #address(): string {
    const host = this.#hosts[this.#at]
    if (host === undefined) return this.#url
    const { pathname, search } = new URL(this.#url)
    return host.replace('http', 'ws') + pathname + search
  }

  /** Takes in who serves the board; whether we go there. Who was sent to a node stays, whatever that one thinks. */
  #isSentOn(route: Route | null | undefined): boolean {
    const { here, hosts } = route ?? { hosts: [] }
    this.#hosts = hosts
    if (this.#at < 0) {
      if (this.#isBarred || hosts.length === 0 || hosts[0] === here) return false
      this.#at = 0
      return true
    }
    this.#isBarred = false
    this.#at = hosts.indexOf(here ?? '')
    return false
  }

  /** The next of the nodes, when this one does not answer or is about to stop. */
  #goOn(): void {
    if (this.#at >= 0 && !this.isUp) this.#isBarred = true
    this.#at = this.#at + 1 < this.#hosts.length ? this.#at + 1 : -1
  }

  /** Looks from time to time whether anything was heard. */
  #watch(): void {
    const silence_ms = this.#clock.now() - this.#heard
    // Below 0 the clock was set back.
    if (silence_ms >= SILENCE_MS || silence_ms < 0) this.#ask(PONG_MS_MAX)
    else this.#wait(SILENCE_MS - silence_ms, () => this.#watch())
  }

  #ask(patience_ms: number): void {
    this.#heard = -1
    // Before the ping: its own bytes leave for the system on a dead line, too.
    const unsent = this.#unsent
    this.send({ t: 'ping' })
    this.#wait(patience_ms, () => {
      if (this.#heard >= 0) return this.#watch()
      const isLoading = this.#isLoading && this.#clock.now() - this.#upSince < LOADING_MS_MAX
      // A large edit on its way up shows that the line lives. The server hangs up on who says nothing, so we ask again.
      if (isLoading || this.#unsent < unsent) this.#ask(patience_ms)
      else this.#ended(1006, '')
    })
  }

  get #unsent(): number {
    return this.#socket?.bufferedAmount ?? 0
  }

  #ended(code: number, reason: string): void {
    const { now, random } = this.#clock
    if (this.isUp && now() - this.#upSince >= STEADY_MS) this.#attempt = 0
    const advice = advise(code, reason, this.#attempt, random)
    const wasRefused = this.#isRefused
    this.#isRefused = advice.then === 'ask for a token'
    this.#attempt += 1
    const isStopping = code === 1012 && this.#hosts.length > 1
    if (isStopping || !this.isUp) this.#goOn()
    this.#drop()
    switch (advice.then) {
      case 'stop':
        return this.stop(advice.why)
      case 'ask for a token':
        if (wasRefused) return this.stop('unauthenticated')
        return this.#retry('unauthenticated', 0, advice)
      case 'take a new document':
        return this.#retry('connecting', backoff(this.#attempt, 250, random), advice)
      case 'leave out':
        return this.#retry('fault', advice.wait_ms, advice)
      case 'reconnect':
        // Others are there: no need to wait until it has started again.
        return this.#retry(advice.why, isStopping ? random() * 1_000 : advice.wait_ms, advice)
    }
  }

  #retry(why: Why, wait_ms: number, advice: Advice = { then: 'reconnect', wait_ms, why, isHint: false }): void {
    this.#mayNudge = advice.then !== 'reconnect' || !advice.isHint
    this.#wait(wait_ms, () => void this.#connect())
    this.#owner.down(why, advice)
  }

  #wait(ms: number, then: () => void): void {
    this.#cancel()
    this.#cancel = this.#clock.after(ms, then)
  }

  #drop(): void {
    this.#cancel()
    this.isUp = false
    this.#mayNudge = false
    const socket = this.#socket
    this.#socket = null
    if (socket === null) return
    socket.onopen = socket.onmessage = socket.onclose = null
    // 0 and 1: it still stands, or is being opened.
    if (socket.readyState < 2) socket.close(1000)
  }
}
