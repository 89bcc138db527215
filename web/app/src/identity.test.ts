import { expect, test, vi } from 'vitest'
import { identity, watchLink } from './identity.ts'

test('a personal link that is opened over another one takes its place', () => {
  const page = new EventTarget()
  const stored = new Map<string, string>()
  const storage = { getItem: (key: string) => stored.get(key) ?? null, setItem: stored.set.bind(stored) }
  const location = { pathname: '/b/lesson', search: '', hash: '#token=one', reload: vi.fn() }
  const replaceState = (_state: unknown, _title: string, address: string) =>
    (location.hash = address.split('#')[1] ?? '')
  vi.stubGlobal('window', { localStorage: storage, sessionStorage: storage })
  vi.stubGlobal('location', location)
  vi.stubGlobal('history', { replaceState })
  vi.stubGlobal('addEventListener', page.addEventListener.bind(page))
  expect(identity().token).toBe('one')
  watchLink()
  location.hash = '#elsewhere'
  page.dispatchEvent(new Event('hashchange'))
  expect(location.reload).not.toHaveBeenCalled()
  location.hash = '#token=two'
  page.dispatchEvent(new Event('hashchange'))
  expect(location.reload).toHaveBeenCalledOnce()
  expect([identity().token, location.hash]).toEqual(['two', ''])
  vi.unstubAllGlobals()
})
