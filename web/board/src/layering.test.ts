import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

import { expect, test } from 'vitest'

const web = join(dirname(fileURLToPath(import.meta.url)), '../..')

/** What each part may import of the others. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  sdk: [],
  overlay: [],
  board: ['@panseo/sdk'],
  replay: ['@panseo/sdk'],
  app: ['@panseo/sdk', '@panseo/board', '@panseo/replay', '@panseo/overlay']
}

function* imports(part: string): Generator<[file: string, module: string]> {
  const root = join(web, part, 'src')
  for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
    if (!/\.tsx?$/.test(name)) continue
    const text = readFileSync(join(root, name), 'utf8')
    for (const [, module = ''] of text.matchAll(/(?:from|import) '([^']+)'/g)) {
      const isOwn = module.startsWith('.')
      yield [join(part, 'src', name), isOwn ? relative(web, join(root, dirname(name), module)) : module]
    }
  }
}

test('parts import what stands below them only', () => {
  const parts = readdirSync(web).filter((part) => part in ALLOWED)
  expect(parts).toContain('board')
  for (const part of parts) {
    for (const [file, module] of imports(part)) {
      if (module.startsWith('@panseo/')) expect(ALLOWED[part], file).toContain(module)
      expect(module.startsWith('..'), `${file} imports ${module}`).toBe(false)
    }
  }
})

test('only board/src/excalidraw knows Excalidraw', () => {
  const users = new Set<string>()
  for (const part of ['board', 'app']) {
    for (const [file, module] of imports(part)) if (module.startsWith('@excalidraw/')) users.add(dirname(file))
  }
  expect([...users]).toEqual(['board/src/excalidraw'])
})

test('the document knows neither React nor the canvas', () => {
  for (const [file, module] of imports('board')) {
    if (!file.startsWith('board/src/document')) continue
    expect(/^(yjs|vitest|board\/src\/(document|testing)\/.*)$/.test(module), `${file} imports ${module}`).toBe(true)
  }
})
