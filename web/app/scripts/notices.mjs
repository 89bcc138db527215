// notices.mjs [NODE_MODULES LOCK OUT]: writes the licences of what the pages are made of into `web/dist/third-party.txt`,
// as the packages and the fonts themselves state them. Fails on a package or a font that states none and is not known here.

import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliDecompressSync } from 'node:zlib'

const web = join(dirname(fileURLToPath(import.meta.url)), '../..')
const [
  modules = join(web, 'node_modules'),
  lock = join(web, 'package-lock.json'),
  out = join(web, 'dist/third-party.txt')
] = process.argv.slice(2)
const excalidraw = join(modules, '@excalidraw/excalidraw/dist')

/** Packages that say «MIT», and leave its text in their repository. */
const MIT_OF = [
  [/^@excalidraw\/excalidraw$/, 'Copyright (c) 2020 Excalidraw'],
  [/^@radix-ui\//, 'Copyright (c) 2022 WorkOS, Copyright (c) 2020 Modulz'],
  [/^react-remove-scroll-bar$/, 'Copyright (c) 2017 Anton Korzunov']
]
const MIT = `Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.`

/** Fonts whose files name no licence, with where it stands. The text of the OFL is in Virgil's notice. */
const OFL = 'SIL Open Font License, Version 1.1 (text: see Virgil)'
const FONT_LICENCES = {
  Excalifont: `${OFL}, https://plus.excalidraw.com/excalifont`,
  Xiaolai: `${OFL}, https://github.com/lxgw/kose-font`
}

/** Packages of the lock file that are not for development only, those of this repository left out. */
function packages() {
  const known = Object.entries(JSON.parse(readFileSync(lock, 'utf8')).packages)
  return known
    .filter(([path, entry]) => path.includes('node_modules/') && entry.version && !entry.dev && !entry.devOptional)
    .map(([path, entry]) => ({ ...entry, name: path.split('node_modules/').at(-1), folder: join(modules, '..', path) }))
    .filter(({ folder }) => existsSync(folder)) // Optional ones for other systems are not there.
}

/** Licence files of a package, in one text. */
function licence({ name, folder }) {
  const files = readdirSync(folder).filter((file) => /^(licen[sc]e|copying|notice)/i.test(file))
  if (files.length) return files.map((file) => readFileSync(join(folder, file), 'utf8').trim()).join('\n\n')
  const owner = MIT_OF.find(([pattern]) => pattern.test(name))?.[1]
  if (!owner) throw new Error(`${name} has no licence file; write into notices.mjs what its repository says.`)
  return `MIT License\n\n${owner}\n\n${MIT}`
}

/** What Excalidraw took into its own files, from the comments that only its development build still has. */
function inside() {
  const folder = join(excalidraw, 'dev')
  const sources = readdirSync(folder).filter((file) => file.endsWith('.js'))
  const comments = sources.flatMap((file) => readFileSync(join(folder, file), 'utf8').match(/\/\*\*[^]*?\*\//g) ?? [])
  const notices = comments.filter((comment) => comment.includes('The source of this content is taken from'))
  return [...new Set(notices)].map((comment) => comment.replace(/^\/\*\*|\*\/$|^\* ?/gm, '').trim())
}

/** Tables that a WOFF2 directory names by number, as far as is needed to find their lengths. */
const NAME = 5
const TRANSFORMED = [10, 11] // glyf, loca: stored whole only in version 3, all others in version 0.

/** The table `name` of a WOFF2 file: texts by their number in the OpenType specification. */
function names(file) {
  const bytes = readFileSync(file)
  let at = 48
  const number = () => {
    for (let value = 0; ;) {
      const byte = bytes[at++]
      value = value * 128 + (byte & 127)
      if (byte < 128) return value
    }
  }
  let start = 0
  let found
  for (let left = bytes.readUInt16BE(12); left > 0; left--) {
    const flags = bytes[at++]
    const tag = flags & 63
    if (tag === 63) at += 4
    const plain = number()
    const isWhole = flags >> 6 === (TRANSFORMED.includes(tag) ? 3 : 0)
    const length = isWhole ? plain : number()
    if (tag === NAME) found = start
    start += length
  }
  const table = brotliDecompressSync(bytes.subarray(at, at + bytes.readUInt32BE(20))).subarray(found)
  const texts = {}
  for (let row = 6; row < 6 + 12 * table.readUInt16BE(2); row += 12) {
    const [platform, , , id, length, offset] = [0, 2, 4, 6, 8, 10].map((field) => table.readUInt16BE(row + field))
    const text = table.subarray(table.readUInt16BE(4) + offset).subarray(0, length)
    texts[id] = platform === 1 ? text.toString('latin1') : Buffer.from(text).swap16().toString('utf16le')
  }
  return texts
}

/** Notice of a family of fonts: copyright, licence, where it can be read. */
function font(family) {
  const folder = join(excalidraw, 'prod/fonts', family)
  const { 0: owner, 13: text, 14: place } = names(join(folder, readdirSync(folder).sort()[0]))
  const stated = text ?? (place?.includes('scripts.sil.org/OFL') ? OFL : undefined)
  if (!stated && !FONT_LICENCES[family] && !/MIT License/.test(owner)) throw new Error(`${family} names no licence.`)
  return [owner, stated ?? FONT_LICENCES[family], place].filter(Boolean).join('\n')
}

const byText = new Map()
for (const found of packages()) {
  const text = licence(found)
  byText.set(text, (byText.get(text) ?? new Set()).add(`${found.name} ${found.version}`))
}
const rule = `\n\n${'-'.repeat(80)}\n\n`
const parts = [
  'Licences of the packages and fonts that the pages of Panseo are made of.',
  ...[...byText].map(([text, users]) => `${[...users].sort().join('\n')}\n\n${text}`),
  ...inside().map((text) => `Inside of @excalidraw/excalidraw\n\n${text}`),
  // The build leaves Liberation Sans out.
  ...readdirSync(join(excalidraw, 'prod/fonts'))
    .filter((family) => family !== 'Liberation')
    .map((family) => `Font ${family}\n\n${font(family)}`)
]
writeFileSync(out, `${parts.join(rule).replace(/\r\n?/g, '\n')}\n`)
console.log(`third-party.txt: ${parts.length - 1} notices`)
