// One session on a board: greets, sends what is in the outbox, takes answers, and knows at each moment how safe the
// work is. What the board holds is its content's business (document or entries); it lives in `content.ts`, `board.ts`.

import type { BoardEvents, BoardState, DeviceState, Done, Session, Why } from '../api.ts'
import type { Clock } from '../clock.ts'
import { Emitter } from '../emitter.ts'
import { Presence } from '../presence.ts'
import { encode } from '../protocol/codec.ts'
import type { ClientLimits, Hello, Op, Role, ServerFrame, Value } from '../protocol/wire.gen.ts'
import type { Token } from '../token.ts'
import { type Advice, backoff } from '../transport/close.ts'
import type { Link, Owner } from '../transport/socket.ts'
import type { Content, EventFrame } from './content.ts'
import type { Device } from './offline.ts'
import { type Edit, frameOf, IN_FLIGHT_MAX, isForItself, isOfTheMoment, type Outbox } from './outbox.ts'

/** Bytes of an update frame beside the update. */
const FRAME_BYTES = 128
/** For so long others may bring what an update builds on and the server lost; then the document is made anew. */
const GAP_PATIENCE_MS = 15_000
/** New documents in a row, without an acknowledgement between. */
const NEW_DOCUMENTS_MAX = 3
/** What speaks of the board as it is may take so long to be heard; after that others may have gone on. */
const MOMENT_MS_MAX = 30_000
/** Words of the server when all are viewers for a while, [R-39]; it has others when a teacher changed a role. */
const FOR_A_WHILE = /read-only/

/** Ops that were refused, or whose outcome is not known. */
export class OpError extends Error {
  /** The server's error code, or `closed`, or `late`: it could not be sent in time. */
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.name = 'OpError'
    this.code = code
  }
}

/** An edit that will not be sent again. */
export interface Refusal {
  edit: Edit
  code: string
  message: string
}

export interface Setting {
  id: string
  /** Name to go by, for servers without tokens. */
  user: string | null
  /** Whose the copy on this device is; `null` where nothing is kept. */
  owner: string | null
  token: Token
  clock: Clock
  device: Device | null
  deviceState: DeviceState
  /** Own outbox last; those before were left by tabs that are gone. */
  outboxes: Outbox[]
}

type Waiting = { since: number; resolve: (done: Done) => void; reject: (error: OpError) => void }

export abstract class Live implements Session, Owner {
  readonly id: string
  role: Role | null = null
  limits: ClientLimits | null = null
  protected readonly emitter = new Emitter<BoardEvents>('refused')
  protected readonly setting: Setting
  protected readonly clock: Clock
  /** Document edits that were refused for good: the document holds them still. */
  protected refusals: Refusal[] = []
  /** The next `resync` is the whole board, for a new document. */
  protected isRenewing = false
  protected link!: Link
  readonly #presence: Presence
  readonly #waiting = new Map<Edit, Waiting>()
  #user: string | null
  #state: BoardState
  #isLevel = false
  #stopped: Why | null = null
  #down: Why = 'connecting'
  /** Outbox this connection speaks for. */
  #client = ''
  #hasSentUpdate = false
  /** State vector of a server that asks for what it has lost, until that is handed over. */
  #lacking: Uint8Array | null = null
  #hasHandedOver = false
  /** Something was refused: nothing is sent until all that was sent is answered, and it is decided what comes next. */
  #isHeld = false
  #holds = 0
  #gapSince: number | null = null
  #cancelHold = () => {}
  #newDocuments = 0
  #isBoardReadOnly = false
  /** A viewer for a while only; without a connection the role is the one before. */
  #isHindered = false
  #roleBefore: Role | null = null
  /** Own session, and states it may show a second. */
  #self: [session: number, perSecond: number] = [-1, 0]
  #isOutOfOrder = false
  #isOutdated = false
  #onStop: (() => void)[] = []

  protected abstract readonly content: Content
  /** Puts the server's state and the waiting edits into a new document. `isForeign`: the client ids were another's. */
  protected abstract rebuild(state: Uint8Array, isForeign: boolean): void

