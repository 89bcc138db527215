import type { ExcalidrawImperativeAPI } from '@excalidraw/excalidraw/types'
import type { Board, Rest } from '@panseo/sdk'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import * as Y from 'yjs'

import { entriesOf, readEntry, writeEntry } from '../document/entries'
import { Images } from './images'

vi.mock('@excalidraw/excalidraw', () => ({ CaptureUpdateAction: { NEVER: 'NEVER' } }))

const HASH = 'a'.repeat(64)
/** What is put in: three bytes, and their hash. */
const PNG = 'data:image/png;base64,AAAA'
const PNG_HASH = '709e80c88487a2411e1ee4dfb9f22a861492d20c4765150c0c794abd70f8147c'
const ADDRESS = `http://host/pending/lesson/${HASH}`

/** Images that an earlier visit has left, by address. */
let left: Map<string, Response>
/** What the server answers to uploads, in order: a status that refuses, or nothing. */
let answers: (number | null)[]
let images: Images
/** Elements on the canvas, and contents that it has. */
let scene: { id: string; type: string; fileId: string; version: number; isDeleted?: boolean }[]
let files: Record<string, unknown>
let doc: Y.Doc
/** The browser has no room for images. */
let isFull: boolean
const counts: number[] = []
const refused = vi.fn()

beforeEach(() => {
  vi.useFakeTimers()
  left = new Map([[ADDRESS, new Response('image')]])
  const cache = {
    keys: async () => [...left.keys()].map((url) => ({ url })),
    match: async () => left.get(ADDRESS)?.clone(),
    delete: async () => left.delete(ADDRESS),
    put: async () => {
      if (isFull) throw new Error()
    }
  }
  vi.stubGlobal(
    'Image',
    class {
      decode = async () => {}
    }
  )
  isFull = false
  vi.stubGlobal('caches', { open: async () => cache })
  refused.mockClear()
})

afterEach(() => {
  images.close()
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

function open(...given: (number | null)[]): void {
  answers = given
  const putAsset = async () => {
    const status = answers.shift()
    if (status) throw Object.assign(new Error(), { status })
  }
  const asset = async () => Promise.reject(Object.assign(new Error(), { status: 404 }))
  scene = []
  files = {}
  doc = new Y.Doc()
  const edit = (change: () => void) => doc.transact(change)
  const board = { id: 'lesson', op: async () => {}, doc, user: 'mina', edit } as unknown as Board
  const api = {
    getFiles: () => files,
    getSceneElementsIncludingDeleted: () => scene,
    updateScene: ({ elements }: { elements: typeof scene }) => (scene = elements)
  } as unknown as ExcalidrawImperativeAPI
  images = new Images(board, { putAsset, asset } as unknown as Rest, api, refused)
  counts.length = 0
  images.onUploads(() => counts.push(images.uploads))
}

test('an image counts until the server has it', async () => {
  open(null)
  await vi.advanceTimersByTimeAsync(0)
  expect(counts).toEqual([1, 0])
  expect(left.size).toBe(0)
})

test('an image that is not taken for now is kept, counts, and goes again', async () => {
  open(403, 401, 429, null)
  await vi.advanceTimersByTimeAsync(100)
  expect([images.uploads, left.size, refused.mock.calls.length]).toEqual([1, 1, 0])
  await vi.advanceTimersByTimeAsync(60_000)
  expect([images.uploads, left.size, answers]).toEqual([0, 0, []])
})

test.each([413, 415, 422])('an image that the server never takes (%i) is let go, and that is said', async (status) => {
  open(status)
  await vi.advanceTimersByTimeAsync(0)
  expect([images.uploads, left.size]).toEqual([0, 0])
  expect(refused).toHaveBeenCalledWith('refused')
})

/** The user puts the image in, and the server answers; hashing takes its time. */
const putIn = async () => {
  const toCome = answers.length
  files[PNG_HASH] = { id: PNG_HASH, dataURL: PNG, mimeType: 'image/png' }
  const isReady = images.isReady(PNG_HASH, files as never)
  vi.useRealTimers()
  await vi.waitFor(() => expect(answers.length).toBe(toCome - 1))
  vi.useFakeTimers()
  return isReady
}

test('an image that was looked for in vain is uploaded when it is put in here', async () => {
  left.clear()
  open(null)
  images.want([{ id: 'theirs', type: 'image', fileId: PNG_HASH, isDeleted: false } as never])
  await vi.advanceTimersByTimeAsync(11_000)
  await putIn()
  expect([answers, images.isReady(PNG_HASH, files as never)]).toEqual([[], true])
})

test('an image that was refused is asked for again when it is put in again', async () => {
  left.clear()
  open(422, 422)
  expect(await putIn()).toBe(false)
  expect(answers).toEqual([422])
  refused.mockClear()
  expect(await putIn()).toBe(false)
  expect(answers).toEqual([])
  expect(refused).toHaveBeenCalledWith('refused')
})

test('own elements of a refused image are deleted on all pages, those of others stay', async () => {
  open(415)
  const entries = entriesOf(doc, 'elements')
  for (const author of ['mina', 'juno'])
    writeEntry(entries, author, { type: 'image', fileId: HASH, author, page: 'second' }, true)
  scene = ['juno', 'unwritten'].map((id) => ({ id, type: 'image', fileId: HASH, version: 1 }))
  await vi.advanceTimersByTimeAsync(0)
  expect(readEntry(entries, 'mina')?.deleted).toBeTypeOf('number')
  expect(readEntry(entries, 'juno')?.deleted).toBeUndefined()
  expect(scene.map(({ isDeleted }) => isDeleted)).toEqual([undefined, true])
})

test.each([true, false])('an image on its way is lost with the page if there is no room for it (%s)', async (full) => {
  left.clear()
  isFull = full
  open(403, null)
  await putIn()
  expect([images.uploads, images.loses]).toEqual([1, full])
})
