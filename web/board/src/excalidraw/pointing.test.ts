import { expect, test } from 'vitest'

import { isPointKey, movesView } from './pointing'

/** As «Control+k» and the like; the place on the keyboard is that of the letter. */
function press(keys: string, code?: string) {
  const parts = keys === ' ' ? [' '] : keys.split('+')
  const key = parts.at(-1) as string
  const has = (name: string) => parts.slice(0, -1).includes(name)
  const place = code ?? (/^[a-z]$/i.test(key) ? `Key${key.toUpperCase()}` : /^\d$/.test(key) ? `Digit${key}` : key)
  return {
    key,
    code: place,
    ctrlKey: has('Control'),
    metaKey: has('Meta'),
    altKey: has('Alt'),
    shiftKey: has('Shift')
  }
}

test('K begins and ends pointing, while Hangul is typed too; with Control or Alt it does not', () => {
  for (const key of [press('k'), press('K'), press('ㅏ', 'KeyK')]) expect(isPointKey(key)).toBe(true)
  for (const key of [press('Control+k'), press('Meta+k'), press('Alt+k'), press('r'), press('j', 'KeyK')])
    expect(isPointKey(key)).toBe(false)
})

test('keys that move or zoom the view stay', () => {
  const zooms = [press('Control+=', 'Equal'), press('Meta+-', 'Minus'), press('Control+0'), press('Shift+!', 'Digit1')]
  for (const key of [press(' '), press('PageUp'), press('PageDown'), ...zooms]) expect(movesView(key)).toBe(true)
})

test('keys that choose a tool or change the board do not', () => {
  const tools = [...'vrdoalptehfi0123456789'].map((key) => press(key))
  const edits = ['Delete', 'Backspace', 'Enter', 'Control+a', 'Control+v', 'Control+d', 'Control+Delete', 'Alt+Shift+d']
  for (const key of [...tools, ...edits.map((keys) => press(keys)), press('=', 'Equal')])
    expect([key.key, movesView(key)]).toEqual([key.key, false])
})
