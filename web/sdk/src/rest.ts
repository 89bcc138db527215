// The REST door. Refusals are problem documents (RFC 9457); they become a `RestError` with their code.

import type { Rest, RestOptions } from './api.ts'
import { Token } from './token.ts'

export class RestError extends Error {
  /** HTTP status; 0: there was no answer. */
  readonly status: number
  /** Code of the problem document, else `http` or `network`. */
  readonly code: string
  constructor(status: number, code: string, message: string) {
    super(message)
    this.name = 'RestError'
    this.status = status
    this.code = code
  }
}

type Query = { [name: string]: string | number | boolean | undefined }
type Body = Uint8Array<ArrayBuffer> | Blob | object

/** Opens the REST door of a server. */
export const openRest = ({ url, token, user }: RestOptions): Rest => {
  const tokens = new Token(token)

  const request = async (method: string, path: string, query: Query, body?: Body): Promise<Response> => {
    const address = new URL(`v1/${path}`, url.replace(/\/*$/, '/'))
    for (const [name, value] of Object.entries({ user, ...query }))
      if (value !== undefined) address.searchParams.set(name, String(value))
    const isRaw = body instanceof Uint8Array || body instanceof Blob
    const send = async () => {
      const bearer = await tokens.get()
      const headers = {
        ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
        ...(body === undefined ? {} : { 'content-type': isRaw ? 'application/octet-stream' : 'application/json' })
      }
      return fetch(address, { method, headers, body: isRaw ? body : body ? JSON.stringify(body) : null })
    }
    try {
      const answer = await send()
      if (answer.status !== 401 || typeof token !== 'function') return answer
      tokens.forget()
      return await send()
    } catch (error) {
      throw new RestError(0, 'network', `the server did not answer: ${error}`)
    }
  }

  const ask = async (method: string, path: string, query: Query = {}, body?: Body): Promise<Response> => {
    const answer = await request(method, path, query, body)
    if (answer.ok) return answer
    const problem = (await answer.json().catch(() => ({}))) as { code?: string; detail?: string }
    throw new RestError(answer.status, problem.code ?? 'http', problem.detail ?? `the server answered ${answer.status}`)
  }

  const json = async <T>(...request: Parameters<typeof ask>): Promise<T> => (await ask(...request)).json() as Promise<T>
  const at = (id: string, ...rest: string[]) => ['boards', id, ...rest].map(encodeURIComponent).join('/')

  return {
    boards: (after, limit) => json('GET', 'boards', { after, limit }),
    createBoard: (board = {}) => json('POST', 'boards', {}, board),
    board: (id) => json('GET', at(id)),
    updateBoard: (id, patch) => json('PATCH', at(id), {}, patch),
    deleteBoard: async (id) => void (await ask('DELETE', at(id))),
    members: (id) => json('GET', at(id, 'members')),
    setRole: (id, member, role) => json('PUT', at(id, 'members', member), {}, { role }),
    removeMember: async (id, member) => void (await ask('DELETE', at(id, 'members', member))),
    invites: (id) => json('GET', at(id, 'invites')),
    invite: (id, role, days) => json('POST', at(id, 'invites'), {}, { role, ...(days === undefined ? {} : { days }) }),
    removeInvite: async (id, code) => void (await ask('DELETE', at(id, 'invites', code))),
    join: (code) => json('POST', `invites/${encodeURIComponent(code)}/join`),
    recent: () => json('GET', 'recent'),
    thumbnail: async (id) => (await ask('GET', at(id, 'thumbnail.png'))).blob(),
    noteVisit: async (id) => void (await ask('PUT', `recent/${encodeURIComponent(id)}`)),
    putAsset: async (id, content, hash) => json('PUT', at(id, 'assets', hash ?? (await sha256(content))), {}, content),
    asset: async (id, hash) => (await ask('GET', at(id, 'assets', hash))).blob(),
    export: async (id, format, options = {}) => (await ask('GET', at(id, 'export'), { format, ...options })).blob(),
    importInto: (id, file) => json('POST', at(id, 'import'), {}, file)
  }
}

const sha256 = async (content: Uint8Array<ArrayBuffer>): Promise<string> => {
  if (!crypto.subtle) throw new TypeError('images need https or localhost: their hash cannot be made here')
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', content))
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
