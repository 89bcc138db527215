// Gestures: every press of the pointer or a key starts one, and all that follows from it belongs to it, until the next.
// One drag, one stroke, one paste, one bout of typing is one step of undo.

import { uuid } from '@panseo/sdk'

import type { Point } from '../document/points'

const MODIFIERS: ReadonlySet<string> = new Set(['Shift', 'Control', 'Alt', 'Meta', 'CapsLock', 'Fn'])
/** Gestures remembered to know the own records among those that come back. */
const REMEMBERED_MAX = 200

export class Gestures {
  current = uuid()
  isPointerDown = false
  pointer: Point | undefined
  private isNext = false
  private isBusy = false
  private readonly own = new Set<string>()
  private readonly ends: (() => void)[] = []

  constructor(container: HTMLElement, onEnd: () => void) {
    const listen = <K extends keyof WindowEventMap>(
      target: HTMLElement | Window,
      name: K,
      listener: (event: WindowEventMap[K]) => void
    ) => {
      target.addEventListener(name, listener as EventListener, true)
      this.ends.push(() => target.removeEventListener(name, listener as EventListener, true))
    }
    const release = () => {
      this.isPointerDown = false
      onEnd()
    }
    listen(container, 'pointerdown', (event) => {
      this.start()
      if (event.target instanceof HTMLCanvasElement) this.isPointerDown = true
    })
    listen(window, 'pointerup', release)
    listen(window, 'pointercancel', release)
    listen(window, 'blur', release)
    listen(window, 'keydown', (event) => {
      if (!event.repeat && !MODIFIERS.has(event.key)) this.start()
    })
    for (const name of ['paste', 'cut', 'drop'] as const) listen(window, name, () => this.start())
  }

  close(): void {
    for (const end of this.ends) end()
  }

  /** An edit was made under the current gesture. */
  used(): void {
    this.own.delete(this.current)
    this.own.add(this.current)
    if (this.own.size > REMEMBERED_MAX)
      for (const oldest of [...this.own].slice(0, REMEMBERED_MAX / 2)) this.own.delete(oldest)
  }

  isOwn(gesture: string): boolean {
    return this.own.has(gesture)
  }

  /** After each frame: a gesture that was waiting for the one before to be written begins now. */
  settle(isBusy: boolean): void {
    this.isBusy = isBusy
    if (this.isNext && !isBusy) this.renew()
  }

  private start(): void {
    // Typing goes on over many keys; a press elsewhere ends it, and what is written then still belongs to it.
    if (this.isBusy) this.isNext = true
    else this.renew()
  }

  private renew(): void {
    this.isNext = false
    this.current = uuid()
  }
}
