// Own code of the SDK, bundled and minified, must stay below 14 KB gzipped. Yjs and lib0 are the program's.

import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'vite'

const BYTES_MAX = 14 * 1024

const { output } = await build({
  configFile: false,
  logLevel: 'error',
  build: {
    write: false,
    minify: true,
    // No `lib`: in that mode white space stays.
    rolldownOptions: {
      input: fileURLToPath(new URL('../src/index.ts', import.meta.url)),
      preserveEntrySignatures: 'strict',
      external: ['yjs', /^lib0/]
    }
  }
})

const bytes = gzipSync(output[0].code, { level: 9 }).length
console.log(`@panseo/sdk: ${bytes} bytes gzipped, ${BYTES_MAX} at most`)
if (bytes > BYTES_MAX) process.exit(1)
