import type { ExcalidrawImperativeAPI } from '@excalidraw/excalidraw/types'
import type { Board, Rest } from '@panseo/sdk'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'

import { Images } from './images'

vi.mock('@excalidraw/excalidraw', () => ({ CaptureUpdateAction: { NEVER: 'NEVER' } }))

const HASH = 'a'.repeat(64)
const ADDRESS = `http://host/pending/lesson/${HASH}`

/** Images that an earlier visit has left, by address. */
let left: Map<string, Response>
/** What the server answers to uploads, in order: a status that refuses, or nothing. */
let answers: (number | null)[]
let images: Images
const counts: number[] = []
const refused = vi.fn()

beforeEach(() => {
  vi.useFakeTimers()
  left = new Map([[ADDRESS, new Response('image')]])
  const cache = {
    keys: async () => [...left.keys()].map((url) => ({ url })),
    match: async () => left.get(ADDRESS)?.clone(),
    delete: async () => left.delete(ADDRESS)
  }
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
  const board = { id: 'lesson', op: async () => {} } as unknown as Board
  const api = { getSceneElementsIncludingDeleted: () => [], updateScene: () => {} }
  images = new Images(board, { putAsset } as unknown as Rest, api as unknown as ExcalidrawImperativeAPI, refused)
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
