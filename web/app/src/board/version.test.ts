import type { Board, BoardState } from '@panseo/sdk'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { watchVersion } from './version.ts'

let state: Pick<BoardState, 'save'>
let tell: (state: object) => void
let page: string
const fetched = vi.fn()
const onOld = vi.fn()

beforeEach(() => {
  vi.useFakeTimers()
  vi.stubGlobal('location', { pathname: '/b/lesson' })
  vi.stubGlobal('document', { querySelector: () => ({ src: 'http://host/assets/b-1.js' }) })
  fetched.mockReset().mockImplementation(async () => new Response(page))
  vi.stubGlobal('fetch', fetched)
  onOld.mockClear()
  page = '<script src="/assets/b-1.js">'
  state = { save: 'saved' }
})
afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllGlobals()
})

const watch = () => {
  const on = (_: string, listener: typeof tell) => {
    tell = listener
    return () => {}
  }
  return watchVersion({ state, on } as unknown as Board, onOld)
}
const be = (save: BoardState['save']) => {
  state.save = save
  tell({ save })
}

test('edits without a connection do not fetch the page; losing it does, and time', async () => {
  const end = watch()
  for (let edit = 0; edit < 200; edit += 1) {
    be('offline')
    await vi.advanceTimersByTimeAsync(10)
  }
  expect(fetched).toHaveBeenCalledTimes(1)
  await vi.advanceTimersByTimeAsync(20_000)
  expect(fetched).toHaveBeenCalledTimes(3)
  be('saved')
  await vi.advanceTimersByTimeAsync(20_000)
  end()
  expect(fetched).toHaveBeenCalledTimes(3)
})

test('one request at a time, and none for ever', async () => {
  let give = () => {}
  fetched.mockImplementation((_, { signal }) => {
    expect(signal).toBeInstanceOf(AbortSignal)
    return new Promise((_resolve, reject) => (give = () => reject(new Error())))
  })
  const end = watch()
  be('offline')
  await vi.advanceTimersByTimeAsync(60_000)
  expect(fetched).toHaveBeenCalledTimes(1)
  give()
  await vi.advanceTimersByTimeAsync(10_000)
  expect(fetched).toHaveBeenCalledTimes(2)
  end()
})

test('a server with other pages is told', async () => {
  page = '<script src="/assets/b-2.js">'
  const end = watch()
  be('offline')
  await vi.advanceTimersByTimeAsync(0)
  end()
  expect(onOld).toHaveBeenCalledOnce()
})
