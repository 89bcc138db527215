import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { type Advice, advise, backoff } from './close.ts'

const half = () => 0.5

test.each<[number, Advice['then']]>([
  [1000, 'stop'],
  [1001, 'reconnect'],
  [1003, 'stop'],
  [1006, 'reconnect'],
  [1007, 'stop'],
  [1009, 'leave out'],
  [1011, 'reconnect'],
  [1012, 'reconnect'],
  [1013, 'reconnect'],
  [4400, 'leave out'],
  [4401, 'ask for a token'],
  [4403, 'stop'],
  [4404, 'stop'],
  [4409, 'take a new document'],
  [4422, 'leave out'],
  [4444, 'stop'],
  [4500, 'reconnect'],
  [4503, 'reconnect'],
  [4508, 'reconnect'],
  [4509, 'reconnect'],
  [4529, 'reconnect'],
  [4599, 'reconnect']
])('after %i: %s', (code, then) => expect(advise(code, '', 0, half).then).toBe(then))

test('every code of the protocol is in the list above', () => {
  const rules = readFileSync(new URL('../../../../docs/PROTOCOL.md', import.meta.url), 'utf8')
  const table = rules.slice(rules.indexOf('## Close codes'), rules.indexOf('## Error codes'))
  const codes = [...table.matchAll(/^\| ([\d, ]+) \|/gm)].flatMap(([, cell]) => (cell ?? '').split(', ').map(Number))
  const source = readFileSync(new URL('close.ts', import.meta.url), 'utf8')
  // 45xx without a case of their own mean «come back».
  const isHandled = (code: number) => source.includes(`case ${code}:`) || (code >= 4500 && code < 4600)
  expect(codes.length).toBeGreaterThan(15)
  expect(codes.filter((code) => !isHandled(code))).toEqual([])
})

test('waits grow from 0.25 s to 30 s, with full jitter', () => {
  const longest = [0, 1, 2, 3, 6, 7, 8, 100].map((attempt) => backoff(attempt, 250, () => 1))
  expect(longest).toEqual([250, 500, 1_000, 2_000, 16_000, 30_000, 30_000, 30_000])
  expect(backoff(3, 250, () => 0)).toBe(0)
})

test('what the server asks for is kept', () => {
  const wait = (code: number, reason: string, chance: number) => advise(code, reason, 9, () => chance)
  expect(wait(4529, '20', 0)).toMatchObject({ wait_ms: 20_000, isHint: true })
  expect(wait(4529, 'soon', 0)).toMatchObject({ wait_ms: 2_000 })
  expect(wait(1012, '', 0)).toMatchObject({ wait_ms: 1_000, isHint: true })
  expect(wait(1012, '', 1)).toMatchObject({ wait_ms: 10_000 })
  expect(wait(4500, '', 1)).toMatchObject({ wait_ms: 3_000 })
})
