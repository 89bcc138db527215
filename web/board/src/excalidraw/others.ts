// What other people show just now: pointers, strokes before pen-up, drags before their commit.

import type { Collaborator, ExcalidrawImperativeAPI, SocketId } from '@excalidraw/excalidraw/types'
import type { EphemeralState, Person } from '@panseo/sdk'

import type { Point } from '../document/points'
import { type Properties, isMap, isNumber, isText } from '../document/values'
import type { Binding, Scene } from './binding'
import { LiveStroke, readDrag } from './live'

/** Time for a commit to arrive after the gesture that it ends. */
const GRACE_MS = 300
/** That of Excalidraw's own: whoever points sees what the others see. */
const LASER_COLOR = 'red'

interface Pointer {
  x: number
  y: number
  page: string
  /** Whether the laser pointer is pressed, if that is what they hold. */
  laser: boolean | undefined
}

export class Others {
  private page = ''
  private readonly leaders = new Set<SocketId>()
  private people: ReadonlyMap<number, Person> = new Map()
  private readonly pointers = new Map<number, Pointer>()
  private readonly strokes = new Map<string, LiveStroke>()
  /** Elements each session drags. */
  private readonly drags = new Map<number, Map<string, Properties>>()
  private readonly changedStrokes = new Set<string>()
  private readonly endedStrokes = new Set<string>()
  private readonly changedDrags = new Set<number>()
  private readonly timers = new Set<ReturnType<typeof setTimeout>>()
  private arePointersNew = false

  constructor(
    private readonly api: ExcalidrawImperativeAPI,
    /** Entries to be shown as the document has them. */
    private readonly hearIds: (ids: Iterable<string>) => void,
    private readonly schedule: () => void
  ) {}

  close(): void {
    for (const timer of this.timers) clearTimeout(timer)
  }

  setPeople(people: ReadonlyMap<number, Person>): void {
    this.people = people
    // Who is gone may have shown a stroke only: their pointer was taken away before.
    const drawing = [...this.strokes.values()].map(({ session }) => session)
    for (const session of new Set([...this.pointers.keys(), ...this.drags.keys(), ...drawing]))
      if (!people.has(session)) this.forget(session)
    this.movePointers()
  }

  /** The canvas will follow this user: Excalidraw ends that if they are not there, wherever their pointer is. */
  addLeader(user: string): void {
    this.leaders.add(user as SocketId)
    this.arePointersNew = true
    this.showPointers()
  }

  setPage(page: string): void {
    this.page = page
    for (const key of this.strokes.keys()) this.changedStrokes.add(key)
    this.movePointers()
  }

  get hasNews(): boolean {
    return this.changedStrokes.size + this.endedStrokes.size + this.changedDrags.size > 0
  }

  hear(state: EphemeralState): void {
    const { session, kind, data } = state
    if (kind === 'pointer') this.hearPointer(session, data)
    else if (kind === 'stroke') this.hearStroke(session, state.gesture ?? '', data)
    else if (kind === 'drag') this.hearDrag(session, data)
    else if (kind === 'leave') this.forget(session)
  }

  /** The document has news of this element: it says more than what was shown of the drag before. */
  committed(id: string, binding: Binding): void {
    for (const [key, stroke] of this.strokes) if (stroke.id === id) this.strokes.delete(key)
    binding.overlay(id, undefined)
  }

  /** The scene with what is on its way; `read` gives the document's side. */
  show(
    scene: Scene,
    binding: Binding,
    read: (id: string) => Properties | undefined,
    isHeld: (id: string) => boolean
  ): Scene {
    for (const key of this.changedStrokes) {
      const stroke = this.strokes.get(key)
      const properties = stroke?.page === this.page ? stroke.properties : undefined
      if (stroke && properties) scene = binding.provide(scene, stroke.id, properties) ?? scene
    }
    this.changedStrokes.clear()
    for (const id of this.endedStrokes) scene = binding.withdraw(scene, id) ?? scene
    this.endedStrokes.clear()
    const ids: string[] = []
    for (const session of this.changedDrags) {
      for (const [id, properties] of this.drags.get(session) ?? []) {
        if (!binding.has(id) || isHeld(id)) continue
        binding.overlay(id, properties)
        ids.push(id)
      }
    }
    this.changedDrags.clear()
    // Once for all: each time it goes through the whole scene.
    return binding.merge(scene, ids, read, isHeld) ?? scene
  }

  showPointers(): void {
    if (!this.arePointersNew) return
    this.arePointersNew = false
    const collaborators = new Map<SocketId, Collaborator>()
    for (const leader of this.leaders) collaborators.set(leader, {})
    for (const [session, pointer] of this.pointers) {
      const person = this.people.get(session)
      if (!person || pointer.page !== this.page) continue
      collaborators.set(String(session) as SocketId, {
        id: person.user,
        username: person.name ?? person.user,
        button: pointer.laser ? 'down' : 'up',
        pointer: { ...pointer, tool: pointer.laser === undefined ? 'pointer' : 'laser', laserColor: LASER_COLOR }
      })
    }
    this.api.updateScene({ collaborators })
  }

  private hearPointer(session: number, data: unknown): void {
    if (isMap(data) && isNumber(data.x) && isNumber(data.y)) {
      const laser = typeof data.laser === 'boolean' ? data.laser : undefined
      this.movePointer(session, [data.x, data.y], isText(data.page) ? data.page : '', laser)
    } else if (this.pointers.delete(session)) {
      this.movePointers()
    }
  }

  private hearStroke(session: number, gesture: string, data: unknown): void {
    const key = `${session}:${gesture}`
    let stroke = this.strokes.get(key)
    if (data === null) {
      if (stroke) this.endStroke(key, stroke)
      return
    }
    stroke ??= LiveStroke.of(session, data)
    if (!stroke) return
    this.strokes.set(key, stroke)
    stroke.add(data)
    if (stroke.tip) this.movePointer(session, stroke.tip, stroke.page)
    this.changedStrokes.add(key)
    this.schedule()
  }

  private endStroke(key: string, stroke: LiveStroke): void {
    this.strokes.delete(key)
    this.later(() => {
      const goesOn = [...this.strokes.values()].some(({ id }) => id === stroke.id)
      if (!goesOn) this.endedStrokes.add(stroke.id)
    })
  }

  private hearDrag(session: number, data: unknown): void {
    const drag = readDrag(data)
    if (!drag) {
      const ended = this.drags.get(session)
      if (ended) this.later(() => this.endDrag(session, ended))
      return
    }
    if (drag.pointer) this.movePointer(session, drag.pointer, drag.page)
    if (drag.page !== this.page) return
    this.drags.set(session, drag.elements)
    this.changedDrags.add(session)
    this.schedule()
  }

  /** The document again, unless the drag went on meanwhile. */
  private endDrag(session: number, ended: Map<string, Properties>): void {
    if (this.drags.get(session) !== ended) return
    this.drags.delete(session)
    this.hearIds(ended.keys())
  }

  private forget(session: number): void {
    this.pointers.delete(session)
    const drag = this.drags.get(session)
    if (drag) this.endDrag(session, drag)
    for (const [key, stroke] of this.strokes) if (stroke.session === session) this.endStroke(key, stroke)
    this.movePointers()
  }

  private movePointer(session: number, [x, y]: Point, page: string, laser?: boolean): void {
    this.pointers.set(session, { x, y, page, laser })
    this.movePointers()
  }

  private movePointers(): void {
    this.arePointersNew = true
    this.schedule()
  }

  private later(run: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      run()
      this.schedule()
    }, GRACE_MS)
    this.timers.add(timer)
  }
}
