// What the start page asks of the server, and what it says when the answer is no.

import { openRest, type Rest, RestError } from '@panseo/sdk'
import type { Identity } from '../identity.ts'
import type { Words } from '../words.ts'

export type RecentBoard = Awaited<ReturnType<Rest['recent']>>[number]

export function restOf({ token, user }: Identity): Rest {
  return openRest({ url: location.origin, ...(token ? { token } : { user }) })
}

export async function createBoard(who: Identity, title: string): Promise<string> {
  return (await restOf(who).createBoard({ title })).id
}

/** A code, or the link it is in; the address of a board leads there as it is. */
export async function joinByCode(who: Identity, typed: string): Promise<string> {
  const link = URL.canParse(typed) ? new URL(typed) : null
  const board = link && /^\/b\/([^/]+)$/.exec(link.pathname)?.[1]
  const code = link ? link.searchParams.get('invite') : typed
  if (!code) {
    if (board) return decodeURIComponent(board)
    throw new RestError(404, 'not_found', 'the link holds no code')
  }
  return (await restOf(who).join(code)).board
}

export function recentBoards(who: Identity): Promise<RecentBoard[]> {
  return restOf(who).recent()
}

export function thumbnail(who: Identity, board: string): Promise<Blob> {
  return restOf(who).thumbnail(board)
}

/** What went wrong, and what to do. */
export function problemWords(error: unknown, text: Words): string {
  if (!(error instanceof RestError)) return text.failed
  switch (error.status) {
    case 0:
      return text.noServer
    case 400:
      return error.code === 'token_missing' || error.code === 'missing_token' ? text.needLogin : text.failed
    case 401:
      return text.badLogin
    case 403:
      return text.notAllowed
    case 404:
      return text.badCode
    case 410:
      return text.expired
    case 429:
      return text.tooOften
    default:
      return text.failed
  }
}
