// Following: the canvas goes where somebody else looks. Who follows says so on the ephemeral channel; who is followed
// shows there where they look, for as long as somebody wants to know.

import { getVisibleSceneBounds, zoomToFitBounds } from '@excalidraw/excalidraw'
import type { ExcalidrawImperativeAPI, SocketId } from '@excalidraw/excalidraw/types'
import type { Board, EphemeralState } from '@panseo/sdk'

import { isList, isMap, isNumber, isText } from '../document/values'

const INTERVAL_MS = 100

/** What somebody sees: left, top, right and bottom of it in scene coordinates. */
interface View {
  page: string
  bounds: readonly [number, number, number, number]
}

export interface FollowHooks {
  page(): string
  /** The leader is on another page. */
  onPage(page: string): void
  onLeader(user: string | null): void
}

export class Follow {
  leader: string | null = null
  /** Whom each session follows. */
  private readonly leaders = new Map<number, { user: string; leader: string }>()
  private readonly views = new Map<string, View>()
  private shown: View | undefined
  private timer: ReturnType<typeof setTimeout> | undefined
  private goesTo: string | undefined
  private readonly end: () => void

  constructor(
    private readonly board: Board,
    private readonly api: ExcalidrawImperativeAPI,
    private readonly hooks: FollowHooks
  ) {
    // Excalidraw draws the frame around the canvas, and ends it when the user scrolls, zooms or draws.
    this.end = api.onUserFollow(({ userToFollow, action }) => {
      this.leader = action === 'FOLLOW' ? userToFollow.socketId : null
      this.goesTo = undefined
      this.board.follow(this.leader)
      this.hooks.onLeader(this.leader)
      this.tell()
      this.go()
    })
  }

  close(): void {
    this.end()
    clearTimeout(this.timer)
  }

  /** `null` ends it. */
  start(user: string | null): void {
    const userToFollow = user === null ? null : { socketId: user as SocketId, username: user }
    this.api.updateScene({ appState: { userToFollow } })
  }

  hear({ session, user, kind, data }: EphemeralState): void {
    if (kind === 'follow') {
      if (isMap(data) && isText(data.user)) this.leaders.set(session, { user, leader: data.user })
      else this.leaders.delete(session)
      this.tell()
      this.go()
    } else if (kind === 'viewport') {
      const view = readView(data)
      if (view) this.views.set(user, view)
      else this.views.delete(user)
      if (user === this.source) this.go()
    }
  }

  /** Another page is on the canvas. */
  opened(page: string): void {
    if (page === this.goesTo) this.go()
    else if (this.leader !== null) this.start(null)
    this.tell()
  }

  /** Shows where one looks, if somebody follows. Who follows oneself is followed through, to their leader. */
  tell(): void {
    if (this.timer || (this.leaders.size === 0 && !this.shown)) return
    const { user } = this.board
    const isFollowed = this.leader === null && [...this.leaders.values()].some(({ leader }) => leader === user)
    const bounds = getVisibleSceneBounds(this.api.getAppState())
    const view = isFollowed ? { page: this.hooks.page(), bounds: bounds.map(Math.round) as never } : undefined
    if (JSON.stringify(view) === JSON.stringify(this.shown)) return
    this.shown = view
    this.board.show('viewport', view ?? null)
    this.timer = setTimeout(() => {
      this.timer = undefined
      this.tell()
    }, INTERVAL_MS)
  }

  private go(): void {
    const view = this.views.get(this.source ?? '')
    if (!view) return
    if (view.page !== this.hooks.page()) return this.hooks.onPage((this.goesTo = view.page))
    const appState = this.api.getAppState()
    const { scrollX, scrollY, zoom } = zoomToFitBounds({ bounds: view.bounds, appState, fitToViewport: true }).appState
    this.api.updateScene({ appState: { scrollX, scrollY, zoom } })
  }

  /** Whom the leader follows in turn, or the leader. In a ring nobody shows anything. */
  private get source(): string | null {
    const seen = new Set<string>()
    let at = this.leader
    while (at !== null && !seen.has(at)) {
      seen.add(at)
      const user: string = at
      const next = [...this.leaders.values()].find((follower) => follower.user === user)
      if (!next) break
      at = next.leader
    }
    return at
  }
}

function readView(data: unknown): View | undefined {
  if (!isMap(data) || !isText(data.page) || !isList(data.bounds) || !data.bounds.every(isNumber)) return undefined
  const [left, top, right, bottom] = data.bounds as number[]
  if (left === undefined || top === undefined || right === undefined || bottom === undefined) return undefined
  return left < right && top < bottom ? { page: data.page, bounds: [left, top, right, bottom] } : undefined
}
