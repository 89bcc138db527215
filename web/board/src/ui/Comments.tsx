import { useState } from 'react'

import type { Comment, Thread } from '../document/comments'
import { type Language, useWords } from '../i18n'
import { colorOf, initialOf } from './color'
import { icons } from './icons'

export interface CommentActions {
  /** Asks for a place, unless something is selected, then for the text. */
  begin(): void
  /** The place that was asked for; `null`: none after all. */
  place(at: { x: number; y: number } | null): void
  cancel(): void
  add(text: string): void
  reply(thread: string, text: string): void
  edit(comment: string, text: string): void
  remove(comment: string): void
  resolve(thread: string, isResolved: boolean): void
  like(target: string, isLiked: boolean): void
  goTo(thread: Thread): void
}

interface Props {
  threads: readonly Thread[]
  /** Thread that was pointed at on the canvas. */
  open: string | null
  /** A place was chosen: the text of a new thread is asked for. */
  isWriting: boolean
  canEdit: boolean
  isTeacher: boolean
  user: string | null
  page: string
  language: Language
  nameOf: (user: string) => string
  pageTitle: (page: string) => string
  actions: CommentActions
}

export function CommentsPanel(props: Props) {
  const words = useWords()
  const { threads, canEdit, isWriting, actions } = props
  const [areResolvedShown, setResolvedShown] = useState(false)
  const resolved = threads.filter(({ isResolved }) => isResolved)
  const shown = threads.filter(({ isResolved, id }) => !isResolved || areResolvedShown || id === props.open)
  return (
    <div className="panseo-comments">
      {isWriting && (
        <Writer label={words.commentText} action={words.send} onDone={actions.add} onCancel={actions.cancel} />
      )}
      {canEdit && !isWriting && (
        <button
          type="button"
          className="panseo-text-button"
          data-kind="primary"
          onClick={actions.begin}
          data-testid="comment-add"
        >
          {icons.plus}
          {words.addComment}
        </button>
      )}
      {shown.length === 0 && !isWriting && (
        <p className="panseo-quiet">{canEdit ? words.noComments : words.noCommentsYet}</p>
      )}
      <ul className="panseo-threads">
        {shown.map((thread) => (
          <ThreadItem key={thread.id} thread={thread} {...props} />
        ))}
      </ul>
      {resolved.length > 0 && (
        <label className="panseo-check">
          <input
            type="checkbox"
            checked={areResolvedShown}
            onChange={(event) => setResolvedShown(event.target.checked)}
          />
          {words.showResolved(resolved.length)}
        </label>
      )}
    </div>
  )
}

function ThreadItem({ thread, ...props }: Props & { thread: Thread }) {
  const words = useWords()
  const { actions, canEdit, open, page, pageTitle } = props
  const [isReplying, setReplying] = useState(false)
  return (
    <li
      className="panseo-thread"
      data-open={open === thread.id}
      data-resolved={thread.isResolved}
      ref={(node) => {
        if (open === thread.id) node?.scrollIntoView({ block: 'nearest' })
      }}
    >
      <CommentItem comment={thread} {...props} />
      {thread.replies.map((reply) => (
        <CommentItem key={reply.id} comment={reply} {...props} />
      ))}
      {isReplying && (
        <Writer
          label={words.reply}
          action={words.send}
          onDone={(text) => {
            setReplying(false)
            actions.reply(thread.id, text)
          }}
          onCancel={() => setReplying(false)}
        />
      )}
      <div className="panseo-row">
        {canEdit && !isReplying && (
          <button type="button" className="panseo-link" onClick={() => setReplying(true)}>
            {words.reply}
          </button>
        )}
        {canEdit && (
          <button type="button" className="panseo-link" onClick={() => actions.resolve(thread.id, !thread.isResolved)}>
            {thread.isResolved ? words.reopen : words.resolve}
          </button>
        )}
        <button type="button" className="panseo-link" onClick={() => actions.goTo(thread)}>
          {words.goTo}
          {thread.page !== page && ` (${words.onOtherPage(pageTitle(thread.page))})`}
        </button>
      </div>
    </li>
  )
}

