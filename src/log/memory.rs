//! The log in memory: for tests, throwaway boards and the simulation of several nodes.
//!
//! A clone is the same log, so that several nodes can share it. Whatever a simulation needs is there without tokio:
//! [`MemoryLog::append_now`] and [`MemoryLog::read`] return at once, and the next appends can be made to fail.

mod relay;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use self::relay::{Node, Nodes};
use super::order::{Refusal, Unheard};
use super::{LogError, Logged, Relay, UpdateLog};
use crate::protocol::Record;
use crate::protocol::ids::{BoardId, Position};

/// Records a reader may be behind before it is read for again: enough for a burst, little to hold.
const TAIL_RECORDS_MAX: usize = 256;

/// What happens to an append of a simulation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendFault {
    /// It fails, and the record is not in the log.
    BeforeWriting,
    /// It fails, and the record is in the log all the same.
    AfterWriting,
}

/// A log that lives as long as its last clone.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    epoch: u64,
    state: Arc<Mutex<State>>,
    end: Arc<watch::Sender<u64>>,
    unheard: Unheard,
    nodes: Arc<Nodes>,
    node: Option<Arc<Node>>,
}

#[derive(Debug, Default)]
struct State {
    boards: HashMap<BoardId, Vec<Logged>>,
    faults: VecDeque<AppendFault>,
}

impl MemoryLog {
    /// An empty log with the epoch `epoch`.
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            state: Arc::default(),
            end: Arc::new(watch::Sender::new(0)),
            unheard: Unheard::default(),
            nodes: Arc::default(),
            node: None,
        }
    }

    /// The same log as one node of a cluster has it: what is not recorded reaches the other nodes, too.
    #[must_use]
    pub fn node(&self) -> Self {
        Self {
            node: Some(self.nodes.join()),
            ..self.clone()
        }
    }

    /// Appends at once.
    pub fn append_now(&self, board: &BoardId, record: Arc<Record>) -> Result<Position, LogError> {
        let mut state = self.state.lock();
        let fault = state.faults.pop_front();
        if fault == Some(AppendFault::BeforeWriting) {
            return Err(LogError::Full);
        }
        let offset = *self.end.borrow() + 1;
        let position = Position(self.epoch, offset);
        let logged = Logged { position, record };
        state.boards.entry(board.clone()).or_default().push(logged);
        self.end.send_replace(offset);
        match fault {
            None => Ok(position),
            Some(_written) => Err(LogError::Failed("made to fail after writing".into())),
        }
    }

    /// The board's records after `after`, at most `limit`.
    pub fn read(&self, board: &BoardId, after: Option<Position>, limit: usize) -> Result<Vec<Logged>, LogError> {
        let after = self.offset_of(after)?;
        let state = self.state.lock();
        let records = state.boards.get(board).map_or(&[][..], Vec::as_slice);
        let start = records.partition_point(|logged| logged.position.offset() <= after);
        Ok(records[start..].iter().take(limit).cloned().collect())
    }

    /// The end of the log.
    pub fn end_now(&self) -> Position {
        Position(self.epoch, *self.end.borrow())
    }

    /// Lets the next append fail; faults that are asked for add up.
    pub fn fail_next_append(&self, fault: AppendFault) {
        self.state.lock().faults.push_back(fault);
    }

    /// Forgets a board's records.
    pub(crate) fn forget(&self, board: &BoardId) {
        self.state.lock().boards.remove(board);
    }

    fn offset_of(&self, after: Option<Position>) -> Result<u64, LogError> {
        match after {
            None => Ok(0),
            Some(position) if position.epoch() == self.epoch && position <= self.end_now() => Ok(position.offset()),
            Some(position) => Err(LogError::UnknownPosition(position)),
        }
    }

    fn append_in_order(&self, board: &BoardId, record: Arc<Record>) -> Result<Position, Refusal> {
        if self.unheard.concerns(board) {
            let error = LogError::Failed("a record before it failed".into());
            return Err(self.unheard.refuse(board, error));
        }
        self.append_now(board, record)
            .map_err(|error| self.unheard.refuse(board, error))
    }
}

#[async_trait]
impl UpdateLog for MemoryLog {
    fn append(&self, board: &BoardId, record: Arc<Record>) -> BoxFuture<'static, Result<Position, LogError>> {
        let outcome = self.append_in_order(board, record);
        async move { outcome.map_err(Refusal::hear) }.boxed()
    }

    async fn tail(&self, board: &BoardId, after: Option<Position>) -> Result<mpsc::Receiver<Logged>, LogError> {
        self.offset_of(after)?;
        let (sender, receiver) = mpsc::channel(TAIL_RECORDS_MAX);
        tokio::spawn(follow(self.clone(), board.clone(), after, sender));
        Ok(receiver)
    }

    async fn end(&self, _board: &BoardId) -> Result<Position, LogError> {
        Ok(self.end_now())
    }

    fn relay(&self) -> Option<Arc<dyn Relay>> {
        Some(Arc::clone(self.node.as_ref()?) as Arc<dyn Relay>)
    }
}

async fn follow(log: MemoryLog, board: BoardId, mut after: Option<Position>, reader: mpsc::Sender<Logged>) {
    let mut end = log.end.subscribe();
    loop {
        // Marked as seen before reading: what comes in while reading wakes this task again.
        end.borrow_and_update();
        let Ok(records) = log.read(&board, after, TAIL_RECORDS_MAX) else {
            return;
        };
        let is_level = records.len() < TAIL_RECORDS_MAX;
        for logged in records {
            after = Some(logged.position);
            if reader.send(logged).await.is_err() {
                return;
            }
        }
        if !is_level {
            continue;
        }
        let has_more = tokio::select! {
            changed = end.changed() => changed.is_ok(),
            () = reader.closed() => false,
        };
        if !has_more {
            return;
        }
    }
}
