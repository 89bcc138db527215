// Makes src/protocol/wire.gen.ts from schemas/; with --check, fails if the file is not what it would make.

import { readFile, writeFile } from 'node:fs/promises'
import { compile } from 'json-schema-to-typescript'

const SCHEMAS = new URL('../../../schemas/', import.meta.url)
const TARGET = new URL('../src/protocol/wire.gen.ts', import.meta.url)

const HEAD = `// Made by \`npm run gen\` from schemas/. Do not edit.

/** Any value that a frame can hold. Whole numbers above 2^53 are \`bigint\`. */
export type Value = null | boolean | number | bigint | string | Uint8Array | Value[] | { [key: string]: Value }

`

const OWN_TYPES = { Value: 'Value', Blob: 'Uint8Array' }

/** Says in the words of draft 7, which the compiler reads, what our schemas say in those of 2020-12. */
const reword = (node) => {
  if (Array.isArray(node)) return node.map(reword)
  if (node === null || typeof node !== 'object') return node
  const { prefixItems, propertyNames, $ref, ...rest } = node
  const plain = Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, reword(value)]))
  // 64-bit prints go beyond what a number can hold.
  if (plain.format === 'uint64' && /print/i.test(plain.description ?? '')) plain.tsType = 'number | bigint'
  if (prefixItems) plain.items = prefixItems.map(reword)
  if (propertyNames) {
    const values = propertyNames.enum.map((name) => [name, { $ref: '#/definitions/Value' }])
    plain.properties = { ...Object.fromEntries(values), ...plain.properties }
  }
  if (!$ref) return plain
  const target = { $ref: $ref.replace('#/$defs/', '#/definitions/') }
  // A variant that has a type of its own and the tag `t` beside it.
  if (plain.properties) return { allOf: [target, plain] }
  return target
}

const read = async (name) => JSON.parse(await readFile(new URL(`${name}.schema.json`, SCHEMAS), 'utf8'))

const generate = async () => {
  const definitions = {}
  for (const name of ['client-frame', 'server-frame', 'record']) {
    const { $schema: _dialect, $defs, ...root } = await read(name)
    for (const [key, value] of Object.entries({ ...$defs, [root.title]: root })) {
      const tsType = OWN_TYPES[key]
      definitions[key] = tsType ? { tsType } : { ...reword(value), title: key }
    }
  }
  const body = await compile({ title: 'Wire', definitions }, 'Wire', {
    additionalProperties: false,
    bannerComment: '',
    unreachableDefinitions: true,
    style: { semi: false, singleQuote: true, printWidth: 120 }
  })
  // The compiler wraps all definitions in one type that nothing needs, and remarks where each comes from.
  const types = body
    .replace(/export (interface|type) Wire\b[^\n]*\n(?:[^}]*\n}\n)?/, '')
    .replace('export type Value = Value\n', '')
    .replace(/\/\*\*\n \* This interface was referenced[^/]*\*\/\n/g, '')
    .replace(/ \*\n \* This interface was referenced[^/]*\*\//g, ' */')
  return HEAD + types.trim() + '\n'
}

const made = await generate()
if (process.argv.includes('--check')) {
  if (made !== (await readFile(TARGET, 'utf8').catch(() => ''))) {
    console.error('src/protocol/wire.gen.ts is not what schemas/ say: run `npm run gen` and commit the result')
    process.exit(1)
  }
} else {
  await writeFile(TARGET, made)
}
