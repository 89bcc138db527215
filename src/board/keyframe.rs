//! Keyframes: a board exactly as the log has it up to a position, and opening a board from one.
//!
//! A keyframe is made while no own record is on its way to the log, so that it holds what every node would have there.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use yrs::updates::decoder::Decode;
use yrs::{ReadTxn, StateVector, Transact, Update};

use super::guard::{self, Owner, WalkLimits};
use super::outbox::Outboxes;
use super::read::KINDS;
use super::undo::Stacks;
use super::{Board, EMPTY_UPDATE_BYTES, emit};
use crate::protocol::Logged;
use crate::protocol::ids::{ClientId, Position, Timestamp, UserId};
use crate::protocol::{Refused, codec};

/// Life of a client's or room's counter after its last record, in ms: 7 days.
const COUNTER_LIFE_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// Layout of a keyframe. In version 1 what is in `rest` lay beside it as it is.
const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Keyframe {
    version: u32,
    position: Position,
    /// Document state, update encoding v1, as a zstd frame of its own.
    #[serde(with = "serde_bytes")]
    document: Vec<u8>,
    /// [`Rest`] as a zstd frame.
    #[serde(default, with = "serde_bytes")]
    rest: Vec<u8>,
}

/// What a board needs beside its document.
#[derive(Serialize, Deserialize)]
struct Rest {
    stacks: Stacks,
    /// Client id -> its user; none for those of the server.
    owners: Vec<(u64, Option<UserId>)>,
    /// Client ids among them whose blocks were handed over only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    handed: Vec<u64>,
    seqs: Vec<(ClientId, u64, Timestamp)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refused: Vec<(ClientId, Vec<Refused>)>,
    rooms: Vec<(u64, u64, Timestamp)>,
}

/// Why a board does not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The keyframe is damaged or of a newer version.
    #[error("the keyframe cannot be read: {0}")]
    Keyframe(String),
    /// This record cannot be applied; the board opens without it.
    #[error("the record at {0} cannot be applied")]
    Record(Position),
}

impl Board {
    /// Finds out how large the document is now, and gives it whole: until then each update counts as if all of it was left.
    pub fn measure(&mut self) -> Vec<u8> {
        let state = self.doc.transact().encode_state_as_update_v1(&StateVector::default());
        self.document_bytes = state.len();
        state
    }

    /// The board up to `position`. Nothing of this room's may be on its way to the log.
    pub fn keyframe(&mut self, position: Position, now: Timestamp) -> Bytes {
        let state = self.measure();
        let document = compressed(&state);
        let is_recent = |time: &Timestamp| now.since(*time) < COUNTER_LIFE_MS;
        // The log does not know of this opening before its first blocks.
        let is_logged = |client: u64| client != self.replica || self.index.next_clock(client) > 0;
        let mut owners: Vec<_> = self
            .index
            .owners()
            .filter(|(client, ..)| is_logged(*client))
            .map(|(client, owner, _)| match owner {
                Owner::User(user) => (client, Some(user.clone())),
                Owner::Server => (client, None),
            })
            .collect();
        owners.sort();
        let handed = self.index.owners().filter(|(.., is_firm)| !is_firm);
        let mut handed: Vec<_> = handed.map(|(client, ..)| client).collect();
        handed.sort_unstable();
        let seqs = self.outboxes.recent(is_recent);
        let refused = self.outboxes.all_refused(&seqs);
        let mut rooms: Vec<_> = self
            .rooms
            .iter()
            .map(|(room, (number, time))| (*room, *number, *time))
            .collect();
        rooms.retain(|(.., time)| is_recent(time));
        rooms.sort();
        let stacks = self.stacks.clone();
        let rest = codec::pack(&Rest {
            stacks,
            owners,
            handed,
            seqs,
            refused,
            rooms,
        });
        self.rest_bytes = rest.len();
        let rest = compressed(&rest);
        let version = VERSION;
        codec::pack(&Keyframe {
            version,
            position,
            document,
            rest,
        })
        .into()
    }

    /// Bytes of the last keyframe before it was compressed, plus all updates since.
    pub fn keyframe_bytes(&self) -> usize {
        self.document_bytes + self.rest_bytes
    }

    /// Opens a board from its newest keyframe and the records after it, those of `skip` left out.
    pub fn open(
        replica: u64,
        keyframe: Option<&[u8]>,
        tail: &[Logged],
        skip: &BTreeSet<Position>,
    ) -> Result<Self, OpenError> {
        let mut board = Self::empty(replica);
        if let Some(bytes) = keyframe {
            // A state that cannot be applied leaves a document that may not even be dropped safely.
            board = catch_unwind(AssertUnwindSafe(move || board.with_keyframe(bytes)))
                .unwrap_or_else(|_panic| Err(OpenError::Keyframe("its document cannot be applied".into())))?;
        }
        for logged in tail.iter().filter(|logged| !skip.contains(&logged.position)) {
            let replayed = catch_unwind(AssertUnwindSafe(|| board.replay(logged)));
            if !matches!(replayed, Ok(Ok(()))) {
                std::mem::forget(board);
                return Err(OpenError::Record(logged.position));
            }
        }
        let txn = board.doc.transact();
        for ((kind, _), root) in KINDS.iter().zip(&board.roots) {
            board.read.load(*kind, root, &board.index, &txn);
        }
        drop(txn);
        board.observe();
        Ok(board)
    }

