// Who changed what, from the topic of edits, by `schemas/record.schema.json` alone:
//
//   kafka-console-consumer --topic panseo.edits.v1 --from-beginning --formatter-property print.key=true \
//     --formatter-property value.deserializer=org.apache.kafka.common.serialization.BytesDeserializer | node records.mjs
import { createInterface } from 'node:readline'
import { decode } from '@msgpack/msgpack'

// The console prints each byte that is no character as `\xNN`.
const bytes = (text) =>
  Buffer.from(text.replace(/\\x([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))), 'latin1')

for await (const line of createInterface({ input: process.stdin })) {
  const [board, value] = line.split('\t')
  if (value === undefined) continue
  const { author, time, kind, changes = [] } = decode(bytes(value))
  for (const { kind: what, id, before, after } of changes) {
    const deed = before === undefined ? 'made' : after === undefined ? 'removed' : `set ${Object.keys(after)} of`
    console.log(`${new Date(time).toISOString()} ${board}: ${author} ${deed} ${what} ${id} (${kind})`)
  }
}
