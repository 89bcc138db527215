// The real binary on a port and a folder of its own, and waiting for facts with a deadline.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const BINARY =
  process.env.PANSEO_BIN ?? fileURLToPath(new URL('../../../target/release/panseo', import.meta.url))
const PATIENCE_MS = 30_000

/** Resolves with what `holds` finds, looking again every 5 ms. */
export const until = async <T>(what: string, holds: () => T | Promise<T>): Promise<NonNullable<T>> => {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const found = await holds()
    if (found) return found
    if (Date.now() > deadline) throw new Error(`waited ${PATIENCE_MS} ms in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

const freePort = async (): Promise<number> => {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as { port: number }
  probe.close()
  await once(probe, 'close')
  return port
}

export class Server {
  readonly url: string
  readonly #folder: string
  readonly #flags: string[]
  #child: ChildProcess | null = null
  #said = ''

  private constructor(port: number, folder: string, flags: string[]) {
    this.url = `http://127.0.0.1:${port}`
    this.#folder = folder
    this.#flags = ['serve', '--listen', `127.0.0.1:${port}`, '--data-dir', join(folder, 'data'), ...flags]
  }

  static async start(...flags: string[]): Promise<Server> {
    return Server.#start(() => flags)
  }

  /** A node of a cluster, which tells clients its own address. */
  static async node(name: string, kafka: string, postgres: string, assets: string): Promise<Server> {
    return Server.#start((url) => [
      ...['--auth', 'open', '--no-rate-limits', '--node', name, '--public-url', url, '--database-url', postgres],
      ...['--kafka-brokers', kafka, '--kafka-prefix', 'sdk', '--kafka-replication', '1', '--kafka-create-topics'],
      ...['--assets', assets]
    ])
  }

  static async #start(flags: (url: string) => string[]): Promise<Server> {
    if (!existsSync(BINARY)) throw new Error(`there is no ${BINARY}: build it, or set PANSEO_BIN`)
    const folder = await mkdtemp(join(tmpdir(), 'panseo-sdk-'))
    const port = await freePort()
    const server = new Server(port, folder, flags(`http://127.0.0.1:${port}`))
    await server.run()
    return server
  }

  async run(): Promise<void> {
    const child = spawn(BINARY, this.#flags, {
      env: { ...process.env, PANSEO_LOG: 'warn' },
      stdio: ['ignore', 'ignore', 'pipe']
    })
    this.#child = child
    child.stderr?.on('data', (chunk) => {
      this.#said = (this.#said + chunk).slice(-2_000)
    })
    await until('the server is ready', () => {
      if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}: ${this.#said}`)
      return fetch(`${this.url}/health/ready`).then(
        ({ ok }) => ok,
        () => false
      )
    })
  }

  async kill(): Promise<void> {
    const child = this.#child
    this.#child = null
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }

  async stop(): Promise<void> {
    await this.kill()
    await rm(this.#folder, { recursive: true, force: true })
  }
}
