import { afterEach, beforeEach, expect, test } from 'vitest'
import { openRest } from './rest.ts'

interface Asked {
  method: string
  url: string
  token: string | null
  body: unknown
}

const real = globalThis.fetch
let asked: Asked[]
let answers: Response[]

beforeEach(() => {
  asked = []
  answers = []
  globalThis.fetch = async (url, init = {}) => {
    const { method = 'GET', body = null } = init
    const token = new Headers(init.headers).get('authorization')
    asked.push({ method, url: String(url), token, body: typeof body === 'string' ? JSON.parse(body) : body })
    const answer = answers.shift()
    if (!answer) throw new TypeError('fetch failed')
    return answer
  }
})
afterEach(() => {
  globalThis.fetch = real
})

const ok = (body: unknown = {}) => new Response(JSON.stringify(body))

test('addresses are those of the REST door, names in them are quoted', async () => {
  answers = [ok(), ok(), ok(), ok([]), ok(), new Response(null, { status: 204 }), ok()]
  const rest = openRest({ url: 'https://school.example/panseo/', user: '미나' })
  await rest.boards('a/b', 5)
  await rest.setRole('b 1', 'a/b', 'editor')
  await rest.join('ABCD-EFGH')
  await rest.recent()
  await rest.invite('b', 'viewer', 7)
  await rest.removeInvite('b', 'code')
  await rest.export('b', 'excalidraw', { page: '' })
  const user = 'user=%EB%AF%B8%EB%82%98'
  const at = 'https://school.example/panseo/v1'
  expect(asked.map(({ method, url, body }) => [method, url, body])).toEqual([
    ['GET', `${at}/boards?${user}&after=a%2Fb&limit=5`, null],
    ['PUT', `${at}/boards/b%201/members/a%2Fb?${user}`, { role: 'editor' }],
    ['POST', `${at}/invites/ABCD-EFGH/join?${user}`, null],
    ['GET', `${at}/recent?${user}`, null],
    ['POST', `${at}/boards/b/invites?${user}`, { role: 'viewer', days: 7 }],
    ['DELETE', `${at}/boards/b/invites/code?${user}`, null],
    ['GET', `${at}/boards/b/export?${user}&format=excalidraw&page=`, null]
  ])
})

test('the token is in the header, and fetched again once when it is not taken', async () => {
  let count = 0
  const rest = openRest({ url: 'http://host', token: () => `t${++count}` })
  answers = [ok(), new Response('{}', { status: 401 }), ok()]
  await rest.boards()
  await rest.boards()
  expect(asked.map(({ token }) => token)).toEqual(['Bearer t1', 'Bearer t1', 'Bearer t2'])
  answers = [new Response('{}', { status: 401 }), new Response('{}', { status: 401 })]
  await expect(rest.boards()).rejects.toMatchObject({ status: 401 })
})

test('problems become errors with their code, silence one of its own', async () => {
  const rest = openRest({ url: 'http://host' })
  const problem = { code: 'last_teacher', detail: 'Make somebody else a teacher first.' }
  answers = [new Response(JSON.stringify(problem), { status: 409 }), new Response('<html>', { status: 502 })]
  await expect(rest.removeMember('b', 'u')).rejects.toMatchObject({
    status: 409,
    code: 'last_teacher',
    message: problem.detail
  })
  await expect(rest.board('b')).rejects.toMatchObject({ status: 502, code: 'http' })
  await expect(rest.board('b')).rejects.toMatchObject({ status: 0, code: 'network' })
})
