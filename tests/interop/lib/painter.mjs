// An unmodified y-websocket provider with a document, and the few gestures the tests need.

import WebSocket from 'ws'
import * as Y from 'yjs'
import { WebsocketProvider } from 'y-websocket'

import { until } from './wait.mjs'

/** Kinds and values a valid element may have: new ones bring type, x, y and pos. */
export const newElement = (properties = {}) =>
  new Y.Map(Object.entries({ type: 'rectangle', x: 10, y: 20, width: 100, height: 50, pos: newPos(), ...properties }))

let counter = 0
/** A fractional index above the ones before it; the random suffix keeps two people's apart. */
const newPos = () => {
  counter += 1
  const suffix = Math.random().toString(36).slice(2, 8).padEnd(6, '1')
  return `a${String(counter).padStart(7, '0')}${suffix}V`
}

export class Painter {
  constructor (server, board, user, options = {}) {
    this.user = user
    this.doc = new Y.Doc()
    this.elements = this.doc.getMap('board:elements')
    this.provider = new WebsocketProvider(`${server.ws}/yjs`, board, this.doc, {
      WebSocketPolyfill: WebSocket,
      disableBc: true,
      maxBackoffTime: 400,
      params: { user },
      ...options
    })
    this.awareness = this.provider.awareness
    // A final refusal would otherwise look like a time-out.
    this.closed = null
    this.provider.on('closed', (event) => { this.closed = event })
  }

  async synced () {
    await until(`${this.user} is synced`, () => {
      if (this.closed) throw new Error(`${this.user} was closed for good: ${this.closed.code} ${this.closed.reason}`)
      return this.provider.synced
    })
    return this
  }

  draw (id, properties) {
    this.elements.set(id, newElement(properties))
    return id
  }

  set (id, key, value) {
    this.elements.get(id).set(key, value)
  }

  get (id, key) {
    return this.elements.get(id)?.get(key)
  }

  show (state) {
    this.awareness.setLocalState(state)
  }

  /** People this client sees, without itself. */
  peers () {
    return [...this.awareness.getStates()].filter(([id]) => id !== this.doc.clientID).map(([, state]) => state)
  }

  /** The network fails: the socket goes without a goodbye, and the provider comes back by itself. */
  cut () {
    this.provider.ws?.terminate()
  }

  leave () {
    this.provider.destroy()
    this.doc.destroy()
  }
}

/** Plain content of the given roots, keys sorted, to compare documents that were built in different orders. */
export const content = (doc, roots = ['board:elements']) =>
  Object.fromEntries(roots.map((name) => [name, sorted(doc.getMap(name).toJSON())]))

export const sorted = (value) => {
  if (value instanceof Uint8Array) return [...value]
  if (Array.isArray(value)) return value.map(sorted)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]))
}

/** State vector with its clients in order. */
export const vector = (doc) =>
  [...Y.decodeStateVector(Y.encodeStateVector(doc))].sort(([left], [right]) => left - right)

const print = (doc) => JSON.stringify([vector(doc), content(doc)])

/** Waits until all documents have the same state vector and the same content. */
export const equal = async (...docs) => {
  let last = ''
  try {
    await until('documents become equal', () => {
      const prints = docs.map(print)
      last = prints.map((text) => text.slice(0, 400)).join('\n')
      return prints.every((text) => text === prints[0])
    })
  } catch (cause) {
    throw new Error(`${cause.message}\n${last}`)
  }
}
