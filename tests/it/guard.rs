//! Bytes of all kinds against the guard and the codec: nothing dies, hangs, parks blocks or leaves index and document apart.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use panseo::board::guard::{
    BlockIndex, CheckContext, Checked, Relay, WalkLimits, walk, walk_awareness, walk_state_vector, walk_within,
};
use panseo::protocol::ClientFrame;
use panseo::protocol::codec::{Format, decode_client};
use panseo::protocol::ids::UserId;
use yrs::updates::decoder::Decode;
use yrs::{Doc, ReadTxn, Transact, Update};

use crate::support::hostile::{CLIENTS, Door, Frame, Hostile, document};

const FRAMES: usize = 200_000;
/// The board is made anew after so many, so that each sequence stays short enough to look at.
const FRAMES_A_BOARD: usize = 2_000;

struct Board {
    doc: Doc,
    index: BlockIndex,
    taken: usize,
}

impl Board {
    fn new() -> Self {
        Self {
            doc: document(1 << 33),
            index: BlockIndex::new(),
            taken: 0,
        }
    }

    fn take(&mut self, update: &[u8], user: &UserId) {
        let Ok(walked) = walk(update) else { return };
        let context = CheckContext {
            user,
            is_handover: false,
            may_bind: &|_| true,
            may_relay: &|_| Relay::No,
        };
        let Ok(Checked::New(admission)) = self.index.check(&walked, &context) else {
            return;
        };
        self.taken += 1;
        let decoded = Update::decode_v1(update).expect("what the walk takes can be decoded");
        let mut txn = self.doc.transact_mut();
        txn.apply_update(decoded).expect("what the guard takes can be applied");
        txn.commit();
        let emitted = txn.encode_update_v1();
        drop(txn);
        let emitted = walk_within(&emitted, &WalkLimits::TRUSTED).expect("the document emits sound updates");
        self.index
            .note(&emitted, Some(user), &[])
            .expect("index and document are level");
        assert!(!self.doc.transact().has_missing_updates(), "blocks are parked");
        for (client, _, end) in admission.advances {
            assert_eq!(self.index.next_clock(client), end);
        }
        let mine: BTreeMap<_, _> = self.index.state_vector().collect();
        let vector = self.doc.transact().state_vector();
        let theirs: BTreeMap<_, _> = vector.iter().map(|(client, clock)| (client.get(), *clock)).collect();
        assert_eq!(mine, theirs, "clocks differ");
    }

    fn receive(&mut self, frame: &Frame) {
        let user = UserId::new(CLIENTS[frame.client]).expect("a name");
        match frame.door {
            Door::Yjs => self.receive_y(&frame.bytes, &user),
            Door::MsgPack | Door::Json => {
                let format = if frame.door == Door::Json {
                    Format::Json
                } else {
                    Format::MsgPack
                };
                if let Ok(ClientFrame::Update { update, .. }) = decode_client(format, &frame.bytes) {
                    self.take(&update.0, &user);
                }
            }
        }
    }

    fn receive_y(&mut self, bytes: &[u8], user: &UserId) {
        // A short length takes two bytes at most here; damaged envelopes are tried as they are, too.
        match bytes {
            [0, kind @ 0..=2, rest @ ..] => {
                let head = rest
                    .iter()
                    .position(|byte| *byte < 0x80)
                    .map_or(rest.len(), |last| last + 1);
                let body = &rest[head..];
                if *kind == 0 {
                    assert!(walk_state_vector(body).is_err() || yrs::StateVector::decode_v1(body).is_ok());
                } else {
                    self.take(body, user);
                }
            }
            [1, _, rest @ ..] => {
                if walk_awareness(rest).is_ok() {
                    yrs::sync::AwarenessUpdate::decode_v1(rest).expect("what the walk takes can be decoded");
                }
            }
            _ => self.take(bytes, user),
        }
    }
}

/// Most memory that this process has held, in KiB.
fn peak_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a hang shows on the clock only")]
fn damaged_frames_do_no_harm() {
    let before = peak_kib();
    let mut slowest = Duration::ZERO;
    for seed in 0..FRAMES / FRAMES_A_BOARD {
        let mut hostile = Hostile::new(seed as u64 + 1);
        let mut board = Board::new();
        for number in 0..FRAMES_A_BOARD {
            let frame = hostile.frame();
            let start = Instant::now();
            let outcome = catch_unwind(AssertUnwindSafe(|| board.receive(&frame)));
            slowest = slowest.max(start.elapsed());
            assert!(outcome.is_ok(), "seed {seed}, frame {number}: {frame:?}");
            if number % 16 == 0 {
                hostile.level(frame.client, &board.doc);
            }
        }
        assert!(board.taken > 0, "seed {seed}: the guard takes nothing");
    }
    assert!(slowest < Duration::from_millis(250), "{slowest:?}");
    assert!(peak_kib() < before + 256 * 1024, "{} KiB", peak_kib());
}
