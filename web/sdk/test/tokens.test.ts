// Tokens against the real server: who may come in, as what, and what those hear who may not.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import WebSocket from 'ws'
import { type OpenOptions, openBoard, openRest } from '../src/index.ts'
import { draw, equal } from './people.ts'
import { BINARY, Server, until } from './server.ts'

const KEY = 'a secret of thirty-two bytes or more'
let server: Server
beforeAll(async () => {
  server = await Server.start('--auth', 'jwt', '--jwt-key', KEY)
})
afterAll(() => server?.stop())

const token = async (user: string, board: string): Promise<string> => {
  const flags = ['token', '--user', user, '--name', `${user}!`, '--board', board, '--jwt-key', KEY]
  return (await promisify(execFile)(BINARY, flags)).stdout.trim()
}

const enter = (board: string, options: Partial<OpenOptions>) =>
  openBoard({ url: server.url, board, WebSocket, ...options, document: true })

test('the role is that of the token, a bad or missing one stays outside', async () => {
  const rest = openRest({ url: server.url, token: await token('teacher', '*:teacher') })
  const { id } = await rest.createBoard({ title: 'lesson' })
  const teacher = await enter(id, { token: () => token('teacher', '*:teacher') })
  const student = await enter(id, { token: await token('student', `${id}:viewer`) })
  expect([teacher.role, student.role, student.user]).toEqual(['teacher', 'viewer', 'student'])
  await until('names are those of the tokens', () =>
    [...student.people.values()].some(({ user, name }) => user === 'teacher' && name === 'teacher!')
  )
  draw(teacher, 'sum')
  await teacher.saved()
  await equal(teacher, student)

  await expect(enter(id, {})).rejects.toMatchObject({ code: 'unauthenticated' })
  await expect(enter(id, { token: 'no.good.token' })).rejects.toMatchObject({ code: 'unauthenticated' })
  await expect(enter(id, { token: await token('student', 'other:editor') })).rejects.toMatchObject({
    code: 'forbidden'
  })
  await expect(enter('none', { token: await token('teacher', '*:teacher') })).rejects.toMatchObject({
    code: 'no_board'
  })

  await rest.setRole(id, 'student', 'editor')
  await until('the pen is given', () => student.role === 'editor')
  await rest.removeMember(id, 'student')
  await until('the student is out', () => student.state.why === 'forbidden' || student.role === 'viewer')
  await rest.deleteBoard(id)
  await until('the board is gone', () => teacher.state.why === 'no_board')
  await Promise.all([teacher.close(), student.close()])
})
