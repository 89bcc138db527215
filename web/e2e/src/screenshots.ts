// Pictures of every page and state, in both languages, on a desk and on a phone, light and dark: `make screenshots` puts
// them into web/screenshots, to be looked at.

import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import type { BrowserContextOptions } from 'playwright-core'
import { afterAll, beforeAll, test } from 'vitest'

import { PHONE } from './browser'
import { type Language, STATES, Stage } from './states'

const folder = join(dirname(fileURLToPath(import.meta.url)), '../../screenshots')
const looks: [name: string, language: Language, options: BrowserContextOptions][] = [
  ['desk-ko', 'ko', {}],
  ['desk-en-dark', 'en', { colorScheme: 'dark' }],
  ['phone-en', 'en', PHONE],
  ['phone-ko-dark', 'ko', { ...PHONE, colorScheme: 'dark' }]
]
let stage: Stage

beforeAll(async () => {
  mkdirSync(folder, { recursive: true })
  stage = await Stage.set()
})
afterAll(() => stage?.clear())

for (const [look, language, options] of looks) {
  test.each([...STATES.pages, ...STATES.wrong])(`${look} $name`, async (state) => {
    const visit = await stage.visit(language, options)
    try {
      await stage.reach(state, visit, language)
      // Panels and toasts come with a short motion.
      await visit.page.waitForFunction(() => document.getAnimations().every(({ playState }) => playState !== 'running'))
    } finally {
      await visit.page.screenshot({ path: join(folder, `${state.name}-${look}.png`) })
      await visit.page.context().close()
    }
  })
}