  constructor(setting: Setting) {
    this.id = setting.id
    this.setting = setting
    this.clock = setting.clock
    this.#user = setting.owner
    this.#state = { save: 'offline', unsaved: this.#unsaved(), why: 'connecting', device: setting.deviceState }
    const outside = {
      send: (frame: Parameters<Link['send']>[0]) => this.link.send(frame),
      isUp: () => this.#isLevel,
      hasRoom: () => this.link.hasRoom,
      people: (people: BoardEvents['people']) => this.emitter.tell('people', people),
      ephemeral: (state: BoardEvents['ephemeral']) => this.emitter.tell('ephemeral', state)
    }
    this.#presence = new Presence(outside, setting.clock)
  }

  get state(): BoardState {
    return this.#state
  }
  get user(): string | null {
    return this.#user
  }
  get people(): Session['people'] {
    return this.#presence.people
  }
  get shown(): Session['shown'] {
    return this.#presence.shown
  }

  on<Name extends keyof BoardEvents>(name: Name, listener: (what: BoardEvents[Name]) => void): () => void {
    return this.emitter.on(name, listener)
  }

  op(ops: Op | Op[], gesture?: string): Promise<Done> {
    if (this.#stopped !== null) return Promise.reject(new OpError('closed', 'the board is closed: open it again'))
    const list = Array.isArray(ops) ? ops : [ops]
    const edit = this.own.add({ gesture: gesture ?? null, update: null, ops: list })
    const since = this.clock.now()
    const answer = new Promise<Done>((resolve, reject) => this.#waiting.set(edit, { since, resolve, reject }))
    this.added(edit)
    return answer
  }

  pointer(x: number, y: number, more: { [key: string]: Value } = {}): void {
    this.#presence.pointer(x, y, more)
  }
  show(kind: string, data: Value, gesture?: string): void {
    this.#presence.show(kind, data, gesture ?? null)
  }
  follow(user: string | null): void {
    this.show('follow', user === null ? null : { user })
  }
  stroke(gesture: string, data: Value): void {
    if (this.#isLevel) this.#presence.stroke(gesture, data)
  }

  saved(): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (this.#unsaved() === 0) resolve()
        else if (this.#stopped !== null) reject(new OpError('closed', 'closed with unsaved edits'))
        else return
        end()
      }
      const end = this.on('state', look)
      look()
    })
  }

  connect(link: Link): void {
    this.link = link
    link.start()
  }

  /** The network, or the person, may be back. */
  nudge(): void {
    void this.setting.device?.revive()
    this.link.nudge()
  }

  /** What is kept on this device, or is not any more, belongs to the state. */
  deviceChanged(): void {
    this.tellState()
  }

  /**
   * Another tab had to take a new document; what it left out may still be in this one. So this one is replaced as well,
   * once nothing waits any more: until then it is not kept here, the outbox is.
   */
  deviceReplaced(): void {
    this.#isOutdated = true
    this.#renewWhenQuiet()
  }

  /** Calls back once when there will be no more connections. */
  onStop(call: () => void): void {
    this.#onStop.push(call)
  }

  async close(): Promise<void> {
    this.link.stop('closed')
    await this.setting.device?.close()
  }

  /** The outbox of this tab. */
  protected get own(): Outbox {
    return this.setting.outboxes.at(-1) as Outbox
  }

  /** An edit is in the outbox: it is kept here, and sent. */
  protected added(edit: Edit): void {
    this.setting.device?.keepEdit(this.own.client, edit)
    this.#presence.committed(edit.gesture)
    this.#pump()
    this.tellState()
  }

  /** Begins anew with a document of the server's. */
  protected renew(): void {
    this.isRenewing = true
    this.#isHeld = false
    this.link.renew()
    this.#lost('connecting')
  }

  // What the link asks and tells.

  async hello(): Promise<Hello> {
    const token = await this.setting.token.get()
    this.#client = (this.setting.outboxes[0] as Outbox).client
    const vector = this.isRenewing ? null : this.content.vector()
    return {
      client: this.#client,
      ...(token === undefined ? {} : { token }),
      ...(this.setting.user === null ? {} : { user: this.setting.user }),
      document: this.content.isDocument,
      ...(vector === null ? {} : { vector })
    }
  }

  frame(frame: ServerFrame): void {
    switch (frame.t) {
      case 'welcome':
        return this.#welcome(frame)
      case 'resync':
        return this.#resync(frame)
      case 'event':
        this.content.event(frame)
        return this.#tellEvent(frame)
      case 'ephemeral':
        return this.#presence.take(frame.states)
      case 'ack':
        return this.#ack(frame.seq, { position: frame.position, undone: frame.undone ?? null })
      case 'saved':
        return
      case 'role':
        return this.#setRole(frame.role, frame.why)
      case 'error':
        return this.#refused(frame.seq ?? null, frame.code, frame.message)
      case 'pong':
        return
      // What a newer server says beside this is as if it had not come.
    }
  }

  down(why: Why, advice: Advice): void {
    if (advice.then === 'ask for a token') this.setting.token.forget()
    if (advice.then === 'take a new document') this.#takeNewDocument()
    if (advice.then === 'leave out') this.#leaveOut(advice.largestOnly)
    // What was refused for good must not be sent again, even if there was no time to get rid of it.
    if (this.refusals.length > 0 || this.#hasWaitedEnough()) this.isRenewing = true
    this.#lost(why)
  }

  stopped(why: Why): void {
    this.#stopped = why
    this.#lost(why)
    this.#presence.close()
    for (const call of this.#onStop.splice(0)) call()
    const error = new OpError('closed', 'closed before the answer came: look whether it was done')
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }

  #lost(why: Why): void {
    this.#isLevel = false
    this.#isHeld = false
    this.#cancelHold()
    this.#down = why
    if (!this.#isHindered) this.#roleBefore = this.role
    else if (this.#roleBefore !== null && this.#roleBefore !== this.role) {
      this.role = this.#roleBefore
      this.emitter.tell('role', { role: this.role, why: null })
    }
    this.#presence.empty()
    this.tellState()
  }

  #welcome({ session, user, role, seq, limits }: Extract<ServerFrame, { t: 'welcome' }>): void {
    // What is kept here belongs to the one who opened it; sent by another it would be theirs.
    if (this.#user !== null && this.#user !== user) return this.link.stop('other_user')
    this.#user = user
    this.limits = limits
    this.#hasSentUpdate = false
    this.#hasHandedOver = false
    const outbox = this.setting.outboxes[0] as Outbox
    outbox.rewind(seq)
    this.#dropLate(outbox, seq)
    this.#sort()
    this.#isBoardReadOnly = false
    this.#setRole(role, null)
    this.#self = [session, limits.ephemeral_per_second]
  }

  /** On a line that is dead without our knowing, an op may wait for hours: then it would clear what others drew since. */
  #dropLate(outbox: Outbox, seen: number): void {
    for (const edit of outbox.edits) {
      const since = this.#waiting.get(edit)?.since
      if (since === undefined || edit.seq <= seen || !isOfTheMoment(edit)) continue
      if (this.clock.now() - since > MOMENT_MS_MAX)
        this.#refuse({ edit, code: 'late', message: 'it could not be sent in time: do it again if it is still wanted' })
    }
  }

  #resync(frame: Extract<ServerFrame, { t: 'resync' }>): void {
    if (this.isRenewing && frame.update) {
      this.isRenewing = false
      this.#isOutdated = false
      this.#gapSince = null
      this.rebuild(frame.update, this.#newDocuments > 0)
    } else this.content.resync(frame)
    if (this.#isLevel) return
    this.#isLevel = true
    this.#presence.welcome(...this.#self)
    this.#advance()
    this.#pump()
    this.#lacking = frame.vector ?? null
    this.#handOver()
    this.#renewWhenQuiet()
    this.tellState()
  }

  /**
   * Gives the server back what a crash took from it. What it refused for good stays here, and nothing with it. What waits
   * goes before, or it would be one step of undo; unless it is refused because it builds on what was lost.
   */
  #handOver(): void {
    if (this.#lacking === null || !this.#isLevel || this.isRenewing || this.refusals.length > 0) return
    // Of a viewer the server takes nothing.
    if (this.role === 'viewer') return
    const isGap = this.#gapSince !== null && this.setting.outboxes[0]?.inFlight === 0
    if (this.#unsaved() > 0 && !isGap) return
    const update = this.content.beyond(this.#lacking)
    this.#lacking = null
    const max = this.limits?.first_update_bytes_max ?? 0
    if (update === null || update.length + FRAME_BYTES > max) return
    this.#hasHandedOver = true
    this.link.send({ t: 'resync', update })
  }

  #setRole(role: Role, why: string | null): void {
    this.#isHindered = role === 'viewer' && FOR_A_WHILE.test(why ?? '')
    if (this.#isHindered && this.role !== 'viewer') this.#roleBefore = this.role
    this.role = role
    this.emitter.tell('role', { role, why })
    if (role !== 'viewer' && this.#isBoardReadOnly) {
      this.#isBoardReadOnly = false
      this.#cancelHold()
      if (this.setting.outboxes[0]?.inFlight === 0) this.#again()
    }
    this.#handOver()
    this.tellState()
  }

  #tellEvent({ id, author, kind, gesture, time, changes }: EventFrame): void {
    const event = { id, author, kind, gesture: gesture ?? null, time, changes: changes ?? null }
    this.emitter.tell('event', event)
  }

  // Sending.

  #pump(): void {
    while (this.#isLevel && !this.#isHeld) {
      const outbox = this.setting.outboxes[0] as Outbox
      // While something that others made is missing there, one by one: three refusals end the connection.
      const edit = outbox.next(this.#gapSince === null ? IN_FLIGHT_MAX : 1)
      if (edit === null || !this.#fits(edit, outbox)) return
      outbox.markSent(edit)
      if (edit.update !== null) this.#hasSentUpdate = true
      this.link.send(frameOf(edit))
    }
  }

  /** Whether an edit may be sent now. The first update of a connection may be larger than those behind. */
  #fits(edit: Edit, outbox: Outbox): boolean {
    const limits = this.limits as ClientLimits
    const isUpdate = edit.update !== null
    const bytes = edit.update === null ? encode(frameOf(edit)).length : edit.update.length + FRAME_BYTES
    const max = isUpdate ? limits.first_update_bytes_max : limits.op_bytes_max
    if (bytes > max) {
      this.#refused(edit.seq, 'too_large', `an edit takes ${bytes} bytes, ${max} at most are allowed: make it in parts`)
      return false
    }
    if (!isUpdate || !this.#hasSentUpdate || bytes <= limits.update_bytes_max) return true
    if (outbox.inFlight === 0) {
      this.link.renew()
      this.#lost('connecting')
    }
    return false
  }

  /** An outbox that a tab had left is empty: the next one has its turn, on a connection of its own. */
  #advance(): void {
    const { outboxes, device } = this.setting
    while (outboxes.length > 1 && outboxes[0]?.size === 0) device?.release((outboxes.shift() as Outbox).client)
    if (!this.#isLevel || outboxes[0]?.client === this.#client) return
    this.link.renew()
    this.#lost('connecting')
  }

  // Answers.

  #ack(seq: number, done: Done): void {
    const edit = this.#answered(seq)
    if (edit === null) return
    if (edit.update !== null) {
      this.#gapSince = null
      this.#newDocuments = 0
    }
    this.#holds = 0
    this.#forget(edit)
    this.#waiting.get(edit)?.resolve(done)
    this.#waiting.delete(edit)
    this.#afterAnswer()
  }

  #refused(seq: number | null, code: string, message: string): void {
    const edit = seq === null ? null : this.#answered(seq)
    if (edit === null) return
    const isBusy = code === 'busy' && !isForItself(edit)
    if (isBusy || (edit.update !== null && (code === 'needs_resync' || code === 'read_only'))) {
      if (code === 'needs_resync') this.#gapSince ??= this.clock.now()
      if (code === 'read_only') this.#isBoardReadOnly = true
      this.#postpone(edit)
      this.#isHeld = true
    } else this.#refuse({ edit, code, message })
    this.#afterAnswer()
  }

  /** For good: ops end here, an edit of the document has to leave the document, too. */
  #refuse(refusal: Refusal): void {
    const { edit, code, message } = refusal
    if (edit.update === null) {
      this.#forget(edit)
      this.#waiting.get(edit)?.reject(new OpError(code, message))
      this.#waiting.delete(edit)
      return
    }
    this.setting.outboxes[0]?.markRefused(edit)
    this.refusals.push(refusal)
    this.#isHeld = true
  }

  #answered(seq: number): Edit | null {
    return this.setting.outboxes[0]?.find(seq) ?? null
  }

  #forget(edit: Edit): void {
    const outbox = this.setting.outboxes[0] as Outbox
    outbox.remove(edit)
    this.setting.device?.move([[outbox.client, edit.seq]], [])
  }

