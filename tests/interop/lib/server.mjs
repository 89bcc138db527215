// The real binary, on a port and a folder of its own; or one that runs already at PANSEO_URL.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { until, within } from './wait.mjs'

const freePort = async () => {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  return port
}

export class Server {
  /** @type {import('node:child_process').ChildProcess | null} */
  #child = null
  #folder = ''
  #port = 0
  #said = ''

  /** Starts the server, or takes the one at PANSEO_URL. */
  static async start () {
    const server = new Server()
    if (process.env.PANSEO_URL) {
      const url = new URL(process.env.PANSEO_URL)
      server.#port = Number(url.port || 80)
      return server
    }
    if (!process.env.PANSEO_BIN) throw new Error('set PANSEO_BIN to the binary, or PANSEO_URL to a running server')
    server.#folder = await mkdtemp(join(tmpdir(), 'panseo-interop-'))
    server.#port = await freePort()
    try {
      await server.#run()
    } catch (cause) {
      // `after` has no server to stop yet, so nothing may be left behind here.
      await server.stop()
      throw cause
    }
    return server
  }

  get http () { return `http://127.0.0.1:${this.#port}` }
  get ws () { return `ws://127.0.0.1:${this.#port}` }
  /** Whether this server may be killed: it is ours. */
  get isOurs () { return this.#folder !== '' }

  async #run () {
    const flags = ['serve', '--listen', `127.0.0.1:${this.#port}`, '--data-dir', join(this.#folder, 'data')]
    const child = spawn(process.env.PANSEO_BIN, [...flags, '--auth', 'open', '--no-rate-limits'], {
      env: { ...process.env, PANSEO_LOG: 'warn' },
      stdio: ['ignore', 'ignore', 'pipe']
    })
    this.#child = child
    this.#said = ''
    child.stderr.on('data', (chunk) => { this.#said = (this.#said + chunk).slice(-4_000) })
    await until('the server is ready', async () => {
      if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}:\n${this.#said}`)
      return fetch(`${this.http}/health/ready`).then((answer) => answer.ok, () => false)
    })
  }

  async #end (signal) {
    const child = this.#child
    this.#child = null
    if (child === null || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill(signal)
    await within(`the server ends by ${signal}`, gone)
  }

  /** kill -9, and the same data again on the same port. */
  async killAndRestart () {
    await this.#end('SIGKILL')
    await this.#run()
  }

  async stop () {
    if (!this.isOurs) return
    await this.#end('SIGKILL')
    await rm(this.#folder, { recursive: true, force: true })
  }
}

/** A board name nobody has used. */
export const newBoard = () => `interop-${crypto.randomUUID()}`
