export type * from './api.ts'
export type {
  Change,
  ClientLimits,
  Entry,
  EntryKind,
  EphemeralState,
  ErrorCode,
  Item,
  Op,
  Position,
  Properties,
  RecordId,
  RecordKind,
  Role,
  Undone,
  Value
} from './protocol/wire.gen.ts'
export { uuid } from './protocol/codec.ts'
export { openRest, RestError } from './rest.ts'
export { openBoard } from './sync/open.ts'
export { OpError } from './sync/session.ts'
