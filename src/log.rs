//! The ordered log of a board's records, and what an adapter must promise.
//!
//! 1. Records of one board get positions in the order of their `append` calls, with nothing of another order between.
//! 2. `append` resolves when the record is durable, never before; what it reported is there after any crash.
//! 3. `tail` gives every record of the board by position, own ones too, each once, without a hole.
//! 4. A record that was not reported may still be in the log; a second append of the same record counts once, because
//!    readers skip a record id they have seen.
//! 5. When an append fails, those of the same board that were called before its author heard of it fail as well, so
//!    that whoever appends the failed ones again, in order, keeps the order of 1.
//!
//! The contract suite in `tests/it/log_contract.rs` runs on every adapter.

pub mod disk;
pub mod kafka;
pub mod memory;
mod order;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::mpsc;

pub use crate::protocol::Logged;
use crate::protocol::ids::{BoardId, Position};
use crate::protocol::notice::Notice;
use crate::protocol::relay::{Lane, Relayed};
use crate::protocol::{Record, Route};

/// Why the log did not do what was asked.
#[derive(Debug, Clone, Error)]
pub enum LogError {
    /// The disk is full, or a quota is: nothing was written; try again later.
    #[error("the log has no room left")]
    Full,
    /// Nobody answers who knows what the log has: ask again later.
    #[error("the log cannot be reached: {0}")]
    Away(String),
    /// Whether the record was written is not known. The adapter re-opens and verifies before it takes more.
    #[error("the log failed: {0}")]
    Failed(String),
    /// The record is larger than the log takes.
    #[error("a record of {size_bytes} bytes is above the limit of {max_bytes}")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
        /// The ceiling.
        max_bytes: usize,
    },
    /// `after` belongs to another life of the log, or lies before what is kept.
    #[error("position {0} is not in this log")]
    UnknownPosition(Position),
    /// The log is shut down.
    #[error("the log is closed")]
    Closed,
}

/// What a board needs of the log to be opened.
#[derive(Debug)]
pub struct Lead {
    /// The newest records of the board, by position: every one that the store may lack.
    pub records: Vec<Logged>,
    /// The end of the log when it was asked.
    pub end: Position,
}

/// The ordered, durable log. Rooms see nothing else of where records go.
#[async_trait]
pub trait UpdateLog: Send + Sync + 'static {
    /// Queues the record on return, in the order of calls; resolves when it is durable.
    fn append(&self, board: &BoardId, record: Arc<Record>) -> BoxFuture<'static, Result<Position, LogError>>;

    /// The same for a record that nobody waits for: the log may take some milliseconds to write more of them at once.
    fn append_soon(&self, board: &BoardId, record: Arc<Record>) -> BoxFuture<'static, Result<Position, LogError>> {
        self.append(board, record)
    }

    /// Whether what the log stands on has answered lately; if not, new clients are better served elsewhere.
    fn is_reachable(&self) -> bool {
        true
    }

    /// The nodes that serve the board, the best first; `None` where there is one node, or its address is not known.
    fn route(&self, _board: &BoardId) -> Option<Route> {
        None
    }

    /// Whether a node of this cluster has that address.
    fn is_node(&self, _address: &str) -> bool {
        false
    }

    /// Whether keyframes of the board are this node's to write; the nodes of a cluster share the boards among them.
    fn is_keeper(&self, _board: &BoardId) -> bool {
        true
    }

    /// All records of the board after `after` (`None`: from the first one kept), those to come included, until the
    /// receiver is dropped. The channel is bounded; a reader that does not keep up slows nobody but itself.
    async fn tail(&self, board: &BoardId, after: Option<Position>) -> Result<mpsc::Receiver<Logged>, LogError>;

    /// The end of the log as far as this board goes: whoever has read up to here has everything durable now.
    async fn end(&self, board: &BoardId) -> Result<Position, LogError>;

    /// Resolves when the tails of the board have been handed all that was durable when this was called. What a client
    /// sent through another node is among it, so that its frames are known when it sends them again here. Fails soon
    /// while nobody can tell.
    async fn level(&self, _board: &BoardId) -> Result<(), LogError> {
        Ok(())
    }

    /// The records of the board behind `stored`, the place up to which the store has all of them; that is to be asked
    /// before, and the history after this: together they are all of the board up to `Lead::end`. A store that reads the
    /// log itself knows no such place, and lacks nothing.
    async fn lead(&self, board: &BoardId, _stored: Option<Position>) -> Result<Lead, LogError> {
        let end = self.end(board).await?;
        Ok(Lead {
            records: Vec::new(),
            end,
        })
    }

    /// The way to the other nodes for what is not recorded; none where there are none.
    fn relay(&self) -> Option<Arc<dyn Relay>> {
        None
    }
}

/// The way to the other nodes of a cluster for what is not recorded. Nothing in it belongs to a board's content.
pub trait Relay: Send + Sync + 'static {
    /// Tells every node, this one too. Queued on return and tried until it is safe, which is when it resolves: from then on
    /// each node hears it, even one that cannot be reached now.
    fn tell(&self, notice: Notice) -> BoxFuture<'static, Result<(), LogError>>;

    /// The notices of all nodes that became safe after this node had started. There is one receiver: later calls give
    /// none.
    fn notices(&self) -> Option<mpsc::Receiver<Notice>>;

    /// Shows something to the rooms of the board on other nodes. Never waits; may be lost, and is not kept for anybody.
    fn show(&self, board: &BoardId, lane: Lane, relayed: &Relayed);

    /// What the rooms of the board show from about now on, until the receiver is dropped. `room` is the one that asks: of
    /// its own it hears the presence, so that it knows when it is heard.
    fn watch(&self, board: &BoardId, room: u64) -> mpsc::Receiver<Arc<Relayed>>;
}
