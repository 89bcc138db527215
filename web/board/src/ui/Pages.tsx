import { useEffect, useRef, useState } from 'react'

import type { Page } from '../document/pages'
import { type Dictionary, useWords } from '../i18n'
import { icons } from './icons'
import { Popover } from './Popover'

export interface PageActions {
  open(id: string): void
  add(): void
  rename(id: string, title: string): void
  move(id: string, to: number): void
  remove(id: string): void
}

interface Props {
  pages: readonly Page[]
  current: string
  canEdit: boolean
  actions: PageActions
}

export function titleOf(pages: readonly Page[], id: string, words: Dictionary): string {
  const index = pages.findIndex((page) => page.id === id)
  return pages[index]?.title ?? words.page(index + 1)
}

/** Pages of the board side by side; the current one has a menu. Tabs can be dragged to another place. */
export function PageStrip({ pages, current, canEdit, actions }: Props) {
  const words = useWords()
  const list = useRef<HTMLDivElement>(null)
  const [renaming, setRenaming] = useState<string | null>(null)
  const [dragged, setDragged] = useState<string | null>(null)
  useEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' })
  }, [current])
  const onKey = (event: React.KeyboardEvent) => {
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0
    const next = pages[pages.findIndex(({ id }) => id === current) + step]
    if (step === 0 || !next || renaming !== null) return
    event.preventDefault()
    actions.open(next.id)
    requestAnimationFrame(() => list.current?.querySelector<HTMLElement>('[aria-selected="true"]')?.focus())
  }
  return (
    <div className="panseo-pages">
      <div className="panseo-tabs" role="tablist" aria-label={words.pages} ref={list} onKeyDown={onKey}>
        {pages.map(({ id }, index) =>
          renaming === id ? (
            <Rename
              key={id}
              title={pages[index]?.title ?? ''}
              label={words.pageTitle}
              onDone={(title) => {
                setRenaming(null)
                if (title !== null) actions.rename(id, title)
              }}
            />
          ) : (
            <button
              key={id}
              type="button"
              role="tab"
              className="panseo-tab"
              aria-selected={id === current}
              tabIndex={id === current ? 0 : -1}
              draggable={canEdit}
              onClick={() => actions.open(id)}
              onDoubleClick={() => canEdit && setRenaming(id)}
              onDragStart={() => setDragged(id)}
              onDragEnd={() => setDragged(null)}
              onDragOver={(event) => dragged !== null && event.preventDefault()}
              onDrop={(event) => {
                event.preventDefault()
                event.stopPropagation()
                if (dragged !== null && dragged !== id) actions.move(dragged, index)
              }}
            >
              {titleOf(pages, id, words)}
            </button>
          )
        )}
      </div>
      {canEdit && (
        <>
          <PageMenu pages={pages} current={current} actions={actions} onRename={() => setRenaming(current)} />
          <button
            type="button"
            className="panseo-button"
            aria-label={words.addPage}
            title={words.addPage}
            onClick={actions.add}
            data-testid="page-add"
          >
            {icons.plus}
          </button>
        </>
      )}
    </div>
  )
}

interface MenuProps {
  pages: readonly Page[]
  current: string
  actions: PageActions
  onRename: () => void
}

function PageMenu({ pages, current, actions, onRename }: MenuProps) {
  const words = useWords()
  const index = pages.findIndex(({ id }) => id === current)
  const stays = current === '' ? words.pageStays : undefined
  const label = words.pageMenu(titleOf(pages, current, words))
  return (
    <Popover label={label} icon={icons.more} testId="page-menu" isMenu>
      {(close) => {
        const item = (text: string, icon: React.ReactNode, isOff: boolean, run: () => void, title?: string) => (
          <button
            type="button"
            role="menuitem"
            disabled={isOff}
            title={title}
            onClick={() => {
              close()
              run()
            }}
          >
            {icon}
            {text}
          </button>
        )
        return (
          <>
            {item(words.renamePage, icons.edit, false, onRename)}
            {item(words.movePageLeft, icons.left, index <= 0, () => actions.move(current, index - 1))}
            {item(words.movePageRight, icons.right, index >= pages.length - 1, () => actions.move(current, index + 1))}
            {item(words.deletePage, icons.trash, !!stays, () => actions.remove(current), stays)}
          </>
        )
      }}
    </Popover>
  )
}

function Rename({ title, label, onDone }: { title: string; label: string; onDone: (title: string | null) => void }) {
  const isDone = useRef(false)
  const end = (result: string | null) => {
    if (isDone.current) return
    isDone.current = true
    onDone(result)
  }
  return (
    <input
      className="panseo-rename"
      aria-label={label}
      defaultValue={title}
      maxLength={80}
      // the person has just asked to type here
      autoFocus
      onFocus={(event) => event.target.select()}
      onBlur={(event) => end(event.target.value.trim())}
      onKeyDown={(event) => {
        if (event.nativeEvent.isComposing) return
        if (event.key === 'Enter') end(event.currentTarget.value.trim())
        else if (event.key === 'Escape') end(null)
      }}
    />
  )
}

/** The same on a phone: one page at a time, with arrows. */
export function PagePicker({ pages, current, canEdit, actions }: Props) {
  const words = useWords()
  const index = pages.findIndex(({ id }) => id === current)
  const [isRenaming, setRenaming] = useState(false)
  const arrow = (to: number, label: string, icon: React.ReactNode) => (
    <button
      type="button"
      className="panseo-button"
      aria-label={label}
      disabled={!pages[to]}
      onClick={() => pages[to] && actions.open(pages[to].id)}
    >
      {icon}
    </button>
  )
  return (
    <div className="panseo-pages">
      {arrow(index - 1, words.page(index), icons.left)}
      {isRenaming ? (
        <Rename
          title={pages[index]?.title ?? ''}
          label={words.pageTitle}
          onDone={(title) => {
            setRenaming(false)
            if (title !== null) actions.rename(current, title)
          }}
        />
      ) : (
        <span className="panseo-page-name" aria-live="polite" title={titleOf(pages, current, words)}>
          <span className="panseo-hidden">{titleOf(pages, current, words)}</span>
          <span aria-hidden="true">
            {index + 1}/{pages.length}
          </span>
        </span>
      )}
      {index + 1 < pages.length || !canEdit ? (
        arrow(index + 1, words.page(index + 2), icons.right)
      ) : (
        <button type="button" className="panseo-button" aria-label={words.addPage} onClick={actions.add}>
          {icons.plus}
        </button>
      )}
      {canEdit && <PageMenu pages={pages} current={current} actions={actions} onRename={() => setRenaming(true)} />}
    </div>
  )
}
