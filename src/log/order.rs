//! Keeps the order of a board's records when an append fails.
//!
//! A record that is queued behind a failed one must not become durable before its author has heard of the failure and
//! appended the first one again: readers would find it without what it builds on. So a failure is handed out with a
//! [`Notice`], and while a board has notices that nobody has taken, its appends fail as well.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::LogError;
use crate::protocol::ids::BoardId;

/// Boards with failures that their author has not heard of.
#[derive(Debug, Clone, Default)]
pub(super) struct Unheard(Arc<Mutex<HashMap<BoardId, usize>>>);

impl Unheard {
    /// Whether an append to the board has to fail.
    pub(super) fn concerns(&self, board: &BoardId) -> bool {
        self.0.lock().contains_key(board)
    }

    /// Notes a failure; it is heard of when the refusal is taken apart or dropped.
    pub(super) fn refuse(&self, board: &BoardId, error: LogError) -> Refusal {
        *self.0.lock().entry(board.clone()).or_default() += 1;
        let notice = Notice {
            board: board.clone(),
            unheard: self.clone(),
        };
        Refusal { error, notice }
    }
}

/// A failure on its way to the author.
#[derive(Debug)]
pub(super) struct Refusal {
    error: LogError,
    notice: Notice,
}

impl Refusal {
    /// Hands the failure out: from now on the author knows.
    pub(super) fn hear(self) -> LogError {
        drop(self.notice);
        self.error
    }
}

#[derive(Debug)]
struct Notice {
    board: BoardId,
    unheard: Unheard,
}

impl Drop for Notice {
    fn drop(&mut self) {
        let mut boards = self.unheard.0.lock();
        if let Some(count) = boards.get_mut(&self.board) {
            *count -= 1;
            if *count == 0 {
                boards.remove(&self.board);
            }
        }
    }
}
