// Who is on the board and what they show just now: pointers, strokes in the making, viewports. Nothing here is kept.

import type { Person } from './api.ts'
import type { Clock } from './clock.ts'
import type { ClientFrame, EphemeralState, Value } from './protocol/wire.gen.ts'

/** Where there was no `welcome` yet. */
const PER_SECOND = 30
/** A stroke without news for 5 s has ended on the server; until then it need not be named again. */
const STROKE_KNOWN_MS = 2_000

export interface Outside {
  send(frame: ClientFrame): void
  isUp(): boolean
  /** Whether states may be sent now; edits go first. */
  hasRoom(): boolean
  people(people: ReadonlyMap<number, Person>): void
  ephemeral(state: EphemeralState): void
}

interface Shown {
  data: Value
  gesture: string | null
}

export class Presence {
  people: ReadonlyMap<number, Person> = new Map()
  readonly #outside: Outside
  readonly #clock: Clock
  /** Own states by kind, so that a new connection can be told. */
  readonly #own = new Map<string, Shown>()
  /** Kinds that wait for their turn, the longest first. */
  readonly #waiting = new Set<string>()
  readonly #others = new Map<string, EphemeralState>()
  #self = -1
  #interval_ms = 1_000 / PER_SECOND
  #cancel: (() => void) | null = null
  /** The stroke that the server goes on with if none is named. */
  #drawn = { gesture: '', at: 0 }

  constructor(outside: Outside, clock: Clock) {
    this.#outside = outside
    this.#clock = clock
  }

  get shown(): EphemeralState[] {
    return [...this.#others.values()]
  }

  /** A new connection: everybody is told anew, and hears of us anew. */
  welcome(session: number, perSecond: number): void {
    this.#self = session
    this.#interval_ms = 1_000 / (perSecond || PER_SECOND)
    this.empty()
    this.#drawn.gesture = ''
    for (const [kind, { data }] of this.#own) if (data !== null) this.#waiting.add(kind)
    this.#flush()
  }

  /** The connection has ended; who was there is not known any more. */
  empty(): void {
    for (const state of this.#others.values()) this.#outside.ephemeral({ ...state, data: null })
    this.#others.clear()
    if (this.people.size > 0) this.#setPeople(new Map())
  }

  take(states: EphemeralState[]): void {
    const people = new Map(this.people)
    let isNew = false
    for (const state of states) {
      const { session, kind } = state
      if (kind === 'join' || kind === 'awareness') {
        const person = this.#person(state)
        isNew ||= !isSame(people.get(session), person)
        people.set(session, person)
      } else if (kind === 'leave') {
        isNew = people.delete(session) || isNew
        this.#left(session)
      }
      if (kind !== 'join' && kind !== 'leave' && session !== this.#self) this.#other(state)
    }
    if (isNew) this.#setPeople(people)
  }

  /** Shows the own pointer; only movement is news. */
  pointer(x: number, y: number, more: { [key: string]: Value }): void {
    const last = fields(this.#own.get('pointer')?.data ?? null)
    if (last.x !== x || last.y !== y || last.page !== more.page) this.show('pointer', { ...more, x, y }, null)
  }

  show(kind: string, data: Value, gesture: string | null): void {
    this.#own.set(kind, { data, gesture })
    this.#waiting.add(kind)
    if (this.#cancel === null) this.#flush()
  }

  stroke(gesture: string, data: Value): void {
    const now = this.#clock.now()
    const goesOn = data !== null && gesture === this.#drawn.gesture && now - this.#drawn.at < STROKE_KNOWN_MS
    this.#drawn = { gesture: data === null ? '' : gesture, at: now }
    this.#outside.send(goesOn ? { t: 'more', d: data } : { t: 'ephemeral', gesture, data })
  }

  /** An edit of this gesture ends what was shown of it. */
  committed(gesture: string | null): void {
    if (gesture === this.#drawn.gesture) this.#drawn.gesture = ''
  }

  close(): void {
    this.#cancel?.()
  }

  /** One state at a time: above its rate the server lets only the newest through, whatever its kind. */
  #flush(): void {
    this.#cancel?.()
    this.#cancel = null
    const [kind] = this.#waiting
    // `welcome` goes on from here.
    if (kind === undefined || !this.#outside.isUp()) return
    if (this.#outside.hasRoom()) {
      this.#waiting.delete(kind)
      const { data, gesture } = this.#own.get(kind) as Shown
      this.#outside.send({ t: 'ephemeral', kind, ...(gesture === null ? {} : { gesture }), data })
      if (data === null) this.#own.delete(kind)
    }
    this.#cancel = this.#clock.after(this.#interval_ms, () => this.#flush())
  }

  /** A Yjs client shows itself by its awareness; one of our own door is introduced by `join`. */
  #person({ session, user, kind, data }: EphemeralState): Person {
    const all = fields(data)
    const said = kind === 'awareness' ? fields(all.user ?? null) : all
    const text = (value: Value | undefined) => (typeof value === 'string' ? value : null)
    const isSelf = session === this.#self
    return { session, user, name: text(said.name), color: text(said.color) ?? '#888888', isSelf }
  }

  #other(state: EphemeralState): void {
    const key = `${state.session}:${state.kind}`
    if (state.data === null) this.#others.delete(key)
    // Points of a stroke add up; whoever draws them keeps them.
    else if (state.kind !== 'stroke') this.#others.set(key, state)
    this.#outside.ephemeral(state)
  }

  #left(session: number): void {
    for (const [key, state] of this.#others) {
      if (state.session !== session) continue
      this.#others.delete(key)
      this.#outside.ephemeral({ ...state, data: null })
    }
  }

  #setPeople(people: Map<number, Person>): void {
    this.people = people
    this.#outside.people(people)
  }
}

const fields = (value: Value): { [key: string]: Value } =>
  value !== null && typeof value === 'object' && !Array.isArray(value) && !(value instanceof Uint8Array) ? value : {}

const isSame = (one: Person | undefined, other: Person): boolean =>
  one?.user === other.user && one.name === other.name && one.color === other.color
