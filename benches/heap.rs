//! Heap of open boards: what was asked of the allocator, without what it takes on top.
//!
//! The row «memory of it» of `docs/PERFORMANCE.md`. Resident memory is measured by `panseo bench document`.

use std::collections::BTreeSet;
use std::io::{Write as _, stdout};

use dhat::{HeapStats, Profiler};
use panseo::bench::document::filled;
use panseo::board::Board;
use panseo::protocol::ids::{Position, Timestamp};

#[global_allocator]
static ALLOC: dhat::Alloc = dhat::Alloc;

fn main() {
    for strokes in [1_000, 10_000, 100_000] {
        let keyframe = filled(strokes).keyframe(Position(1, 1), Timestamp(0));
        let profiler = Profiler::builder().testing().build();
        let board = Board::open(9, Some(&keyframe), &[], &BTreeSet::new()).expect("the keyframe opens");
        let HeapStats {
            curr_bytes,
            curr_blocks,
            ..
        } = HeapStats::get();
        drop((profiler, board));
        let line = format!("{strokes} strokes: {curr_bytes} B in {curr_blocks} allocations");
        writeln!(stdout(), "{line}").expect("somebody reads it");
    }
}
