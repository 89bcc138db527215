//! One edit in a room of many: judged, merged, recorded, encoded, and pulled by every session.
//!
//! Sockets and wake-ups are not in it; `panseo bench deliveries` has those.

use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use panseo::bench::content::script;
use panseo::bench::{Kind, class};
use panseo::protocol::ids::{Position, SessionId, Timestamp};
use panseo::protocol::{ClientFrame, Logged};
use panseo::room::ring::{Form, Pulled, Ring};
use panseo::room::{Effect, Input, Room};
use tokio::time::Instant;

/// Time of day of the lesson.
const NOW: Timestamp = Timestamp(1_790_000_000_000);
/// Edits in one room before a fresh one is taken.
const EDITS: u64 = 500;

struct Class {
    room: Room,
    ring: Ring,
    sessions: u64,
    seq: u64,
    buffer: Vec<Bytes>,
}

impl Class {
    fn new(sessions: u64, setup: &[u8]) -> Self {
        let mut room = class::empty_room();
        let ring = Ring::new(1_024, 512 * 1024);
        for number in 1..=sessions {
            room.handle(NOW, Input::Join(class::joining(number)));
            ring.join(SessionId(number), Form::MsgPackUpdates);
            ring.mark(SessionId(number));
            ring.level(SessionId(number), None);
        }
        let mut class = Self {
            room,
            ring,
            sessions,
            seq: 0,
            buffer: Vec::new(),
        };
        class.edit(setup);
        class
    }

    /// The first session edits, all others read. The log answers at once.
    fn edit(&mut self, update: &[u8]) {
        self.seq += 1;
        let frame = ClientFrame::Update {
            seq: self.seq,
            gesture: None,
            update: update.to_vec().into(),
        };
        let mut inputs = vec![Input::Frame(SessionId(1), frame)];
        while let Some(input) = inputs.pop() {
            for effect in self.room.handle(NOW, input) {
                if let Effect::Append(record) = effect {
                    let (number, position) = (record.id.1, Position(1, record.id.1));
                    inputs.push(Input::Logged(Logged { position, record }));
                    inputs.push(Input::Appended(number, position));
                } else if let Effect::FanOut(frame) = effect {
                    self.ring.push(frame);
                }
            }
        }
        for number in 2..=self.sessions {
            self.buffer.clear();
            let pulled = self.ring.pull(SessionId(number), &mut self.buffer, 64 * 1024);
            assert_eq!(pulled, Pulled::Frames, "the edit reaches everybody");
        }
    }
}

fn edit(criterion: &mut Criterion) {
    let script = script(77, Kind::Update, usize::try_from(EDITS).expect("a small number"));
    let mut group = criterion.benchmark_group("an edit in a room");
    for sessions in [2, 10, 100, 1_000] {
        group.throughput(Throughput::Elements(sessions - 1));
        group.bench_function(format!("{sessions} sessions"), |bench| {
            bench.iter_custom(|count| {
                let mut time = Duration::ZERO;
                for start in (0..count).step_by(usize::try_from(EDITS).expect("a small number")) {
                    let mut class = Class::new(sessions, &script.setup);
                    let edits = usize::try_from(EDITS.min(count - start)).expect("a small number");
                    let begin = Instant::now();
                    for update in &script.updates[..edits] {
                        class.edit(update);
                    }
                    time += begin.elapsed();
                }
                time
            });
        });
    }
    group.finish();
}

criterion_group!(benches, edit);
criterion_main!(benches);
