// Images: named by the hash of their content, kept on the server, fetched when an element shows them. The document holds
// the hash only.

import type { ExcalidrawElement, ExcalidrawImageElement, FileId } from '@excalidraw/excalidraw/element/types'
import type { BinaryFileData, BinaryFiles, DataURL, ExcalidrawImperativeAPI } from '@excalidraw/excalidraw/types'
import type { Board, Rest } from '@panseo/sdk'
import { CaptureUpdateAction } from '@excalidraw/excalidraw'

import { entriesOf, readAll, writeEntry } from '../document/entries'
import type { Dictionary } from '../i18n'
import type { Scene } from './binding'
import { PendingImages } from './pending'
import { BYTES_MAX, paint, shrink } from './shrink'

const SHA256 = /^[0-9a-f]{64}$/
/** Kinds the server keeps; others are painted into a PNG. */
const KEPT_TYPES: ReadonlySet<string> = new Set(['image/png', 'image/jpeg', 'image/webp', 'image/gif'])
const SVG = 'image/svg+xml'
/** Longer side in px that an image of dots has at most. */
const SIDE_MAX = 1_440
/** Longer side in px that a painted image has at least, and at most. */
const PAINTED_SIDE = [1_024, 2_880] as const
/** Answers of the server to content that it does not take from anybody. */
const NEVER_TAKEN: ReadonlySet<unknown> = new Set([413, 415, 422])
const RETRY_MIN_MS = 2_000
const UNTOLD_MS = 10_000
const RETRY_MAX_MS = 60_000

export class Images {
  /** Hashes whose content is on this canvas. */
  private readonly ready = new Set<string>()
  /** Hashes whose content the server is asked for. */
  private readonly fetching = new Set<string>()
  /** What was put in here, by what it was called then. */
  private readonly taken = new Set<string>()
  /** Hashes of what is lost with this page, because the device does not keep it. */
  private readonly unkept = new Set<string>()
  /** Names that the content got, by what it was called when it was put in. */
  private readonly names = new Map<string, string>()
  private readonly awaited = new Set<string>()
  private readonly listeners = new Set<() => void>()
  private readonly counters = new Set<() => void>()
  private readonly timers = new Set<ReturnType<typeof setTimeout>>()
  private isClosed = false
  /** Images put in here that the server does not have yet. */
  uploads = 0

  /** Some of them are lost when the page closes. */
  get loses(): boolean {
    return this.unkept.size > 0
  }

  private readonly pending: PendingImages

  constructor(
    private readonly board: Board,
    private readonly rest: Rest,
    private readonly api: ExcalidrawImperativeAPI,
    /** An image could not be taken. */
    private readonly onRefused: (why: 'kind' | 'refused') => void
  ) {
    this.pending = new PendingImages(board.id)
    void this.resume()
  }

  close(): void {
    this.isClosed = true
    for (const timer of this.timers) clearTimeout(timer)
  }

