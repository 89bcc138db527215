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