function CommentItem({ comment, ...props }: Props & { comment: Comment }) {
  const words = useWords()
  const { actions, canEdit, isTeacher, user, language, nameOf } = props
  const [isEditing, setEditing] = useState(false)
  const name = nameOf(comment.author)
  const isOwn = canEdit && (comment.author === user || isTeacher)
  const likeLabel = comment.isLiked ? words.unlike : words.like
  return (
    <article className="panseo-comment">
      <header>
        <span className="panseo-avatar" style={{ background: colorOf(comment.author) }} aria-hidden="true">
          {initialOf(name)}
        </span>
        <span className="panseo-name">{name}</span>
        <time
          className="panseo-quiet"
          dateTime={new Date(comment.at).toISOString()}
          title={new Date(comment.at).toLocaleString(language)}
        >
          {ago(comment.at, Date.now(), language)}
        </time>
      </header>
      {isEditing ? (
        <Writer
          label={words.edit}
          action={words.ok}
          text={comment.text}
          onDone={(text) => {
            setEditing(false)
            actions.edit(comment.id, text)
          }}
          onCancel={() => setEditing(false)}
        />
      ) : (
        <p className="panseo-comment-text">{comment.text}</p>
      )}
      <div className="panseo-row">
        <LikeButton
          comment={comment}
          canEdit={canEdit}
          label={likeLabel}
          onLike={() => actions.like(comment.id, !comment.isLiked)}
        />
        {isOwn && !isEditing && (
          <>
            <button type="button" className="panseo-link" onClick={() => setEditing(true)}>
              {words.edit}
            </button>
            <button type="button" className="panseo-link" onClick={() => actions.remove(comment.id)}>
              {words.remove}
            </button>
          </>
        )}
      </div>
    </article>
  )
}

interface LikeProps {
  comment: Comment
  canEdit: boolean
  label: string
  onLike: () => void
}

function LikeButton({ comment, canEdit, label, onLike }: LikeProps) {
  const { likes, isLiked } = comment
  return (
    <button
      type="button"
      className="panseo-link panseo-like"
      aria-pressed={isLiked}
      aria-label={likes > 0 ? `${label}: ${likes}` : label}
      title={label}
      disabled={!canEdit}
      onClick={onLike}
    >
      {icons.heart}
      {likes > 0 && <span>{likes}</span>}
    </button>
  )
}

interface WriterProps {
  label: string
  action: string
  text?: string
  onDone: (text: string) => void
  onCancel: () => void
}

function Writer({ label, action, text = '', onDone, onCancel }: WriterProps) {
  const words = useWords()
  const [value, setValue] = useState(text)
  const send = () => value.trim() !== '' && onDone(value.trim())
  return (
    <div className="panseo-writer">
      <textarea
        aria-label={label}
        placeholder={label}
        value={value}
        rows={3}
        maxLength={4_000}
        // the person has just asked to type here
        autoFocus
        onChange={(event) => setValue(event.target.value)}
        onKeyDown={(event) => {
          if (event.nativeEvent.isComposing) return
          if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) send()
          else if (event.key === 'Escape') onCancel()
          else return
          event.preventDefault()
          event.stopPropagation()
        }}
      />
      <div className="panseo-row">
        <button
          type="button"
          className="panseo-text-button"
          data-kind="primary"
          disabled={value.trim() === ''}
          onClick={send}
        >
          {action}
        </button>
        <button type="button" className="panseo-text-button" onClick={onCancel}>
          {words.cancel}
        </button>
      </div>
    </div>
  )
}

const UNITS = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000]
] as const

function ago(at: number, now: number, language: Language): string {
  const format = new Intl.RelativeTimeFormat(language, { numeric: 'auto' })
  for (const [unit, ms] of UNITS) if (now - at >= ms) return format.format(-Math.floor((now - at) / ms), unit)
  return format.format(0, 'minute')
}
