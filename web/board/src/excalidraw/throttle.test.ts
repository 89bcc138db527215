import { afterEach, expect, test, vi } from 'vitest'

import throttle from './throttle'

afterEach(() => void vi.useRealTimers())

test('calls at once, then with the last of what came, at most so often', () => {
  vi.useFakeTimers()
  const calls: number[] = []
  const throttled = throttle((value: number) => calls.push(value), 100)
  for (const value of [1, 2, 3]) throttled(value)
  expect(calls).toEqual([1])
  vi.advanceTimersByTime(100)
  throttled(4)
  expect(calls).toEqual([1, 3])
  vi.advanceTimersByTime(99)
  expect(calls).toEqual([1, 3])
  vi.advanceTimersByTime(1)
  expect(calls).toEqual([1, 3, 4])
})

test('what was cancelled, or must not trail, does not come', () => {
  vi.useFakeTimers()
  const calls: number[] = []
  const throttled = throttle((value: number) => calls.push(value), 100)
  const leading = throttle((value: number) => calls.push(value), 100, { trailing: false })
  for (const value of [1, 2]) throttled(value)
  throttled.cancel()
  for (const value of [3, 4]) leading(value)
  vi.runAllTimers()
  expect(calls).toEqual([1, 3])
})