  /** Calls back when an image that was put in here may be written. */
  onReady(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Calls back when the number of uploads, or what closing the page would lose, is another one. */
  onUploads(listener: () => void): () => void {
    this.counters.add(listener)
    return () => this.counters.delete(listener)
  }

  /** Whether an image element may be written. Starts what is needed for that. */
  isReady(fileId: unknown, files: BinaryFiles): boolean {
    if (typeof fileId !== 'string') return false
    if (this.ready.has(fileId)) return true
    const file = files[fileId]
    // Without content it is a copy of an element whose content is still coming.
    if (!file) return SHA256.test(fileId)
    const name = this.names.get(fileId)
    // The same file once more.
    if (name) queueMicrotask(() => this.rename(fileId, name))
    else if (!this.taken.has(fileId)) {
      this.taken.add(fileId)
      void this.take(file)
    }
    return false
  }

  /** Fetches the content of images that the scene shows and the canvas lacks, once the board knows it is uploaded. */
  want(scene: Scene): void {
    const files = this.api.getFiles()
    const uploaded = this.board.doc.getMap('board:assets')
    for (const { type, fileId, isDeleted } of scene) {
      if (type !== 'image' || isDeleted || typeof fileId !== 'string' || files[fileId] || !SHA256.test(fileId)) continue
      if (uploaded.has(fileId)) this.ask(fileId)
      else if (!this.awaited.has(fileId)) {
        // Programs may put images on a board without telling it.
        this.awaited.add(fileId)
        this.later(UNTOLD_MS, () => this.ask(fileId))
      }
    }
  }

  private ask(sha256: string): void {
    if (this.fetching.has(sha256)) return
    this.fetching.add(sha256)
    void this.fetch(sha256, RETRY_MIN_MS)
  }

  /** Sends what an earlier visit could not. */
  private async resume(): Promise<void> {
    for (const sha256 of await this.pending.list()) {
      const content = await this.pending.find(sha256)
      if (!content) continue
      this.count(1)
      this.upload(sha256, await bytesOf(content), RETRY_MIN_MS)
    }
  }

  private async fetch(sha256: string, wait: number): Promise<void> {
    try {
      const content = (await this.pending.find(sha256)) ?? (await this.rest.asset(this.board.id, sha256))
      if (!this.isClosed) this.add(sha256, await dataUrl(content), content.type)
    } catch {
      // Not uploaded yet, or no connection: both pass.
      this.again(wait, (next) => void this.fetch(sha256, next))
    }
  }

  /** An image put in here: its content gets its name, and goes to the server. */
  private async take(file: BinaryFileData): Promise<void> {
    this.count(1)
    let content: Blob
    try {
      content = await kept(contentOf(file.dataURL))
      // What the browser cannot show, others could not see. Excalidraw, which began before, has given it its size then.
      await decoded(file.dataURL)
    } catch {
      this.count(-1)
      this.taken.delete(file.id)
      this.takeAway(file.id)
      this.onRefused('kind')
      return
    }
    const bytes = await bytesOf(content)
    const sha256 = await hashOf(bytes)
    if (this.isClosed) return
    if (sha256 !== file.id) {
      this.add(sha256, await dataUrl(content), content.type)
      this.names.set(file.id, sha256)
      this.rename(file.id, sha256)
    }
    if (!(await this.pending.keep(sha256, content))) this.unkept.add(sha256)
    this.count(0)
    this.ready.add(sha256)
    for (const listener of this.listeners) listener()
    this.upload(sha256, bytes, RETRY_MIN_MS)
  }

  private upload(sha256: string, bytes: Uint8Array<ArrayBuffer>, wait: number): void {
    this.rest
      .putAsset(this.board.id, bytes, sha256)
      .then(() => this.board.op({ op: 'asset.add', sha256 }))
      .then(() => this.drop(sha256))
      .catch((error: unknown) => {
        // All else passes, or may: who has lost the pen can get it again.
        if (NEVER_TAKEN.has((error as { status?: unknown }).status)) {
          void this.drop(sha256)
          this.forget(sha256)
          this.takeAway(sha256)
          this.onRefused('refused')
        } else this.again(wait, (next) => this.upload(sha256, bytes, next))
      })
  }

  /** It does not wait any more. */
  private async drop(sha256: string): Promise<void> {
    await this.pending.drop(sha256)
    this.unkept.delete(sha256)
    this.count(-1)
  }

  /** As if it had never been here: put in once more it is asked for once more. */
  private forget(sha256: string): void {
    for (const [from, to] of [...this.names, [sha256, sha256] as const]) {
      if (to !== sha256) continue
      this.names.delete(from)
      this.taken.delete(from)
    }
    this.ready.delete(sha256)
  }

  private count(step: 1 | 0 | -1): void {
    this.uploads += step
    for (const listener of this.counters) listener()
  }

  private add(sha256: string, dataURL: DataURL, mimeType: string): void {
    this.ready.add(sha256)
    const id = sha256 as FileId
    this.api.addFiles([{ id, dataURL, mimeType: mimeType as BinaryFileData['mimeType'], created: Date.now() }])
  }

  private rename(from: string, to: string): void {
    this.change(from, { fileId: to as FileId, status: 'saved' })
  }

  /** The elements that would show nothing: own ones of all pages, and those that are not written yet. */
  private takeAway(fileId: string): void {
    const { doc, user } = this.board
    const entries = entriesOf(doc, 'elements')
    this.change(fileId, { isDeleted: true }, (id) => !entries.has(id))
    const own: string[] = []
    for (const [id, entry] of readAll(entries))
      if (entry.fileId === fileId && entry.deleted === undefined && entry.author === user) own.push(id)
    if (own.length === 0) return
    this.board.edit(() => {
      for (const id of own) writeEntry(entries, id, { deleted: Date.now() })
    })
  }

  private change(fileId: string, changes: Partial<ExcalidrawImageElement>, isMeant = (_id: string) => true): void {
    const elements = this.api.getSceneElementsIncludingDeleted().map((element): ExcalidrawElement => {
      if (element.type !== 'image' || element.fileId !== fileId || !isMeant(element.id)) return element
      return { ...element, ...changes, version: element.version + 1 }
    })
    this.api.updateScene({ elements, captureUpdate: CaptureUpdateAction.NEVER })
  }

  private again(wait: number, run: (next: number) => void): void {
    this.later(wait * (0.5 + Math.random()), () => run(Math.min(2 * wait, RETRY_MAX_MS)))
  }

  private later(wait: number, run: () => void): void {
    if (this.isClosed) return
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      run()
    }, wait)
    this.timers.add(timer)
  }
}

