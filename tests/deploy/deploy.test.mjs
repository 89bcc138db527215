// The files of dev/deploy by their own linters. The manifests are typed as what they say they are, so that a misspelt key
// is found, too.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parseAllDocuments } from 'yaml'

const path = (name) => fileURLToPath(new URL(name, import.meta.url))
const DEPLOY = path('../../dev/deploy/')
/** Where imports are found, and nobody looks. */
const DRAFT = path('node_modules/.cache/')

/** What a program says of a file; fails with it. */
const check = (program, ...options) => {
  const { status, stdout, stderr } = spawnSync(program, options, { encoding: 'utf8' })
  assert.equal(status, 0, `${stdout}${stderr}`)
}

/** Type errors of manifests are found by the compiler that the web pages are built with. */
const checkManifests = (text) => {
  const manifests = parseAllDocuments(text).map((document) => document.toJS())
  assert.ok(manifests.length > 0)
  const typed = manifests.map((manifest, index) => {
    const type = `import('kubernetes-types/${manifest.apiVersion === 'v1' ? 'core/v1' : manifest.apiVersion}').${manifest.kind}`
    return `export const manifest${index}: ${type} = ${JSON.stringify(manifest, null, 1)}\n`
  })
  mkdirSync(DRAFT, { recursive: true })
  writeFileSync(`${DRAFT}manifests.ts`, typed.join(''))
  const options = ['--noEmit', '--strict', '--ignoreConfig', '--module', 'preserve', '--types', '']
  check(path('../../web/node_modules/.bin/tsc'), ...options, `${DRAFT}manifests.ts`)
}

const manifests = readFileSync(`${DEPLOY}kubernetes.yml`, 'utf8')

test('the container file', () => check(path('node_modules/.bin/dockerfilelint'), `${DEPLOY}Containerfile`))

test('the compose file', () => check(path('node_modules/.bin/dclint'), '--quiet', `${DEPLOY}compose.yml`))

test('the manifests', () => checkManifests(manifests))

test('a key that is not known and a value of another kind are found', () => {
  for (const [right, wrong] of [
    ['readOnlyRootFilesystem', 'readOnlyRoot'],
    ['replicas: 3', 'replicas: three']
  ]) {
    assert.ok(manifests.includes(right))
    assert.throws(() => checkManifests(manifests.replace(right, wrong)), /not (exist|assignable)/)
  }
})
