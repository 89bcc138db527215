// What the SDK may use: Yjs and itself. No DOM, no framework, nothing of the workspaces above it.

import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const FOLDER = new URL('.', import.meta.url)
const files = readdirSync(FOLDER, { recursive: true, encoding: 'utf8' }).filter(
  (name) => name.endsWith('.ts') && !name.endsWith('.test.ts')
)

/** What each folder may import of the others, besides `api`, `clock` and the generated types. */
const RANKS: { [folder: string]: string[] } = {
  protocol: ['protocol'],
  transport: ['protocol', 'transport'],
  sync: ['protocol', 'transport', 'sync', 'presence.ts', 'emitter.ts', 'token.ts']
}

test.each(files)('%s', (name) => {
  const source = readFileSync(new URL(name, FOLDER), 'utf8')
  const imports = [...source.matchAll(/ from '([^']+)'$/gm)].map(([, from]) => from ?? '')
  expect(imports.filter((from) => !from.startsWith('.') && from !== 'yjs')).toEqual([])
  const folder = name.split('/')[0] ?? ''
  const targets = imports
    .filter((from) => from.startsWith('.'))
    .map((from) => new URL(from, new URL(name, FOLDER)).href.slice(FOLDER.href.length))
  const allowed = RANKS[folder]
  if (allowed) {
    const isAllowed = (target: string) => ['api.ts', 'clock.ts', ...allowed].includes(target.split('/')[0] ?? '')
    expect(targets.filter((target) => !isAllowed(target))).toEqual([])
  }
  expect(source).not.toMatch(/\b(window|localStorage|HTMLElement|querySelector)\b/)
  if (!name.endsWith('.gen.ts')) expect(source.split('\n').length).toBeLessThan(600)
})
