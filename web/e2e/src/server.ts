// The real server on a free port, with the site that is built into it.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder of the whole repository. */
export const root = join(dirname(fileURLToPath(import.meta.url)), '../../..')
const BIN = process.env.PANSEO_BIN ?? join(root, 'target/release/panseo')
const KEY = 'a secret of at least thirty-two bytes, for tests only'

export type Entry = { kind: string; id: string; properties: Record<string, unknown> }

export class Server {
  private constructor(
    /** Address of the site. */
    readonly url: string,
    private readonly home: string,
    private port: number,
    private child: ChildProcess,
    private readonly isOpen: boolean
  ) {}

  /** `open`: nobody logs in. `jwt`: everybody needs a token. */
  static async start(auth: 'open' | 'jwt', limits: Record<string, number> = {}): Promise<Server> {
    const home = mkdtempSync(join(tmpdir(), 'panseo-e2e-'))
    writeFileSync(join(home, 'key'), KEY)
    const lines = Object.entries(limits).map(([name, value]) => `${name} = ${value}`)
    writeFileSync(join(home, 'config'), ['[limits]', ...lines].join('\n'))
    const isOpen = auth === 'open'
    const { child, port } = await run(home, 0, isOpen)
    return new Server(`http://127.0.0.1:${port}`, home, port, child, isOpen)
  }

  /** Ends it as a power cut would. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const ended = new Promise((resolve) => this.child.once('exit', resolve))
    this.child.kill('SIGKILL')
    await ended
  }

  async restart(): Promise<void> {
    this.child = (await run(this.home, this.port, this.isOpen)).child
  }

  async stop(): Promise<void> {
    await this.kill()
    rmSync(this.home, { recursive: true })
  }

  token(user: string, role?: string): string {
    const args = [
      'token',
      '--user',
      user,
      '--name',
      user,
      ...(role ? ['--board', `*:${role}`] : []),
      '--jwt-key-file',
      join(this.home, 'key')
    ]
    return execFileSync(BIN, args, { encoding: 'utf8' }).trim()
  }

  /** A token of which only these claims are set; it may be out of date. */
  forge(claims: object): string {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`
    return `${text}.${createHmac('sha256', KEY).update(text).digest('base64url')}`
  }

  /** Ends all tokens of a person. */
  async revoke(user: string): Promise<void> {
    const now = Math.floor(Date.now() / 1_000)
    const admin = this.forge({ sub: 'root', iat: now, exp: now + 60, admin: true })
    await this.call('POST', '/tokens/revoke', { user }, admin)
  }

  async call(method: string, path: string, body?: unknown, token?: string): Promise<unknown> {
    const authorization = `Bearer ${this.isOpen ? '' : (token ?? this.token('root', 'teacher'))}`
    const answer = await fetch(`http://127.0.0.1:${this.port}/v1${path}`, {
      method,
      headers: { 'content-type': 'application/json', ...(!this.isOpen && { authorization }) },
      ...(body !== undefined && { body: JSON.stringify(body) })
    })
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`)
    return answer.status === 204 ? undefined : await answer.json()
  }

  /** A new board with so many small shapes on it. */
  async boardOf(count: number): Promise<string> {
    const elements = Array.from({ length: count }, (_, index) => ({
      id: `e${index}`,
      type: index % 2 ? 'rectangle' : 'ellipse',
      x: (index % 80) * 60,
      y: Math.floor(index / 80) * 60,
      width: 40,
      height: 40
    }))
    const file = { type: 'excalidraw', version: 2, elements, files: {} }
    return ((await this.call('POST', '/import', file)) as { board: string }).board
  }

  /** Live entries of a kind. */
  async entries(board: string, kind = 'element'): Promise<Entry[]> {
    const { entries } = (await this.call('GET', `/boards/${board}/state`)) as { entries: Entry[] }
    return entries.filter((entry) => entry.kind === kind && entry.properties.deleted === undefined)
  }

  /** Types of the live elements, from A to Z. */
  async kinds(board: string): Promise<string[]> {
    return (await this.entries(board)).map(({ properties }) => properties.type as string).sort()
  }
}

async function run(home: string, port: number, isOpen: boolean): Promise<{ child: ChildProcess; port: number }> {
  const auth = isOpen ? [] : ['--jwt-key-file', join(home, 'key')]
  const args = [
    'serve',
    '--listen',
    `127.0.0.1:${port}`,
    '--data-dir',
    join(home, 'data'),
    '--config',
    join(home, 'config'),
    ...auth
  ]
  const child = spawn(BIN, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  return new Promise((resolve, reject) => {
    let text = ''
    const read = (chunk: Buffer) => {
      text += chunk.toString()
      const found = /listens on http:\/\/127\.0\.0\.1:(\d+)/.exec(text)
      if (found) resolve({ child, port: Number(found[1]) })
    }
    child.stdout.on('data', read)
    child.stderr.on('data', read)
    child.once('error', reject)
    child.once('exit', () => reject(new Error(`the server did not start:\n${text}`)))
  })
}