/**
 * What a file that is put in is called: by the hash of what others get. Excalidraw holds on to its element until it has
 * given it its size, so the element must not be replaced to rename it. Fails, with what is to be said, for one that the
 * board cannot take: an image that is painted of dots is made smaller, a drawing is not.
 */
export async function callFile(file: Blob, api: ExcalidrawImperativeAPI, words: Dictionary): Promise<string> {
  if (file.type === SVG && file.size > BYTES_MAX) throw new Error(words.imageTooLarge)
  try {
    // Here a drawing stays one, so that it has the size that it says.
    const shown = file.type === SVG ? file : await kept(await shrink(file, { max: SIDE_MAX }))
    const id = (await hashOf(await bytesOf(await kept(shown)))) as FileId
    const mimeType = shown.type as BinaryFileData['mimeType']
    // Excalidraw makes no image of its own from the file then.
    api.addFiles([{ id, dataURL: await dataUrl(shown), mimeType, created: Date.now() }])
    return id
  } catch (cause) {
    throw new Error(words.imageKind, { cause })
  }
}

async function bytesOf(blob: Blob): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await blob.arrayBuffer())
}

async function hashOf(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  // Browsers have no `crypto.subtle` on a page without https.
  const digest = crypto.subtle
    ? new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
    : (await import('lib0/hash/sha256')).digest(bytes)
  return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** The page's policy does not let data URLs be fetched. */
function contentOf(dataURL: string): Blob {
  const [head = '', body = ''] = dataURL.split(',', 2)
  const type = /^data:([^;]*)/.exec(head)?.[1] ?? ''
  const text = head.endsWith(';base64') ? atob(body) : decodeURIComponent(body)
  return new Blob([Uint8Array.from(text, (letter) => letter.charCodeAt(0))], { type })
}

/** The content in a kind that the server keeps. */
async function kept(content: Blob): Promise<Blob> {
  if (KEPT_TYPES.has(content.type)) return content
  const url = URL.createObjectURL(content)
  try {
    const image = await decoded(url)
    // A drawing without a size of its own, or a small one, shall still be sharp.
    image.width = image.naturalWidth || 512
    image.height = image.naturalHeight || 512
    const side = Math.max(image.width, image.height)
    const [least, most] = PAINTED_SIDE
    return await paint(image, Math.min(Math.max(1, least / side), most / side), 'image/png')
  } finally {
    URL.revokeObjectURL(url)
  }
}

async function decoded(url: string): Promise<HTMLImageElement> {
  const image = new Image()
  image.src = url
  await image.decode()
  return image
}

function dataUrl(blob: Blob): Promise<DataURL> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader()
    reader.onload = () => resolve(reader.result as DataURL)
    reader.onerror = () => reject(reader.error ?? new Error('the image cannot be read'))
    reader.readAsDataURL(blob)
  })
}
