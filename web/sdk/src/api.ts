// What programs see of the SDK: options, states, events, and the two kinds of boards. No code.

import type * as Y from 'yjs'
import type * as wire from './protocol/wire.gen.ts'

/** How a board is opened. */
export interface OpenOptions {
  /** Address of the server, as `https://panseo.example`. */
  url: string
  /** Id of the board. */
  board: string
  /** The token, or what fetches one; it is asked again when the server does not take the old one any more. */
  token?: string | (() => string | Promise<string>)
  /** Name to go by, where the server runs with `--auth open`. */
  user?: string
  /** `false`: no Y.Doc; edits go as ops, what others do comes as changes. */
  document?: boolean
  /** Whether document and unsent edits are kept on this device (IndexedDB). Default: where that is possible. */
  device?: boolean
  /** The WebSocket class, where there is none in the environment (Node 20: that of the package `ws`). */
  WebSocket?: SocketClass
  /** Gives up waiting for the first connection. */
  signal?: AbortSignal
}

/** What the SDK needs of a WebSocket. */
export interface SocketLike {
  binaryType: string
  readonly bufferedAmount: number
  readonly readyState: number
  onopen: ((event: never) => void) | null
  onmessage: ((event: never) => void) | null
  onclose: ((event: never) => void) | null
  onerror: ((event: never) => void) | null
  send(data: Uint8Array<ArrayBuffer>): void
  close(code?: number, reason?: string): void
}
export type SocketClass = new (url: string, protocols: string) => SocketLike

/**
 * `saved`: all of it is on the server's disk. `saving`: on its way. `offline`: no connection, edits wait here.
 * `read-only`: edits are not taken, `why` says for what reason.
 */
export type Save = 'saved' | 'saving' | 'offline' | 'read-only'

/** Whether document and unsent edits are kept on this device. */
export type DeviceState =
  | 'kept'
  /** Not asked for, or there is no IndexedDB or no Web Locks here (they need https or localhost). */
  | 'off'
  /** The browser does not allow it. */
  | 'forbidden'
  /** No room is left: what is not sent yet is lost when the tab closes. */
  | 'full'

/** What to show people about their work. */
export interface BoardState {
  save: Save
  /** Edits without an acknowledgement. */
  unsaved: number
  /** Why it is offline or read-only, in fixed words; else `null`. */
  why: Why | null
  device: DeviceState
}

/** Reasons, for programs; the words for people are the program's. */
export type Why =
  | 'connecting'
  | 'closed'
  | 'server_restarts'
  | 'board_is_loading'
  | 'busy'
  | 'rate'
  | 'viewer'
  /** The server takes no edits for this board now; what waits here is sent when it does again. */
  | 'board_read_only'
  | 'unauthenticated'
  | 'forbidden'
  | 'no_board'
  | 'other_user'
  | 'token'
  | 'fault'

/** Somebody who is on the board, once for each connection. */
export interface Person {
  session: number
  user: string
  /** Name from the token. */
  name: string | null
  /** CSS colour by the server, the same for a user everywhere. */
  color: string
  isSelf: boolean
}

/** A frame of the server about a record. */
export interface BoardEvent {
  id: wire.RecordId
  author: string
  kind: wire.RecordKind
  gesture: string | null
  time: number
  /** What changed, for boards without a document. */
  changes: wire.Change[] | null
}

/** Outcome of an op. */
export interface Done {
  position: wire.Position
  /** What an undo or redo came to. */
  undone: wire.Undone | null
}

/** An edit that the server did not take. It is no longer on screen; this is what is left of it. */
export interface Refused {
  /** Error code of the server, or one of this side: `too_large`, `malformed`, `gap`. New ones may come. */
  code: string
  /** What was wrong and what to do, for people, in English. */
  message: string
  gesture: string | null
  /** Entries that the edit made or changed, with the properties it set. */
  entries: { kind: wire.EntryKind; id: string; properties: wire.Properties }[]
  /** The edit as it was. */
  update: Uint8Array
}

/** Names of events and what listeners get. */
export interface BoardEvents {
  state: BoardState
  /** The list of people is another one now. */
  people: ReadonlyMap<number, Person>
  /** Pointers, strokes in the making, viewports of others, one call for each; `data: null` ends one. */
  ephemeral: wire.EphemeralState
  /** A record that somebody made, own ones with ops included. */
  event: BoardEvent
  role: { role: wire.Role; why: string | null }
  /** Waits for a listener, if there is none yet. */
  refused: Refused
  /** `board.doc` is another document now: bind to this one. Edits that were not saved are in it already. */
  document: Y.Doc
  /** `board.entries` is new as a whole (boards without a document). */
  entries: ReadonlyMap<string, wire.Item>
}

