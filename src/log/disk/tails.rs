//! Readers of the log: each gets stored records first, then those of every commit, without a hole and without a double.
//!
//! A reader that keeps up is handed its records by the writer. One that does not is left alone by the writer, and a task
//! of its own reads for it from the store until it is level again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::fault::Fault;
use super::records;
use super::{Database, Health};
use crate::log::Logged;
use crate::protocol::ids::BoardId;

/// Records a reader may be behind before it has to read from the store.
const TAIL_RECORDS_MAX: usize = 256;
/// Records read from the store at once.
const PAGE_RECORDS_MAX: usize = 256;

/// Before the store is read again that did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// All readers of the log.
#[derive(Clone)]
pub(super) struct Tails {
    database: Database,
    boards: Arc<Mutex<HashMap<BoardId, Vec<Tail>>>>,
}

/// One reader.
struct Tail {
    reader: mpsc::Sender<Logged>,
    runtime: Handle,
    /// Offset of the last record it got, or was looked for.
    seen: u64,
    /// Newest offset of its board, while a task reads for it.
    newest: u64,
    is_catching_up: bool,
}

impl Tails {
    pub(super) fn new(database: Database) -> Self {
        Self {
            database,
            boards: Arc::default(),
        }
    }

    /// A reader of the board's records after `after`. Needs a runtime.
    pub(super) fn add(&self, board: &BoardId, after: u64) -> mpsc::Receiver<Logged> {
        let (reader, receiver) = mpsc::channel(TAIL_RECORDS_MAX);
        let mut tail = Tail {
            reader,
            runtime: Handle::current(),
            seen: after,
            newest: 0,
            is_catching_up: false,
        };
        let mut boards = self.boards.lock();
        self.catch_up(board, &mut tail);
        // Those who went are noticed by the next record of their board, which may never come.
        if boards.len() == boards.capacity() {
            boards.retain(|_, tails| {
                tails.retain(|tail| !tail.reader.is_closed());
                !tails.is_empty()
            });
        }
        let tails = boards.entry(board.clone()).or_default();
        tails.retain(|tail| !tail.reader.is_closed());
        tails.push(tail);
        receiver
    }

    /// Hands committed records to those who keep up.
    pub(super) fn publish(&self, records: impl Iterator<Item = (BoardId, Logged)>) {
        let mut boards = self.boards.lock();
        for (board, logged) in records {
            let Some(tails) = boards.get_mut(&board) else { continue };
            tails.retain_mut(|tail| self.hand_over(&board, tail, &logged));
            if tails.is_empty() {
                boards.remove(&board);
            }
        }
    }

    /// Lets every reader look into the store for what nobody handed to it, up to `end`.
    pub(super) fn catch_up_all(&self, end: u64) {
        for (board, tails) in self.boards.lock().iter_mut() {
            for tail in tails.iter_mut().filter(|tail| !tail.reader.is_closed()) {
                tail.newest = end;
                if !tail.is_catching_up {
                    self.catch_up(board, tail);
                }
            }
        }
    }

    /// Whether the reader is still there.
    fn hand_over(&self, board: &BoardId, tail: &mut Tail, logged: &Logged) -> bool {
        let offset = logged.position.offset();
        tail.newest = offset;
        if tail.is_catching_up || offset <= tail.seen {
            return !tail.reader.is_closed();
        }
        match tail.reader.try_send(logged.clone()) {
            Ok(()) => tail.seen = offset,
            Err(mpsc::error::TrySendError::Full(_)) => self.catch_up(board, tail),
            Err(mpsc::error::TrySendError::Closed(_)) => return false,
        }
        true
    }

    fn catch_up(&self, board: &BoardId, tail: &mut Tail) {
        tail.is_catching_up = true;
        tail.runtime
            .spawn(follow(self.clone(), board.clone(), tail.seen, tail.reader.clone()));
    }

    /// Ends the catching up if nothing was committed beyond `seen` meanwhile.
    fn is_level(&self, board: &BoardId, reader: &mpsc::Sender<Logged>, seen: u64) -> bool {
        let mut boards = self.boards.lock();
        let mut tails = boards.get_mut(board).into_iter().flatten();
        let Some(tail) = tails.find(|tail| tail.reader.same_channel(reader)) else {
            return true;
        };
        if tail.newest > seen {
            return false;
        }
        tail.seen = seen;
        tail.is_catching_up = false;
        true
    }

    fn remove(&self, board: &BoardId, reader: &mpsc::Sender<Logged>) {
        if let Some(tails) = self.boards.lock().get_mut(board) {
            tails.retain(|tail| !tail.reader.same_channel(reader));
        }
    }
}

async fn follow(tails: Tails, board: BoardId, mut seen: u64, reader: mpsc::Sender<Logged>) {
    loop {
        // Asked before reading: all up to here is in the store by now.
        let end = tails.database.end();
        let page = match read_page(&tails.database, &board, seen).await {
            Ok(page) => page,
            // The reader sees its channel end, and asks again from where it is.
            Err(Fault::Damaged(_)) => return tails.remove(&board, &reader),
            Err(Fault::Full | Fault::Recovering | Fault::Io(_)) => {
                let mut health = tails.database.health();
                tokio::select! {
                    () = reader.closed() => return tails.remove(&board, &reader),
                    // It may be read before it can be written.
                    _ = tokio::time::timeout(RETRY, health.wait_for(|health| *health == Health::Healthy)) => continue,
                }
            }
        };
        let is_last = page.len() < PAGE_RECORDS_MAX;
        for logged in page {
            seen = logged.position.offset();
            if reader.send(logged).await.is_err() {
                tails.remove(&board, &reader);
                return;
            }
        }
        if is_last {
            seen = seen.max(end);
            if tails.is_level(&board, &reader, seen) {
                return;
            }
        }
    }
}

async fn read_page(database: &Database, board: &BoardId, seen: u64) -> Result<Vec<Logged>, Fault> {
    let (reading, of_board) = (database.clone(), board.clone());
    let page =
        tokio::task::spawn_blocking(move || records::read::<Fault>(&reading, &of_board, seen, PAGE_RECORDS_MAX)).await;
    // It panicked, or the runtime stops: not to be tried again.
    let page = page.unwrap_or_else(|error| Err(Fault::Damaged(error.to_string())));
    page.inspect_err(|error| tracing::warn!(board.id = %board, %error, "the log could not be read for a tail"))
}
