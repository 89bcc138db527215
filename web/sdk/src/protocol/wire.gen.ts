// Made by `npm run gen` from schemas/. Do not edit.

/** Any value that a frame can hold. Whole numbers above 2^53 are `bigint`. */
export type Value = null | boolean | number | bigint | string | Uint8Array | Value[] | { [key: string]: Value }

/**
 * Name of a person, as the verified token gives it.
 */
export type UserId = string
export type Blob = Uint8Array
/**
 * One request. The ops of one frame are one transaction and one record: all or none.
 */
export type Op =
  | {
      op: 'element.create'
      element: Entry
      /**
       * Element it lies right above; absent = on top of all.
       */
      after?: EntryId | null
    }
  | {
      op: 'element.update'
      target: EntryId
      set: Properties
    }
  | {
      op: 'element.move'
      /**
       * Elements to move.
       */
      targets: EntryId[]
      /**
       * To the right, in px.
       */
      dx: number
      /**
       * Down, in px.
       */
      dy: number
    }
  | {
      op: 'element.order'
      /**
       * Elements to put elsewhere.
       */
      targets: EntryId[]
      /**
       * Element they shall lie right above; `after` or `before`, not both. Neither: on top.
       */
      after?: EntryId | null
      /**
       * Element they shall lie right below.
       */
      before?: EntryId | null
    }
  | {
      op: 'element.delete'
      /**
       * Elements to delete.
       */
      targets: EntryId[]
    }
  | {
      op: 'board.clear'
      /**
       * Page to clear (`""` is the first); absent = all pages.
       */
      page?: string | null
    }
  | {
      op: 'page.add'
      page: EntryId
      /**
       * Its title.
       */
      title?: string | null
      /**
       * Page it comes after; absent = last.
       */
      after?: string | null
      /**
       * CSS colour.
       */
      background?: string | null
    }
  | {
      op: 'page.update'
      /**
       * The page; `""` is the first.
       */
      page: string
      /**
       * New title.
       */
      title?: string | null
      /**
       * Page it shall come after; `""` too.
       */
      after?: string | null
      /**
       * New background.
       */
      background?: string | null
    }
  | {
      op: 'page.delete'
      page: EntryId
    }
  | {
      op: 'asset.add'
      sha256: EntryId
      /**
       * Media type; filled in by the server from the uploaded content.
       */
      mimeType?: string | null
      /**
       * Size in bytes; filled in by the server.
       */
      bytes?: number | null
      /**
       * Width in px; filled in by the server.
       */
      width?: number | null
      /**
       * Height in px; filled in by the server.
       */
      height?: number | null
    }
  | {
      op: 'comment.add'
      comment: EntryId
      /**
       * What it says.
       */
      text: string
      /**
       * Element it is about.
       */
      element?: EntryId | null
      /**
       * Place on the page in px.
       */
      x?: number | null
      /**
       * Place on the page in px.
       */
      y?: number | null
      /**
       * Page it is on; absent = `""`.
       */
      page?: string | null
      /**
       * Comment it answers.
       */
      parent?: EntryId | null
    }
  | {
      op: 'comment.edit'
      comment: EntryId
      /**
       * What it says now.
       */
      text: string
    }
  | {
      op: 'comment.resolve'
      comment: EntryId
      /**
       * Whether it is settled.
       */
      resolved: boolean
    }
  | {
      op: 'comment.delete'
      comment: EntryId
    }
  | {
      op: 'like.set'
      target: EntryId
      /**
       * Whether it is liked.
       */
      on: boolean
    }
  | {
      op: 'undo'
      /**
       * Which step; absent = the newest.
       */
      step?: StepName | null
      /**
       * Whose step (right: moderate); absent = one's own.
       */
      user?: UserId | null
    }
  | {
      op: 'redo'
      /**
       * Which step; absent = the newest.
       */
      step?: StepName | null
      /**
       * Whose step (right: moderate); absent = one's own.
       */
      user?: UserId | null
    }
  | {
      op: 'board.restore'
      at: Position
    }
/**
 * Key of an element, page, comment or asset in the board document.
 */
export type EntryId = string
/**
 * Names a step of undo.
 */
export type StepName = RecordId | string
/**
 * Name of a record, and of the undo step it opens: the room that made it and its number there.
 *
 * @minItems 2
 * @maxItems 2
 */
export type RecordId = [number, number]
/**
 * A place in the life of a log. An offset of another epoch says nothing, so the two never part.
 *
 * On the wire: `[epoch, offset]`. Only comparisons are meaningful; there is no arithmetic on offsets.
 *
 * @minItems 2
 * @maxItems 2
 */
export type Position = [number, number]
/**
 * A frame from a client.
 */
export type ClientFrame =
  | (Hello & {
      t: 'hello'
    })
  | {
      t: 'op'
      /**
       * Counted from 1 for each `client` and board.
       */
      seq: number
      /**
       * Step of undo these ops belong to.
       */
      gesture?: string | null
      /**
       * What is asked for.
       */
      ops: Op[]
    }
  | {
      t: 'update'
      /**
       * Counted from 1 for each `client` and board.
       */
      seq: number
      /**
       * Step of undo this update belongs to.
       */
      gesture?: string | null
      update: Blob
    }
  | {
      t: 'resync'
      update: Blob
    }
  | (Ephemeral & {
      t: 'ephemeral'
    })
  | {
      t: 'more'
      d: Value
    }
  | {
      t: 'ping'
    }
