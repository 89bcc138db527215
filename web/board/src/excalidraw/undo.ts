// Undo and redo belong to the server: Excalidraw's keys and buttons lead there, its own steps are never used.

import type { Board } from '@panseo/sdk'

export type UndoOp = 'undo' | 'redo'

export interface UndoHooks {
  /** Before the op goes: what was drawn must be on its way first. */
  before(): void
  /** Why it cannot be done now, or `null`. */
  rests(): string | null
  label(op: UndoOp): string
  /** `null`: done. `empty`: the server knows of no step. */
  after(op: UndoOp, fault: 'empty' | 'failed' | null, rests: string | null): void
}

const BUTTONS: Readonly<Record<UndoOp, string>> = {
  undo: '[data-testid="button-undo"]',
  redo: '[data-testid="button-redo"]'
}

export class Undo {
  private readonly ends: (() => void)[] = []
  private readonly isEmpty: Record<UndoOp, boolean> = { undo: false, redo: false }

  constructor(
    private readonly board: Board,
    private readonly container: HTMLElement,
    private readonly hooks: UndoHooks
  ) {
    const onKey = (event: KeyboardEvent) => {
      const op = opOf(event)
      if (!op || isTextField(event.target)) return
      event.preventDefault()
      event.stopImmediatePropagation()
      // Nobody sees what it would change there.
      if (!document.querySelector('dialog[open]')) this.run(op)
    }
    const onClick = (event: MouseEvent) => {
      const op = (['undo', 'redo'] as const).find((name) => (event.target as Element).closest?.(BUTTONS[name]))
      if (!op) return
      event.preventDefault()
      event.stopPropagation()
      this.run(op)
    }
    window.addEventListener('keydown', onKey, true)
    container.addEventListener('click', onClick, true)
    // Excalidraw disables its buttons by its own steps, which are always empty.
    const observer = new MutationObserver(() => this.dress())
    observer.observe(container, {
      subtree: true,
      childList: true,
      attributes: true,
      attributeFilter: ['disabled', 'aria-disabled']
    })
    this.ends.push(
      () => window.removeEventListener('keydown', onKey, true),
      () => container.removeEventListener('click', onClick, true),
      () => observer.disconnect(),
      board.on('state', () => this.dress())
    )
    this.dress()
  }

  close(): void {
    for (const end of this.ends) end()
  }

  /** After an edit of one's own there is something to undo again, and nothing to redo. */
  edited(): void {
    this.isEmpty.undo = false
    this.isEmpty.redo = false
    this.dress()
  }

  run(op: UndoOp): void {
    const rests = this.hooks.rests()
    if (rests !== null) {
      this.hooks.after(op, 'failed', rests)
      return
    }
    this.hooks.before()
    this.board.op({ op }).then(
      () => {
        this.isEmpty[op === 'undo' ? 'redo' : 'undo'] = false
        this.dress()
        this.hooks.after(op, null, null)
      },
      (error: unknown) => {
        const isEmpty = (error as { code?: unknown }).code === 'nothing_to_undo'
        this.isEmpty[op] ||= isEmpty
        this.dress()
        this.hooks.after(op, isEmpty ? 'empty' : 'failed', this.hooks.rests())
      }
    )
  }

  private dress(): void {
    const rests = this.hooks.rests()
    for (const op of ['undo', 'redo'] as const) {
      for (const button of this.container.querySelectorAll<HTMLButtonElement>(BUTTONS[op])) {
        if (button.disabled) button.disabled = false
        const isDim = String(rests !== null || this.isEmpty[op])
        for (const part of [button, button.querySelector('.ToolIcon__icon')]) {
          if (part && part.getAttribute('aria-disabled') !== isDim) part.setAttribute('aria-disabled', isDim)
        }
        const label = rests ?? this.hooks.label(op)
        if (button.title !== label) button.title = label
      }
    }
  }
}

function opOf(event: KeyboardEvent): UndoOp | undefined {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return undefined
  if (isLetter(event, 'z')) return event.shiftKey ? 'redo' : 'undo'
  return isLetter(event, 'y') && !event.shiftKey ? 'redo' : undefined
}

/** While Hangul is typed `key` is a letter of it; then the place on the keyboard counts. */
export function isLetter({ key, code }: Pick<KeyboardEvent, 'key' | 'code'>, letter: string): boolean {
  return key.toLowerCase() === letter || (!/^[a-z]$/i.test(key) && code === `Key${letter.toUpperCase()}`)
}

const TEXT_INPUTS: ReadonlySet<string> = new Set(['text', 'search', 'number', 'url', 'email', 'tel', 'password'])

export function isTextField(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false
  if (target instanceof HTMLInputElement) return TEXT_INPUTS.has(target.type)
  return target instanceof HTMLTextAreaElement || target.isContentEditable
}
