// Opening a board: what is on this device first, then the server.

import type { Board, BoardEvents, DeviceState, OpenBoard, OpenOptions, PlainBoard, SocketClass } from '../api.ts'
import { type Clock, systemClock } from '../clock.ts'
import { uuid } from '../protocol/codec.ts'
import { Token } from '../token.ts'
import { Link } from '../transport/socket.ts'
import { DocumentBoard, EntriesBoard } from './board.ts'
import { type Browser, browser, Device, type Listener } from './offline.ts'
import { Outbox } from './outbox.ts'
import { type Live, OpError, type Setting } from './session.ts'

/** What tests bring instead of the environment's. */
export interface Environment {
  clock: Clock
  browser: Browser | null
}

/** The user of all who give no name to a server without tokens. */
const GUEST = 'guest'

export const open = async (
  options: OpenOptions,
  { clock, browser }: Environment
): Promise<DocumentBoard | EntriesBoard> => {
  const { device: wanted = true, document: hasDocument = true } = options
  const Socket = options.WebSocket ?? (globalThis.WebSocket as SocketClass | undefined)
  if (!Socket)
    throw new TypeError('there is no WebSocket here: pass the class as `WebSocket`, as that of the package ws')
  const token = new Token(options.token, clock)
  const setting: Setting = {
    id: options.board,
    user: options.user ?? null,
    owner: null,
    token,
    clock,
    device: null,
    deviceState: 'off',
    outboxes: []
  }
  let board: DocumentBoard | EntriesBoard
  let isRestored = false
  if (!hasDocument) {
    setting.outboxes = [new Outbox(uuid(clock.now()))]
    board = new EntriesBoard(setting)
  } else {
    // A device may fail before there is a board.
    const hears = { changed: () => board?.deviceChanged(), replaced: () => board?.deviceReplaced() }
    const kept = wanted && browser ? await restore(options, setting, browser, hears) : null
    const left = setting.outboxes.reduce((sum, { size }) => sum + size, 0)
    setting.outboxes.push(new Outbox(uuid(clock.now()), [], left))
    await setting.device?.hold(setting.outboxes.at(-1)?.client ?? '')
    board = new DocumentBoard(setting, kept)
    isRestored = kept !== null
  }
  const address = new URL(`v1/boards/${encodeURIComponent(options.board)}/ws`, options.url.replace(/\/*$/, '/'))
  address.protocol = address.protocol.replace('http', 'ws')
  board.connect(new Link(address.href, Socket, clock, board))
  wake(board)
  if (!isRestored) await firstSync(board, options.signal)
  return board
}

/** Opens the copy on this device, if it is known whose it would be. */
const restore = async (
  { url, board, user, token }: OpenOptions,
  setting: Setting,
  browser: Browser,
  hears: Listener
): Promise<Uint8Array | null> => {
  const owner = (await setting.token.user()) ?? user ?? (token === undefined ? GUEST : null)
  if (owner === null) return null
  try {
    const name = `panseo ${JSON.stringify([new URL(url).origin, board, owner])}`
    setting.device = await Device.open(name, browser, setting.clock, hears)
    const { document, left } = await setting.device.load()
    setting.outboxes = left
    setting.owner = owner
    setting.deviceState = 'kept'
    return document
  } catch {
    // Private windows and full disks: the board works, and its state says that nothing is kept. Another tab may have
    // more luck with what is there.
    await setting.device?.close()
    setting.device = null
    setting.deviceState = 'forbidden' satisfies DeviceState
    return null
  }
}

/** Waits for the server's state; gives up when there will be no connection, or when it is called off. */
const firstSync = (board: Live, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const give = (error: Error) => {
      end()
      void board.close()
      reject(error)
    }
    const abort = () => give(new OpError('closed', 'it was called off'))
    const look = ({ save, why }: BoardEvents['state']) => {
      if (save === 'read-only' && why !== 'viewer')
        give(new OpError(why ?? 'fault', `the board cannot be opened: ${why}`))
      else if (save !== 'offline') {
        end()
        resolve()
      } else if (why === 'closed') give(new OpError('closed', 'the server closed the board'))
    }
    const unlisten = board.on('state', look)
    const end = () => {
      unlisten()
      signal?.removeEventListener('abort', abort)
    }
    signal?.addEventListener('abort', abort)
    if (signal?.aborted) abort()
  })

/** The network went or may be back, or the person is back at the tab: no reason to wait for the next look. */
const wake = (board: Live): void => {
  const { addEventListener, removeEventListener } = globalThis as Partial<typeof globalThis>
  if (!addEventListener || !removeEventListener) return
  const page = globalThis as { document?: { visibilityState?: string } }
  const nudge = () => {
    if (page.document?.visibilityState !== 'hidden') board.nudge()
  }
  const names = ['offline', 'online', 'visibilitychange', 'pageshow']
  for (const name of names) addEventListener(name, nudge)
  board.onStop(() => {
    for (const name of names) removeEventListener(name, nudge)
  })
}

export const openBoard = ((options: OpenOptions): Promise<Board | PlainBoard> =>
  open(options, { clock: systemClock, browser: browser() })) as OpenBoard
