//! Records and names that tests of log and store share.

use std::sync::Arc;

use panseo::protocol::ids::{BoardId, Position, RecordId, Timestamp, UserId};
use panseo::protocol::{Blob, Record, RecordKind};

/// The record number `number` of some room, with an update of `size` bytes.
pub(crate) fn record(number: u64, size: usize) -> Arc<Record> {
    Arc::new(Record {
        id: RecordId(7, number),
        base: Position(1, number),
        author: UserId::new("ada").unwrap(),
        client: None,
        seq: Some(number),
        refused: Vec::new(),
        kind: RecordKind::Op,
        gesture: None,
        time: Timestamp(1_000 + number),
        owner: None,
        steps: Vec::new(),
        changes: Vec::new(),
        changes_left_out: false,
        relayed: Vec::new(),
        update: Blob::from(vec![u8::try_from(number % 251).unwrap(); size]),
    })
}

pub(crate) fn board(name: &str) -> BoardId {
    BoardId::new(name).unwrap()
}