/** What boards with and without a document share. */
export interface Session {
  readonly id: string
  readonly state: BoardState
  /** What the server says; `null` before the first connection. */
  readonly user: string | null
  readonly role: wire.Role | null
  readonly limits: wire.ClientLimits | null
  readonly people: ReadonlyMap<number, Person>
  /** Newest ephemeral states of others, strokes excepted. */
  readonly shown: readonly wire.EphemeralState[]

  /** Sends ops as one step, all or none; resolves when they are durable, rejects with an `OpError`. */
  op(ops: wire.Op | wire.Op[], gesture?: string): Promise<Done>
  /** Shows the own pointer, at most 30 times a second, only on movement. */
  pointer(x: number, y: number, more?: { [key: string]: wire.Value }): void
  /** Shows a state of any kind; the newest counts, `null` ends it. */
  show(kind: string, data: wire.Value, gesture?: string): void
  /** Adds to a stroke in the making. */
  stroke(gesture: string, data: wire.Value): void
  /** Asks this user to show where they look, as `viewport` states, until `null` is given. */
  follow(user: string | null): void
  /** Resolves when all edits so far are acknowledged or refused. */
  saved(): Promise<void>
  /** Returns what ends the listening. */
  on<Name extends keyof BoardEvents>(name: Name, listener: (what: BoardEvents[Name]) => void): () => void
  /** Leaves. What is not acknowledged stays on the device, if it is kept there. */
  close(): Promise<void>
}

/** A board with a Yjs document. */
export interface Board extends Session {
  /** Roots as in docs/PROTOCOL.md, «The document». Replaced when `document` is told. */
  readonly doc: Y.Doc
  /** Changes the document in one transaction, as part of the gesture (a step of undo). `doc.transact` works, too. */
  edit<T>(change: (doc: Y.Doc) => T, gesture?: string): T
}

/** A board without a document. */
export interface PlainBoard extends Session {
  /** All entries, by `kind:id`. */
  readonly entries: ReadonlyMap<string, wire.Item>
}

/** Opens a board; resolves once it is restored from this device, or synced. Exported as `openBoard`. */
export interface OpenBoard {
  (options: OpenOptions & { document: false }): Promise<PlainBoard>
  (options: OpenOptions & { document?: true }): Promise<Board>
}

/** Where the REST door is, and who asks. */
export type RestOptions = Pick<OpenOptions, 'url' | 'token' | 'user'>

export interface BoardInfo {
  id: string
  title: string
  /** Who may edit which elements. */
  edit: 'all' | 'own'
  created: number
  owner: string
}

export interface Member {
  user: string
  role: wire.Role
}

/** A code by which people come onto a board. */
export interface Invite {
  code: string
  role: wire.Role
  expires: number
}

export interface AssetView {
  sha256: string
  mimeType: string
  bytes: number
  width?: number
  height?: number
}

/** The REST door, as far as boards in a browser need it; `/openapi.json` has all of it. Exported as `openRest`. */
export interface Rest {
  boards(after?: string, limit?: number): Promise<{ boards: BoardInfo[]; next?: string }>
  createBoard(board?: { id?: string; title?: string; edit?: 'all' | 'own' }): Promise<BoardInfo>
  board(id: string): Promise<BoardInfo & { role: wire.Role }>
  updateBoard(id: string, patch: { title?: string; edit?: 'all' | 'own' }): Promise<BoardInfo>
  deleteBoard(id: string): Promise<void>
  members(id: string): Promise<Member[]>
  setRole(id: string, user: string, role: wire.Role): Promise<Member>
  removeMember(id: string, user: string): Promise<void>
  invites(id: string): Promise<Invite[]>
  invite(id: string, role: 'viewer' | 'editor', days?: number): Promise<Invite>
  removeInvite(id: string, code: string): Promise<void>
  /** Makes the caller a member of the board that the code leads to. */
  join(code: string): Promise<{ board: string; role: wire.Role }>
  /** Boards the caller was on, newest first. */
  recent(): Promise<(BoardInfo & { visited: number })[]>
  /** A small PNG of what is on the board. */
  thumbnail(id: string): Promise<Blob>
  noteVisit(id: string): Promise<void>
  /** Uploads an image under the hash of its content, made here unless given; then tell the board with the op `asset.add`. */
  putAsset(id: string, content: Uint8Array<ArrayBuffer>, hash?: string): Promise<AssetView>
  asset(id: string, sha256: string): Promise<Blob>
  export(id: string, format: 'excalidraw' | 'json', options?: { page?: string; deleted?: boolean }): Promise<Blob>
  importInto(id: string, file: Blob | Uint8Array<ArrayBuffer>): Promise<{ elements: number; notes: string[] }>
}
