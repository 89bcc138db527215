// The quick start of the README is run as it stands there, against the real server.

import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { Server } from './server.ts'

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url))

test('the quick start does what it says', async () => {
  const server = await Server.start('--auth', 'open')
  const folder = await mkdtemp(join(tmpdir(), 'panseo-readme-'))
  try {
    const [, code = ''] = /```ts\n([\s\S]*?)```/.exec(await readFile(at('../README.md'), 'utf8')) ?? []
    expect(code.trim().split('\n').length).toBeLessThanOrEqual(5)
    // Node 20 has no WebSocket of its own; where it is and which port is free, the README cannot know.
    const head = "import WebSocket from 'ws'\nglobalThis.WebSocket ??= WebSocket\n"
    await writeFile(join(folder, 'start.mjs'), head + code.replace('http://127.0.0.1:8080', server.url))
    await symlink(at('../../node_modules'), join(folder, 'node_modules'))
    const { stdout } = await promisify(execFile)(process.execPath, [join(folder, 'start.mjs')], { timeout: 30_000 })
    expect(stdout).toMatch(/^saved \{[\s\S]*hello: \{[\s\S]*text: '안녕하세요'/)
  } finally {
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  }
})
