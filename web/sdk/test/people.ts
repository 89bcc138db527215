// People with a board each, and the few gestures the tests need.

import WebSocket from 'ws'
import * as Y from 'yjs'
import { type Board, type OpenOptions, openBoard, uuid } from '../src/index.ts'
import { until } from './server.ts'

/** Sockets of everybody, so that a test can cut a line without a goodbye. */
export class CutSocket extends WebSocket {
  static readonly open = new Set<CutSocket>()
  /** Nobody gets through. */
  static isBarred = false
  constructor(url: string, protocols: string) {
    // Nothing listens at port 1.
    super(CutSocket.isBarred ? 'ws://127.0.0.1:1' : url, protocols)
    CutSocket.open.add(this)
    this.once('close', () => CutSocket.open.delete(this))
  }
}

export const join = (url: string, board: string, user: string, options: Partial<OpenOptions> = {}): Promise<Board> =>
  openBoard({ url, board, user, WebSocket, ...options, document: true })

export const newBoard = (): string => `sdk-${uuid()}`

let drawn = 0
export const draw = (
  board: Board,
  id: string,
  properties: { [key: string]: unknown } = {},
  gesture?: string
): string => {
  drawn += 1
  const pos = `a${String(drawn).padStart(6, '0')}V`
  const all = { type: 'rectangle', x: drawn, y: 0, width: 10, height: 10, pos, ...properties }
  board.edit((doc) => doc.getMap('board:elements').set(id, new Y.Map(Object.entries(all))), gesture)
  return id
}

export const set = (board: Board, id: string, key: string, value: unknown, gesture?: string): void => {
  board.edit((doc) => (doc.getMap('board:elements').get(id) as Y.Map<unknown>).set(key, value), gesture)
}

export const get = (board: Board, id: string, key: string): unknown =>
  (board.doc.getMap('board:elements').get(id) as Y.Map<unknown> | undefined)?.get(key)

/** Elements that live. */
export const ids = (board: Board): string[] =>
  [...board.doc.getMap<Y.Map<unknown>>('board:elements').entries()]
    .filter(([, element]) => !element.has('deleted'))
    .map(([id]) => id)
    .sort()

/** Waits until all documents have the same state vector and content. */
export const equal = async (...boards: Board[]): Promise<void> => {
  const print = ({ doc }: Board) => {
    const vector = [...Y.decodeStateVector(Y.encodeStateVector(doc))].sort(([one], [other]) => one - other)
    const elements = Object.entries(doc.getMap('board:elements').toJSON()).sort(([one], [other]) =>
      one < other ? -1 : 1
    )
    return JSON.stringify([vector, elements.map(([id, all]) => [id, Object.entries(all as object).sort()])])
  }
  await until('documents become equal', () => new Set(boards.map(print)).size === 1)
}