  #afterAnswer(): void {
    if (this.#isHeld && this.setting.outboxes[0]?.inFlight === 0) this.#decide()
    else {
      this.#advance()
      this.#pump()
    }
    this.#handOver()
    this.#renewWhenQuiet()
    this.tellState()
  }

  #renewWhenQuiet(): void {
    if (this.#isOutdated && this.#isLevel && this.#unsaved() === 0) this.renew()
  }

  /** All that was sent is answered, and something was refused. */
  #decide(): void {
    if (this.refusals.length > 0 || this.#hasWaitedEnough()) return this.renew()
    this.#cancelHold()
    const wait_ms = 500 + backoff(this.#holds, 1_000, this.clock.random)
    this.#holds += 1
    this.#cancelHold = this.clock.after(wait_ms, () => this.#again())
  }

  #hasWaitedEnough(): boolean {
    // What the server asks for has to be handed over first.
    if (this.#gapSince === null || this.#lacking !== null) return false
    return this.clock.now() - this.#gapSince > GAP_PATIENCE_MS
  }

  /** Refused for now: the same again, later. */
  #postpone(edit: Edit): void {
    const outbox = this.setting.outboxes[0] as Outbox
    const from: [string, number] = [outbox.client, edit.seq]
    outbox.remove(edit)
    this.own.takeIn(edit)
    this.#isOutOfOrder = true
    this.setting.device?.move([from], [[this.own.client, edit]])
  }

