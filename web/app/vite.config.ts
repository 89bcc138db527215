import { cpSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants } from 'node:zlib'

import react from '@vitejs/plugin-react'
import { type Connect, type Plugin, defineConfig } from 'vite'

const here = dirname(fileURLToPath(import.meta.url))
const dist = join(here, '../dist')
const shrink = join(here, '../board/src/excalidraw/shrink.ts')
const throttle = join(here, '../board/src/excalidraw/throttle.ts')
const excalidraw = dirname(createRequire(import.meta.url).resolve('@excalidraw/excalidraw'))

/** Server to pass requests of programs on to, while a page is worked on. */
const server = process.env.PANSEO_URL ?? 'http://127.0.0.1:8080'

/** One HTML file for each page; boards have addresses of their own. */
const PAGES: readonly { file: string; path: RegExp }[] = [
  { file: 'index.html', path: /^\/$/ },
  { file: 'b.html', path: /^\/b\/[^/]+$/ }
]

const LOCALES = /^\.\/locales\/(?!en-|ko-KR|percentages)/
const LANGUAGES = /\{code:"(?!en|ko-KR)[^"]+",label:"[^"]+"(,rtl:!0)?\},?/g
/** How much of a language is translated. */
const SHARES = /"(?!ko-KR)[a-z]{2,3}-[A-Z]{2,3}":\d+,?/g
/** Settings of Excalidraw's own site, keys and addresses, that its package never reads. */
const SETTINGS = /VITE_APP_(?!LIBRARY|DEBUG|ENABLE_TRACKING)\w+:(["'`]).*?\1,/gs
/** Excalidraw's own mark, which its welcome shows: 2 KB of curves, and no bundler can tell that we show none. */
const LOGO = /"M39\.9 32\.889[^"]*"/g
const NO_WORDS = '\0no-words'

/** Leaves out what nobody here asks Excalidraw for: languages, and what belongs to its site. */
const locales: Plugin = {
  name: 'locales',
  enforce: 'pre',
  resolveId: (source, importer) => (LOCALES.test(source) && importer?.includes('excalidraw') ? NO_WORDS : null),
  load: (id) => (id === NO_WORDS ? 'export default {}' : null),
  transform: (code, id) =>
    id.includes('@excalidraw')
      ? code.replace(LANGUAGES, '').replace(SHARES, '').replace(SETTINGS, '').replace(LOGO, '""')
      : null
}

/** Excalidraw would ask another host for a font that it does not find here. */
const ownFonts: Plugin = {
  name: 'own-fonts',
  transform: (code, id) =>
    id.includes('excalidraw') && code.includes('https://esm.sh/')
      ? code.replace(/`https:\/\/esm\.sh\/\$\{.*?\}\/dist\/prod\/`/g, '`${globalThis.location?.origin}/`')
      : null
}

/** Excalidraw would always load this; most browsers have what it brings. */
const POLYFILL = 'import("canvas-roundrect-polyfill")'
const whereMissing: Plugin = {
  name: 'polyfill-where-missing',
  enforce: 'pre',
  transform: (code, id) =>
    id.includes('excalidraw') && code.includes(POLYFILL)
      ? code.replace(POLYFILL, `("roundRect" in CanvasRenderingContext2D.prototype||${POLYFILL})`)
      : null
}

const rewrite: Connect.NextHandleFunction = (request, _response, next) => {
  const [path = '', query = ''] = (request.url ?? '').split('?', 2)
  const page = PAGES.find((known) => known.path.test(path))
  if (page) request.url = `/${page.file}${query && `?${query}`}`
  next()
}

/** Addresses of pages, as the real server has them. */
const pages: Plugin = {
  name: 'pages',
  configureServer: ({ middlewares }) => void middlewares.use(rewrite),
  configurePreviewServer: ({ middlewares }) => void middlewares.use(rewrite)
}

/** Only Excalidraw's own server paints with this one; its licence is not like those of the others. */
const LIBERATION = join(excalidraw, 'fonts/Liberation')

/** Excalidraw's fonts beside the site, and all that is text compressed beforehand. */
const extras: Plugin = {
  name: 'extras',
  apply: 'build',
  closeBundle() {
    cpSync(join(excalidraw, 'fonts'), join(dist, 'fonts'), { recursive: true, filter: (path) => path !== LIBERATION })
    for (const name of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
      if (!/\.(js|css|html|svg|json)$/.test(name)) continue
      const bytes = readFileSync(join(dist, name))
      const params = { [constants.BROTLI_PARAM_QUALITY]: 10 }
      if (bytes.length > 1_024) writeFileSync(join(dist, `${name}.br`), brotliCompressSync(bytes, { params }))
    }
  }
}

const proxy = {
  '/v1': { target: server, ws: true },
  '/yjs': { target: server, ws: true }
}

export default defineConfig({
  root: here,
  plugins: [react(), locales, ownFonts, whereMissing, pages, extras],
  // What Excalidraw makes images smaller with is ours, and part of the first load; what it waits with is ours, and small.
  resolve: {
    alias: { pica: shrink, 'image-blob-reduce': shrink, 'lodash.debounce': throttle, 'lodash.throttle': throttle }
  },
  server: { proxy },
  preview: { proxy },
  // The fonts are asked for at /fonts while developing, too.
  build: {
    outDir: dist,
    emptyOutDir: true,
    target: 'es2022',
    // All browsers of that age know it.
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 2_000,
    rolldownOptions: { input: PAGES.map(({ file }) => join(here, file)) }
  }
})
