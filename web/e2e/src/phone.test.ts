// Every page and state on a phone: whoever cannot see or aim well gets along with it, in light and dark, in both languages.

import { afterAll, beforeAll, expect, test } from 'vitest'

import { PHONE } from './browser'
import { STATES, Stage } from './states'

let stage: Stage

beforeAll(async () => {
  stage = await Stage.set()
})
afterAll(() => stage?.clear())

const looks = [
  { language: 'en', colorScheme: 'light' },
  { language: 'ko', colorScheme: 'dark' }
] as const
const seen = [...STATES.pages, ...STATES.wrong].flatMap((state) =>
  looks.map((look) => ({ name: state.name, ...look, state }))
)

test.each(seen)('$name, $language, $colorScheme', async ({ state, language, colorScheme }) => {
  const visit = await stage.visit(language, { ...PHONE, colorScheme })
  await stage.reach(state, visit, language)
  expect(await visit.person.barriers()).toEqual([])
  await visit.person.leave(state.faults)
})
