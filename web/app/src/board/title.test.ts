import { type Rest, RestError } from '@panseo/sdk'
import { expect, test, vi } from 'vitest'
import { titleOf } from './title.ts'

const who = { token: 'token', user: 'mina', name: 'Mina' }
const ask = (board: () => Promise<{ title: string }>, token: string | null = 'token') =>
  titleOf({ board } as unknown as Rest, 'lesson', { ...who, token })
const refuse = (status: number) => async () => Promise.reject(new RestError(status, 'http', ''))

test('a board has its title', async () => {
  expect(await ask(async () => ({ title: 'Fractions' }))).toBe('Fractions')
})

test.each([0, 500, 502, 503])('an answer of %i does not stand before the copy on this device', async (status) => {
  expect(await ask(refuse(status))).toBe('lesson')
})

test('nor does none at all', async () => {
  vi.useFakeTimers()
  const title = ask(() => new Promise(() => {}))
  await vi.advanceTimersByTimeAsync(5_000)
  expect(await title).toBe('lesson')
  vi.useRealTimers()
})

test.each([401, 403, 404, 429])('%i is the end of the way', async (status) => {
  await expect(ask(refuse(status))).rejects.toMatchObject({ status })
})

test('without log-in a board that is not there is made', async () => {
  expect(await ask(refuse(404), null)).toBe('lesson')
})