/**
 * One connection in one room.
 */
export type SessionId = number
/**
 * What a user may do on a board; each role includes the ones before it.
 */
export type Role = 'viewer' | 'editor' | 'teacher'
/**
 * Why a frame was refused.
 */
export type ErrorCode =
  | 'bad_op'
  | 'forbidden'
  | 'not_found'
  | 'conflict'
  | 'too_large'
  | 'board_full'
  | 'busy'
  | 'read_only'
  | 'needs_resync'
  | 'nothing_to_undo'
  | 'unknown_position'
/**
 * The collections of the document that hold entries; each is a root named `board:<name>`.
 */
export type EntryKind = 'element' | 'page' | 'asset' | 'comment' | 'like'
/**
 * How a record came about.
 */
export type RecordKind = 'op' | 'update' | 'undo' | 'redo' | 'purge'
/**
 * Milliseconds since 1970 in UTC.
 */
export type Timestamp = number
/**
 * A frame from the server.
 */
export type ServerFrame =
  | {
      t: 'welcome'
      session: SessionId
      user: UserId
      role: Role
      /**
       * Highest `seq` of this client that was taken.
       */
      seq: number
      /**
       * Frames of this client that were refused, in case their errors were lost. No `ack` speaks for them.
       */
      refused?: Refused[]
      position: Position
      limits: ClientLimits
      /**
       * Where the board is best served, in a cluster whose nodes have addresses of their own.
       */
      route?: Route | null
    }
  | {
      t: 'resync'
      /**
       * Yjs update, for clients with a document.
       */
      update?: Blob | null
      /**
       * All entries, for clients without one.
       */
      entries?: Item[] | null
      /**
       * State vector of the server, encoding v1: the client answers with a `resync` of its own.
       */
      vector?: Blob | null
      position: Position
    }
  | {
      t: 'event'
      id: RecordId
      author: UserId
      kind: RecordKind
      /**
       * Step of undo it belongs to.
       */
      gesture?: string | null
      time: Timestamp
      /**
       * Yjs update, for clients with a document.
       */
      update?: Blob | null
      /**
       * What changed, for clients without one.
       */
      changes?: Change[] | null
      /**
       * Place in the log, where the log brought it from elsewhere; its absence says nothing about durability.
       */
      position?: Position | null
    }
  | {
      t: 'ephemeral'
      /**
       * The changed states.
       */
      states: EphemeralState[]
    }
  | {
      t: 'ack'
      /**
       * Highest acknowledged.
       */
      seq: number
      position: Position
      /**
       * What an undo or redo came to.
       */
      undone?: Undone | null
    }
  | {
      t: 'saved'
      id: RecordId
      position: Position
    }
  | {
      t: 'role'
      role: Role
      /**
       * Why, in fixed words.
       */
      why: string
    }
  | {
      t: 'error'
      code: ErrorCode
      /**
       * What was wrong and what to do, for people.
       */
      message: string
      /**
       * Frame that was refused.
       */
      seq?: number | null
    }
  | {
      t: 'pong'
    }

/**
 * First frame of a connection.
 */
export interface Hello {
  /**
   * The client's outbox (UUIDv7): `(client, seq)` names a frame for ever.
   */
  client: string
  /**
   * Token, where neither header nor query could carry it.
   */
  token?: string | null
  /**
   * Name to go by; taken with `--auth open` only.
   */
  user?: UserId | null
  /**
   * Whether the client keeps a Yjs document. `false`: events carry changes, not updates.
   */
  document?: boolean
  /**
   * State vector of the client's document, encoding v1.
   */
  vector?: Blob | null
}
/**
 * An element with its key, as ops carry it.
 */
export interface Entry {
  id: EntryId
  type?: Value
  page?: Value
  pos?: Value
  x?: Value
  y?: Value
  width?: Value
  height?: Value
  angle?: Value
  strokeColor?: Value
  backgroundColor?: Value
  fillStyle?: Value
  strokeWidth?: Value
  strokeStyle?: Value
  roughness?: Value
  opacity?: Value
  text?: Value
  fontSize?: Value
  fontFamily?: Value
  textAlign?: Value
  containerId?: Value
  points?: Value
  fileId?: Value
  locked?: Value
  link?: Value
  frameId?: Value
  groupIds?: Value
  bindings?: Value
  author?: Value
  created?: Value
  deleted?: Value
  extra?: Value
  title?: Value
  background?: Value
  mimeType?: Value
  bytes?: Value
  at?: Value
  element?: Value
  parent?: Value
  resolved?: Value
}
/**
 * Properties by Excalidraw's names; a property at its default is absent.
 */
