import { createElement } from 'react'
import { renderToStaticMarkup } from 'react-dom/server'
import { expect, test } from 'vitest'

import { WordsContext } from '../i18n'
import { ko } from '../i18n/ko'
import { Boundary } from './Boundary'

class Failed extends Boundary {
  override state = Boundary.getDerivedStateFromError()
}

const shown = (Part: typeof Boundary) =>
  renderToStaticMarkup(createElement(WordsContext, { value: ko }, createElement(Part, null, 'content')))

test('what fails says so, with a way on', () => {
  expect(shown(Boundary)).toBe('content')
  const html = shown(Failed)
  for (const part of ['role="alert"', ko.why.fault, ko.loadAgain]) expect(html).toContain(part)
  expect(html).not.toContain('content')
})
