// A small client of the own door, in MessagePack or JSON: numbered frames, acknowledgements, resending.
//
// It is written from the description of the protocol alone and shares no code with the server or the SDK.

import { randomUUID } from 'node:crypto'
import { decode, encode } from '@msgpack/msgpack'
import WebSocket from 'ws'
import * as Y from 'yjs'

import { until, within } from './wait.mjs'

const CODECS = {
  msgpack: { encode: (frame) => encode(frame), decode: (data) => decode(data), bytes: (value) => value },
  json: {
    encode: (frame) => JSON.stringify(frame),
    decode: (data) => JSON.parse(data.toString()),
    bytes: (text) => new Uint8Array(Buffer.from(text, 'base64'))
  }
}

/** UUIDv7: milliseconds first, then chance. */
export const uuid7 = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  new DataView(bytes.buffer).setUint32(0, Math.floor(Date.now() / 65_536))
  new DataView(bytes.buffer).setUint16(4, Date.now() % 65_536)
  bytes[6] = 0x70 | (bytes[6] & 0x0f)
  bytes[8] = 0x80 | (bytes[8] & 0x3f)
  const hex = Buffer.from(bytes).toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

export class OwnClient {
  /** Frames without an acknowledgement, by their number. */
  #outbox = new Map()
  #waiting = new Map()
  #socket = null
  #seq = 0
  #codec
  /** Vector of a server that asks for what it lost. */
  #lacks = null

  /** `document: false` makes a client that reads changes and keeps plain elements; else it keeps a Y.Doc. */
  constructor (server, board, user, { format = 'msgpack', document = false } = {}) {
    this.server = server
    this.board = board
    this.user = user
    this.format = format
    this.document = document
    this.client = uuid7()
    this.#codec = CODECS[format]
    this.doc = document ? new Y.Doc() : null
    /** Elements by id, for a client without a document. */
    this.elements = new Map()
    /** Newest state of every session and kind. */
    this.states = new Map()
    this.events = []
    this.errors = []
    this.welcome = null
    this.closed = null
  }

  /** Connects, and sends again what was not acknowledged. */
  async connect () {
    const url = `${this.server.ws}/v1/boards/${this.board}/ws?user=${encodeURIComponent(this.user)}`
    const socket = new WebSocket(url, `panseo.v1.${this.format}`)
    this.#socket = socket
    this.welcome = null
    this.closed = null
    let level = false
    socket.on('message', (data) => {
      const frame = this.#codec.decode(data)
      if (frame.t === 'resync') level = true
      this.#take(frame)
    })
    socket.on('close', (code) => { this.closed = code })
    const opened = new Promise((resolve, reject) => {
      socket.once('open', resolve)
      socket.once('error', reject)
    })
    socket.on('error', () => {})
    await within('the own door opens', opened)
    const vector = this.doc === null ? {} : { vector: this.#blob(Y.encodeStateVector(this.doc)) }
    this.#write({ t: 'hello', client: this.client, user: this.user, document: this.document, ...vector })
    await until(`${this.user} is welcome`, () => {
      if (this.closed !== null) throw new Error(`${this.user} was closed with ${this.closed}`)
      if (this.errors.length > 0) throw new Error(`${this.user} was refused: ${JSON.stringify(this.errors)}`)
      return this.welcome !== null && level
    })
    for (const frame of this.#outbox.values()) this.#write(frame)
    this.#handOver()
    return this
  }

  /** Sends ops as one frame and one step of undo; resolves with the acknowledgement, rejects with the refusal. */
  ops (...ops) {
    return this.#number({ t: 'op', gesture: randomUUID(), ops })
  }

  /** Sends an update of a document. */
  update (update) {
    return this.#number({ t: 'update', update: this.#blob(update) })
  }

  ephemeral (kind, data) {
    this.#write({ t: 'ephemeral', kind, data })
  }

  get (id, key) {
    return this.elements.get(id)?.[key]
  }

  /** The network fails. */
  cut () {
    this.#socket?.terminate()
  }

  leave () {
    this.#socket?.close()
  }

  #blob (bytes) {
    return this.format === 'json' ? Buffer.from(bytes).toString('base64') : bytes
  }

  #number (frame) {
    this.#seq += 1
    const numbered = { ...frame, seq: this.#seq }
    this.#outbox.set(this.#seq, numbered)
    const answer = new Promise((resolve, reject) => this.#waiting.set(this.#seq, { resolve, reject }))
    if (this.welcome !== null && this.closed === null) this.#write(numbered)
    // A refusal that nobody awaits must not end the test run by itself; it stays in `errors`.
    answer.catch(() => {})
    return within(`acknowledgement of ${JSON.stringify(frame).slice(0, 80)}`, answer)
  }

  #write (frame) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(this.#codec.encode(frame))
  }

  #take (frame) {
    switch (frame.t) {
      case 'welcome':
        this.welcome = frame
        for (const { first, last, code } of frame.refused ?? []) {
          const told = [...this.#outbox.keys()].filter((seq) => seq >= first && seq <= last)
          for (const seq of told) this.#settle(seq, 'reject', Object.assign(new Error(code), { code }))
        }
        // Numbers go on where an earlier life of this outbox ended.
        this.#seq = Math.max(this.#seq, frame.seq)
        break
      case 'resync':
        if (frame.update) this.#merge(frame.update)
        this.#lacks = frame.vector ?? this.#lacks
        if (frame.entries) {
          this.elements.clear()
          for (const { kind, id, properties } of frame.entries) {
            if (kind === 'element') this.elements.set(id, properties)
          }
        }
        break
      case 'event':
        this.events.push(frame)
        if (frame.update) this.#merge(frame.update)
        for (const change of frame.changes ?? []) this.#change(change)
        break
      case 'ephemeral':
        for (const state of frame.states) this.states.set(`${state.session}:${state.kind}`, state)
        break
      case 'ack':
        for (const seq of [...this.#outbox.keys()].filter((seq) => seq <= frame.seq)) this.#settle(seq, 'resolve', frame)
        break
      case 'error':
        this.errors.push(frame)
        if (frame.seq !== undefined) {
          const cause = Object.assign(new Error(`${frame.code}: ${frame.message}`), { code: frame.code })
          this.#settle(frame.seq, 'reject', cause)
        }
        break
      default:
    }
  }

  /** What the server lost in a crash and asks for. */
  #handOver () {
    if (this.#lacks === null) return
    const update = Y.encodeStateAsUpdate(this.doc, this.#codec.bytes(this.#lacks))
    this.#write({ t: 'resync', update: this.#blob(update) })
    this.#lacks = null
  }

  #settle (seq, how, result) {
    this.#outbox.delete(seq)
    this.#waiting.get(seq)?.[how](result)
    this.#waiting.delete(seq)
  }

  #merge (update) {
    Y.applyUpdate(this.doc, this.#codec.bytes(update), this)
  }

  #change ({ kind, id, before, after }) {
    if (kind !== 'element') return
    if (!after) {
      // A removed entry brings no `after`; neither does one whose properties only went away.
      const left = { ...this.elements.get(id) }
      for (const key of Object.keys(before ?? {})) delete left[key]
      if (Object.keys(left).length === 0) this.elements.delete(id)
      else this.elements.set(id, left)
      return
    }
    const known = { ...this.elements.get(id) }
    for (const key of Object.keys(before ?? {})) if (!(key in after)) delete known[key]
    this.elements.set(id, { ...known, ...after })
  }
}