export interface Properties {
  type?: Value
  page?: Value
  pos?: Value
  x?: Value
  y?: Value
  width?: Value
  height?: Value
  angle?: Value
  strokeColor?: Value
  backgroundColor?: Value
  fillStyle?: Value
  strokeWidth?: Value
  strokeStyle?: Value
  roughness?: Value
  opacity?: Value
  text?: Value
  fontSize?: Value
  fontFamily?: Value
  textAlign?: Value
  containerId?: Value
  points?: Value
  fileId?: Value
  locked?: Value
  link?: Value
  frameId?: Value
  groupIds?: Value
  bindings?: Value
  author?: Value
  created?: Value
  deleted?: Value
  extra?: Value
  title?: Value
  background?: Value
  mimeType?: Value
  bytes?: Value
  at?: Value
  element?: Value
  parent?: Value
  resolved?: Value
}
/**
 * A state that is shown and never stored.
 */
export interface Ephemeral {
  /**
   * `pointer`, `drag`, `viewport`, ...: the newest of a session and kind counts. `stroke` adds to its gesture.
   */
  kind?: string
  /**
   * Gesture that a `stroke` or `drag` will commit under.
   */
  gesture?: string | null
  data: Value
}
/**
 * A run of frames that were refused.
 */
export interface Refused {
  /**
   * `seq` of the first.
   */
  first: number
  /**
   * `seq` of the last.
   */
  last: number
  code: ErrorCode
}
/**
 * Ceilings a client should know, so that it can refuse by itself.
 */
export interface ClientLimits {
  /**
   * Bytes of an `op` frame.
   */
  op_bytes_max: number
  /**
   * Bytes of an `update` frame.
   */
  update_bytes_max: number
  /**
   * Bytes of the first update of a connection.
   */
  first_update_bytes_max: number
  /**
   * Bytes of an asset.
   */
  asset_bytes_max: number
  /**
   * Elements on a board.
   */
  elements_max: number
  /**
   * Updates and ops a second.
   */
  updates_per_second: number
  /**
   * Ephemeral frames a second.
   */
  ephemeral_per_second: number
  /**
   * Milliseconds between frames of ephemeral states.
   */
  tick_ms: number
}
/**
 * Where a board is best served: addresses like `https://host:port`.
 */
export interface Route {
  /**
   * The node that answers.
   */
  here?: string | null
  /**
   * All nodes, the best first. Empty: this one serves every board, or the nodes cannot be told apart from outside.
   */
  hosts: string[]
}
/**
 * An entry of the document, wherever it is.
 */
export interface Item {
  kind: EntryKind
  /**
   * Its key there; the page `""` may be meant, so this is plain text.
   */
  id: string
  properties: Properties
}
/**
 * What an update did to one entry, read from the document.
 *
 * `before` and `after` hold only the properties that differ: a property that appears is missing in `before`, one that
 * goes is missing in `after`. A created entry has no `before` at all, a removed one no `after`.
 */
export interface Change {
  kind: EntryKind
  /**
   * Key of the entry; the page `""` may be meant, so this is plain text.
   */
  id: string
  /**
   * Values it had; the whole entry where it was removed.
   */
  before?: Properties | null
  /**
   * Values it has now; the whole entry where it was created.
   */
  after?: Properties | null
  /**
   * Print of the whole entry afterwards, where the change decides about its life (created, or `deleted` changed).
   */
  print?: number | bigint
}
/**
 * One person's ephemeral state as others get it.
 */
export interface EphemeralState {
  session: SessionId
  user: UserId
  /**
   * As sent, or `join` and `leave`, which the server says.
   */
  kind: string
  /**
   * Gesture that a `stroke` or `drag` will commit under.
   */
  gesture?: string | null
  data: Value
}
/**
 * What an undo or redo came to.
 */
export interface Undone {
  /**
   * Steps that were taken from the stack, those without effect first.
   */
  steps: RecordId[]
  /**
   * Entries that changed.
   */
  changed: number
  /**
   * Entries that stayed because somebody else has changed them since.
   */
  skipped: number
}
/**
 * An update with author and circumstances, as it lies in the log. Its position is the log's to give.
 */
export interface Record {
  id: RecordId
  base: Position
  author: UserId
  /**
   * Outbox the frame came from.
   */
  client?: string | null
  /**
   * Highest `seq` of that outbox in this record.
   */
  seq?: number | null
  /**
   * Frames of that outbox before `seq`, and after its last record, that were refused.
   */
  refused?: Refused[]
  kind: RecordKind
  /**
   * Step of undo it belongs to.
   */
  gesture?: string | null
  time: Timestamp
  /**
   * Whose stack `steps` speaks of, where it is not the author's.
   */
  owner?: UserId | null
  /**
   * Steps that an undo or redo takes from the stack; the last one is what `changes` takes back.
   */
  steps?: RecordId[]
  /**
   * What changed, read from the document.
   */
  changes?: Change[]
  /**
   * `changes` would have been too large: the step cannot be undone.
   */
  changes_left_out?: boolean
  /**
   * Blocks of other users' client ids that this author handed over: `(client id, first clock, end clock)`.
   */
  relayed?: [number, number, number][]
  update: Blob
}