    /// The document in a keyframe, as the zstd frame it lies there.
    pub fn document_of(keyframe: &[u8]) -> Result<Vec<u8>, OpenError> {
        Ok(read(keyframe)?.document)
    }

    fn with_keyframe(mut self, bytes: &[u8]) -> Result<Self, OpenError> {
        let keyframe = read(bytes)?;
        let fault = |fault: &dyn std::fmt::Display| OpenError::Keyframe(fault.to_string());
        let rest: Rest = if keyframe.version == 1 {
            codec::unpack(bytes).map_err(|error| fault(&error))?
        } else {
            let rest = zstd::decode_all(keyframe.rest.as_slice()).map_err(|error| fault(&error))?;
            self.rest_bytes = rest.len();
            codec::unpack(&rest).map_err(|error| fault(&error))?
        };
        let state = zstd::decode_all(keyframe.document.as_slice()).map_err(|error| fault(&error))?;
        let walk = guard::walk_within(&state, &WalkLimits::TRUSTED).map_err(|error| fault(&error))?;
        for (client, owner) in rest.owners {
            match owner {
                Some(user) => {
                    let is_firm = rest.handed.binary_search(&client).is_err();
                    self.index.bind(client, &user, is_firm);
                }
                None => self.index.bind_server(client),
            }
        }
        self.index.note(&walk, None, &[]).map_err(|error| fault(&error))?;
        let update = Update::decode_v1(&state).map_err(|error| fault(&error))?;
        self.doc
            .transact_mut()
            .apply_update(update)
            .map_err(|error| fault(&error))?;
        self.document_bytes = state.len();
        self.stacks = rest.stacks;
        self.outboxes = Outboxes::from_keyframe(rest.seqs, rest.refused);
        self.rooms = rest
            .rooms
            .into_iter()
            .map(|(room, number, time)| (room, (number, time)))
            .collect();
        Ok(self)
    }

    fn replay(&mut self, logged: &Logged) -> Result<(), super::MergeError> {
        let record = &logged.record;
        self.index.bind_server(record.id.0);
        if record.update.0.len() > EMPTY_UPDATE_BYTES {
            let walk = guard::walk_within(&record.update.0, &WalkLimits::TRUSTED)?;
            self.index.note_owners(&walk, &record.author, &record.relayed);
            let update = Update::decode_v1(&record.update.0).map_err(|_undecodable| super::MergeError::Undecodable)?;
            let mut txn = self.doc.transact_mut();
            txn.apply_update(update)
                .map_err(|_unappliable| super::MergeError::Undecodable)?;
            // The index takes what the document emits: the record does not say which of two values set at once had to
            // go, nor what came too late for an entry that was gone.
            let emitted = emit(txn);
            let walk = guard::walk_within(&emitted, &WalkLimits::TRUSTED)?;
            self.index.note(&walk, None, &[])?;
        }
        self.document_bytes += record.update.0.len();
        self.note(record, logged.position);
        Ok(())
    }
}

fn read(bytes: &[u8]) -> Result<Keyframe, OpenError> {
    let keyframe: Keyframe = codec::unpack(bytes).map_err(|error| OpenError::Keyframe(error.to_string()))?;
    if (1..=VERSION).contains(&keyframe.version) {
        Ok(keyframe)
    } else {
        let version = keyframe.version;
        Err(OpenError::Keyframe(format!(
            "its version is {version}, this server reads up to {VERSION}: use the server that wrote it, or a newer one"
        )))
    }
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory takes all that is written to it")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 1 had it.
    #[derive(Serialize)]
    struct First {
        version: u32,
        position: Position,
        #[serde(with = "serde_bytes")]
        document: Vec<u8>,
        stacks: Stacks,
        owners: Vec<(u64, Option<UserId>)>,
        seqs: Vec<(ClientId, u64, Timestamp)>,
        rooms: Vec<(u64, u64, Timestamp)>,
    }

    fn of_version(version: u32) -> Vec<u8> {
        let anna = UserId::new("anna").unwrap();
        codec::pack(&First {
            version,
            position: Position(1, 3),
            document: compressed(&[0, 0]),
            stacks: Stacks::default(),
            owners: vec![(10, Some(anna))],
            seqs: vec![(uuid::Uuid::from_u128(5), 7, Timestamp(1))],
            rooms: vec![(1 << 32, 9, Timestamp(1))],
        })
    }

    #[test]
    fn a_keyframe_of_version_1_is_read_and_written_anew_as_the_present_one() {
        let nothing = BTreeSet::new();
        let mut board = Board::open(1 << 33, Some(&of_version(1)), &[], &nothing).unwrap();
        let keyframe = board.keyframe(Position(1, 3), Timestamp(2));
        assert_eq!(read(&keyframe).unwrap().version, VERSION);
        let again = Board::open(1 << 34, Some(&keyframe), &[], &nothing).unwrap();
        for board in [board, again] {
            assert_eq!(board.outboxes().seq(uuid::Uuid::from_u128(5)), 7);
            assert!(matches!(board.index().owner(10), Some(Owner::User(user)) if user.as_str() == "anna"));
            assert_eq!(board.rooms[&(1 << 32)].0, 9);
        }
    }

    #[test]
    fn a_keyframe_of_a_newer_version_is_refused_with_what_to_do() {
        let fault = Board::open(1 << 33, Some(&of_version(VERSION + 1)), &[], &BTreeSet::new());
        let told = fault.err().map(|error| error.to_string()).unwrap();
        assert!(told.contains("its version is 3, this server reads up to 2"), "{told}");
    }
}
