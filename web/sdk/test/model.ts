// A server in small, by the rules of docs/PROTOCOL.md: numbers, gaps, and a crash that loses
// what was not durable. It can lose answers, be busy, and refuse.

import * as Y from 'yjs'
import type { ClientFrame, ErrorCode } from '../src/protocol/wire.gen.ts'
import { FakeSocket, LIMITS } from './fake.ts'

type EditFrame = Extract<ClientFrame, { seq: number }>

interface Taken {
  client: string
  frame: EditFrame
  line: Line | null
}

interface Line {
  socket: FakeSocket
  client: string
  read: number
}

export class ModelServer {
  doc = new Y.Doc()
  /** How often an op was done, by the target it names. */
  done = new Map<string, number>()
  isBusy = false
  /** The next update is refused for good. */
  refusesNext = false
  #log: Taken[] = []
  #durable = 0
  #seen = new Map<string, number>()
  /** Refusals by client and number; a number keeps its own for ever. */
  #refused = new Map<string, Map<number, ErrorCode>>()
  #lines: Line[] = []

  /** Answers new connections, and reads up to so many frames of each. */
  serve(frames: number): void {
    for (const socket of FakeSocket.all) {
      if (socket.readyState === 0) socket.accept()
      if (socket.readyState === 1 && !this.#lines.some((line) => line.socket === socket)) this.#greet(socket)
    }
    this.#lines = this.#lines.filter(({ socket }) => socket.readyState === 1)
    for (const line of this.#lines) {
      for (let count = 0; count < frames && line.read < line.socket.heard.length; count += 1) {
        const frame = line.socket.heard[line.read] as ClientFrame
        line.read += 1
        if (frame.t === 'op' || frame.t === 'update') this.#take(line, frame)
      }
    }
  }

  /** All that was taken is on disk: it is acknowledged, if there is still somebody to hear it. */
  flush(): void {
    for (const { frame, client, line } of this.#log.slice(this.#durable)) {
      this.#lines.find((other) => other === line || other.client === client)?.socket.ack(frame.seq)
    }
    this.#durable = this.#log.length
  }

  /** Lines are cut; answers under way are lost. */
  cut(): void {
    for (const { socket } of this.#lines) socket.end(1006)
    this.#lines = []
  }

  /** kill -9, and a start from what was durable. */
  crash(): void {
    this.cut()
    const log = this.#log.slice(0, this.#durable)
    this.doc = new Y.Doc()
    this.done = new Map()
    this.#seen = new Map()
    this.#log = []
    for (const { client, frame } of log) this.#apply({ client, frame, line: null })
    // Those behind a client's last record are forgotten.
    for (const [client, refused] of this.#refused)
      for (const seq of refused.keys()) if (seq > (this.#seen.get(client) ?? 0)) refused.delete(seq)
  }

  #greet(socket: FakeSocket): void {
    const hello = socket.heard.find((frame) => frame.t === 'hello')
    if (hello?.t !== 'hello') return
    this.#lines.push({ socket, client: hello.client, read: socket.heard.indexOf(hello) + 1 })
    const seq = this.#seen.get(hello.client) ?? 0
    const all = { role: 'editor' as const, position: [1, 1] as [number, number], limits: LIMITS }
    socket.say({ t: 'welcome', session: this.#lines.length, user: 'mina', seq, ...all })
    socket.say({ t: 'resync', update: Y.encodeStateAsUpdate(this.doc, hello.vector ?? undefined), position: [1, 1] })
  }

  #take(line: Line, frame: EditFrame): void {
    const refused = this.#refused.get(line.client) ?? new Map<number, ErrorCode>()
    this.#refused.set(line.client, refused)
    const say = (code: ErrorCode) => {
      refused.set(frame.seq, code)
      line.socket.say({ t: 'error', code, message: code, seq: frame.seq })
    }
    const known = refused.get(frame.seq)
    if (known !== undefined) say(known)
    else if (frame.seq <= (this.#seen.get(line.client) ?? 0)) {
      // A repeat is acknowledged once the first one is durable; until then the flush does it.
      const isWaiting = this.#log
        .slice(this.#durable)
        .some((one) => one.client === line.client && one.frame.seq === frame.seq)
      if (!isWaiting) line.socket.ack(frame.seq)
    } else if (this.isBusy) say('busy')
    else if (frame.t === 'update' && this.#isGap(frame.update)) say('needs_resync')
    else if (frame.t === 'update' && this.refusesNext) {
      this.refusesNext = false
      say('bad_op')
    } else this.#apply({ client: line.client, frame, line })
  }

  #apply(taken: Taken): void {
    const { client, frame } = taken
    this.#log.push(taken)
    this.#seen.set(client, frame.seq)
    if (frame.t === 'update') Y.applyUpdate(this.doc, frame.update)
    else
      for (const op of frame.ops)
        if (op.op === 'like.set') this.done.set(op.target, (this.done.get(op.target) ?? 0) + 1)
  }

  /** Whether the update builds on blocks that are not here. */
  #isGap(update: Uint8Array): boolean {
    const { structs } = Y.decodeUpdate(update)
    const next = new Map<number, number>()
    const isKnown = (id: Y.ID | null) =>
      id === null || id.clock < (next.get(id.client) ?? Y.getState(this.doc.store, id.client))
    for (const struct of structs) {
      const { client, clock } = struct.id
      if (clock > (next.get(client) ?? Y.getState(this.doc.store, client))) return true
      next.set(client, Math.max(clock + struct.length, Y.getState(this.doc.store, client)))
    }
    return structs.some((struct) => {
      if (!(struct instanceof Y.Item)) return false
      const parent = struct.parent as unknown
      return !isKnown(struct.origin) || !isKnown(struct.rightOrigin) || (parent instanceof Y.ID && !isKnown(parent))
    })
  }
}
