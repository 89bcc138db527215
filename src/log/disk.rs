//! The embedded log: records in a journal and one database file, durable by group commit.
//!
//! An offset counts the records of the whole node, given in the order of commits. One thread writes (`disk/writer.rs`)
//! into a journal (`disk/journal.rs`), whose records are moved into the database later (`disk/moves.rs`). Readers are served from memory while they keep up (`disk/tails.rs`) and from the store when they do
//! not (`disk/records.rs`). The file is shared with the store (`disk/database.rs`).

mod backend;
pub(crate) mod database;
mod direct;
pub(crate) mod fault;
mod journal;
mod moves;
mod packing;
pub(crate) mod records;
mod recovery;
mod tails;
mod writer;

use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

pub use database::{Database, FILE_NAME, FORMAT_VERSION, Health, OpenError, Opener, Storage};
pub use journal::JOURNAL_NAME;

use self::tails::Tails;
use self::writer::{Queue, Waiting};
use super::order::Refusal;
use super::{LogError, Logged, UpdateLog};
use crate::protocol::Record;
use crate::protocol::ids::{BoardId, Position};
use crate::protocol::limits::RECORD_BYTES_MAX;

/// The log of a node without a cluster. Dropping it writes what is queued.
pub struct DiskLog {
    database: Database,
    queue: Arc<Queue>,
    tails: Tails,
    writer: Option<JoinHandle<()>>,
}

impl DiskLog {
    /// Starts the log on an open database.
    ///
    /// # Panics
    /// If the process cannot start a thread.
    pub fn new(database: Database) -> Self {
        let queue = Arc::new(Queue::default());
        let tails = Tails::new(database.clone());
        let run = {
            let (database, queue, tails) = (database.clone(), Arc::clone(&queue), tails.clone());
            move || writer::run(&database, &queue, &tails)
        };
        let writer = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(run)
            .expect("a starting process can make a thread");
        Self {
            database,
            queue,
            tails,
            writer: Some(writer),
        }
    }

    /// Takes no more records; those that are queued are still written.
    pub fn close(&self) {
        self.queue.close();
    }

    fn queue_record(
        &self,
        board: &BoardId,
        record: Arc<Record>,
        is_urgent: bool,
    ) -> BoxFuture<'static, Result<Position, LogError>> {
        let (answer, receiver) = oneshot::channel();
        let stored = records::encode(&record);
        let size_bytes = stored.len();
        let max_bytes = RECORD_BYTES_MAX;
        let error = (size_bytes > max_bytes).then_some(LogError::TooLarge { size_bytes, max_bytes });
        let waiting = Waiting {
            board: board.clone(),
            record,
            stored,
            is_urgent,
            answer,
        };
        match error {
            Some(error) => self.queue.refuse(waiting, error),
            None => self.queue.push(waiting),
        }
        async move {
            match receiver.await {
                Ok(outcome) => outcome.map_err(Refusal::hear),
                Err(_dropped) => Err(LogError::Closed),
            }
        }
        .boxed()
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the log panicked");
        }
    }
}

#[async_trait]
impl UpdateLog for DiskLog {
    fn append(&self, board: &BoardId, record: Arc<Record>) -> BoxFuture<'static, Result<Position, LogError>> {
        self.queue_record(board, record, true)
    }

    fn append_soon(&self, board: &BoardId, record: Arc<Record>) -> BoxFuture<'static, Result<Position, LogError>> {
        self.queue_record(board, record, false)
    }

    async fn tail(&self, board: &BoardId, after: Option<Position>) -> Result<mpsc::Receiver<Logged>, LogError> {
        let after = match after {
            None => 0,
            Some(Position(epoch, offset)) if epoch == self.database.epoch() && offset <= self.database.end() => offset,
            Some(position) => return Err(LogError::UnknownPosition(position)),
        };
        Ok(self.tails.add(board, after))
    }

    async fn end(&self, _board: &BoardId) -> Result<Position, LogError> {
        Ok(Position(self.database.epoch(), self.database.end()))
    }
}
