//! The one writer of the log: takes whatever is queued as one batch and answers when it is durable.
//!
//! A record that somebody waits for is written at once: while a batch waits for the disk the next one gathers by itself,
//! so batches are as large as the load asks for. Records that nobody waits for gather a little longer.

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Database;
use super::fault::Fault;
use super::tails::Tails;
use crate::log::order::{Refusal, Unheard};
use crate::log::{LogError, Logged};
use crate::protocol::Record;
use crate::protocol::ids::{BoardId, Position};
use crate::telemetry;

/// Records in one batch, so that the first of them does not wait long for the last.
const BATCH_RECORDS_MAX: usize = 1024;
/// Bytes in one batch, for the same reason.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Time that records gather if nobody waits for one of them: a batch costs nearly the same CPU for one and for ten.
const GATHER: Duration = Duration::from_millis(4);

/// What an append comes to.
pub(super) type Answer = Result<Position, Refusal>;

/// A record that waits for its batch.
pub(super) struct Waiting {
    pub(super) board: BoardId,
    pub(super) record: Arc<Record>,
    /// As it will be stored: encoded by the caller, so that the writer does nothing but write.
    pub(super) stored: Vec<u8>,
    /// Somebody waits for the answer.
    pub(super) is_urgent: bool,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// Records on their way to the writer, in the order of their calls. Rooms bound what they have under way.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    pub(super) unheard: Unheard,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Whether somebody waits for the answer to one of them.
    is_urgent: bool,
    is_closed: bool,
}

impl Queue {
    /// Queues the record, or answers at once why not.
    pub(super) fn push(&self, waiting: Waiting) {
        let mut state = self.state.lock();
        let error = if state.is_closed {
            LogError::Closed
        } else if self.unheard.concerns(&waiting.board) {
            LogError::Failed("a record before it failed".into())
        } else {
            let is_news = state.waiting.is_empty() || waiting.is_urgent && !state.is_urgent;
            state.is_urgent |= waiting.is_urgent;
            state.waiting.push_back(waiting);
            drop(state);
            if is_news {
                self.wake.notify_one();
            }
            return;
        };
        drop(state);
        self.refuse(waiting, error);
    }

    /// Refuses a record that is in no queue.
    pub(super) fn refuse(&self, waiting: Waiting, error: LogError) {
        let refusal = self.unheard.refuse(&waiting.board, error);
        // An author who does not wait any more has nothing to hear.
        drop(waiting.answer.send(Err(refusal)));
    }

    /// Takes no more; what is queued is still written.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.wake.notify_one();
    }

    /// The next batch; `None` when the queue is closed and empty.
    fn take(&self) -> Option<Vec<Waiting>> {
        let mut state = self.state.lock();
        while state.waiting.is_empty() {
            if state.is_closed {
                return None;
            }
            self.wake.wait(&mut state);
        }
        if !state.is_urgent && !state.is_closed {
            // Until then, or until an urgent one comes.
            self.wake.wait_for(&mut state, GATHER);
        }
        let mut bytes = 0;
        let fitting = state.waiting.iter().take(BATCH_RECORDS_MAX).take_while(|waiting| {
            let is_first = bytes == 0;
            bytes += waiting.stored.len();
            is_first || bytes <= BATCH_BYTES_MAX
        });
        let count = fitting.count();
        let batch = state.waiting.drain(..count).collect();
        state.is_urgent = !state.waiting.is_empty();
        Some(batch)
    }

    /// Refuses a batch and all that is queued behind it on the same boards.
    fn refuse_batch(&self, batch: Vec<Waiting>, fault: &Fault) {
        let mut state = self.state.lock();
        let boards: HashSet<BoardId> = batch.iter().map(|waiting| waiting.board.clone()).collect();
        let (behind, others) = state
            .waiting
            .drain(..)
            .partition::<Vec<_>, _>(|waiting| boards.contains(&waiting.board));
        state.waiting = others.into();
        // All refusals are noted before the first is heard: else an author could append again between two of them.
        let refused: Vec<_> = batch
            .into_iter()
            .chain(behind)
            .map(|waiting| {
                let refusal = self.unheard.refuse(&waiting.board, fault.clone().into());
                (waiting.answer, refusal)
            })
            .collect();
        drop(state);
        for (answer, refusal) in refused {
            drop(answer.send(Err(refusal)));
        }
    }
}

/// Writes until the queue is closed and empty; then the tables hold all there is.
pub(super) fn run(database: &Database, queue: &Queue, tails: &Tails) {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let moving = || database.keep_moving(&is_done);
        std::thread::Builder::new()
            .name("log-mover".into())
            .spawn_scoped(scope, moving)
            .expect("a starting process can make a thread");
        write_all(database, queue, tails);
        is_done.store(true, Ordering::Release);
        database.wake_mover();
    });
}

fn write_all(database: &Database, queue: &Queue, tails: &Tails) {
    let mut openings = database.openings();
    while let Some(batch) = queue.take() {
        let records = batch.iter().map(|waiting| (&waiting.board, waiting.stored.as_slice()));
        // A panic of the library must not leave rooms without an answer for ever.
        let begin = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| database.append(records)));
        metrics::histogram!(telemetry::LOG_WRITE_SECONDS).record(begin.elapsed().as_secs_f64());
        if openings != database.openings() {
            openings = database.openings();
            // What was not reported may be in the log all the same: the tails look for themselves.
            tails.catch_up_all(database.end());
        }
        match outcome {
            Ok(Ok(first)) => publish(database, first, batch, tails),
            Ok(Err(fault)) => queue.refuse_batch(batch, &fault),
            Err(_panic) => queue.refuse_batch(batch, &Fault::Io("the database panicked".into())),
        }
    }
}

fn publish(database: &Database, first: u64, batch: Vec<Waiting>, tails: &Tails) {
    let placed = (first..).zip(batch).map(|(offset, waiting)| {
        let position = Position(database.epoch(), offset);
        let record = waiting.record;
        ((waiting.answer, position), (waiting.board, Logged { position, record }))
    });
    let (answers, logged): (Vec<_>, Vec<_>) = placed.unzip();
    // The tail first: whoever has the answer finds the record in the room. One right after the other, so that the room
    // is woken once for both.
    tails.publish(logged.into_iter());
    for (answer, position) in answers {
        // An author who is gone needs no answer.
        drop(answer.send(Ok(position)));
    }
}