  #again(): void {
    this.#sort()
    this.#isHeld = false
    this.#advance()
    this.#pump()
    this.tellState()
  }

  /** What was postponed stands at the end; what builds on it must not go before it. */
  #sort(): void {
    if (!this.#isOutOfOrder) return
    this.#isOutOfOrder = false
    const { client } = this.own
    const { old, edits } = this.own.renumber()
    this.setting.device?.move(
      old.map((seq) => [client, seq]),
      edits.map((edit) => [client, edit])
    )
  }

  /** The server ended the connection over something that was sent and not answered: it must not come again. */
  #leaveOut(largestOnly: boolean): void {
    const outbox = this.setting.outboxes[0] as Outbox
    const size = (edit: Edit) => edit.update?.length ?? encode(frameOf(edit)).length
    const suspects = outbox.sent.sort((one, other) => size(other) - size(one))
    if (suspects.length === 0) {
      if (!this.#hasHandedOver) return this.link.stop('fault')
      // What was handed over does not fit: the server's state is what is left.
      this.isRenewing = true
      return
    }
    const code = largestOnly ? 'too_large' : 'malformed'
    for (const edit of largestOnly ? suspects.slice(0, 1) : suspects)
      this.#refuse({ edit, code, message: 'the server hung up over this edit' })
    this.isRenewing = this.refusals.length > 0
  }

  /** The client id of the document is another user's. If that goes on, what is to be sent is the cause itself. */
  #takeNewDocument(): void {
    this.#newDocuments += 1
    this.isRenewing = this.content.isDocument
    if (this.#newDocuments < NEW_DOCUMENTS_MAX) return
    const message = 'parts of this edit belong to another user'
    for (const edit of this.setting.outboxes[0]?.edits ?? [])
      if (edit.update !== null) this.#refuse({ edit, code: 'foreign_client', message })
  }

  // How safe the work is.

  #unsaved(): number {
    return this.setting.outboxes.reduce((sum, { size }) => sum + size, 0)
  }

  protected tellState(): void {
    const unsaved = this.#unsaved()
    const { device, deviceState } = this.setting
    const state = { ...this.#saveState(unsaved), unsaved, device: device?.state ?? deviceState }
    const keys = Object.keys(state) as (keyof BoardState)[]
    if (keys.every((key) => state[key] === this.#state[key])) return
    this.#state = state
    this.emitter.tell('state', state)
  }

  #saveState(unsaved: number): Pick<BoardState, 'save' | 'why'> {
    if (this.#stopped !== null) {
      return { save: this.#stopped === 'closed' ? 'offline' : 'read-only', why: this.#stopped }
    }
    if (!this.#isLevel) return { save: 'offline', why: this.#down }
    if (this.#isBoardReadOnly) return { save: 'read-only', why: 'board_read_only' }
    if (unsaved > 0) return { save: 'saving', why: null }
    return this.role === 'viewer' ? { save: 'read-only', why: 'viewer' } : { save: 'saved', why: null }
  }
}
