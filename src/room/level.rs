//! Who came while the log did not say what is new, and when it does again.
//!
//! Such a session sees the board and may not edit: a frame of its client may have come through another node before, and
//! must not count twice. Once the log answers it is sent away for a moment, and joins like everybody else. A board that
//! was opened meanwhile is what the store has; its room ends then.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::log::{LogError, Logged, UpdateLog};
use crate::protocol::ids::{BoardId, SessionId};

/// Between two questions to a log that does not answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The same where a room waits for it.
const ASK_SOON: Duration = Duration::from_millis(50);

/// The sessions of a room that are not level, and what they wait for.
#[derive(Default)]
pub(super) struct NotLevel {
    sessions: Vec<SessionId>,
    answer: Option<BoxFuture<'static, ()>>,
}

impl NotLevel {
    /// Waits for the log, perhaps on behalf of a session.
    pub(super) fn wait(&mut self, session: Option<SessionId>, log: &Arc<dyn UpdateLog>, board: &BoardId) {
        self.sessions.extend(session);
        self.answer
            .get_or_insert_with(|| answer(Arc::clone(log), board.clone(), ASK_AGAIN).boxed());
    }

    /// Gives the sessions when the log has answered; never, while nothing waits for it. Cancel-safe.
    pub(super) async fn over(&mut self) -> Vec<SessionId> {
        match &mut self.answer {
            Some(answer) => answer.await,
            None => std::future::pending().await,
        }
        self.answer = None;
        std::mem::take(&mut self.sessions)
    }
}

/// Done when the room has been handed what is durable now. With patience it is asked again where it does not answer:
/// whoever was frozen has to connect again first.
pub(super) async fn reach_level(log: &Arc<dyn UpdateLog>, board: &BoardId, is_patient: bool) -> Result<(), LogError> {
    let asked = log.level(board).await;
    if asked.is_err() && is_patient {
        answer(Arc::clone(log), board.clone(), ASK_SOON).await;
        return Ok(());
    }
    asked
}

/// Asks a log that did not answer until it does.
async fn answer(log: Arc<dyn UpdateLog>, board: BoardId, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        if log.level(&board).await.is_ok() {
            return;
        }
    }
}

/// The next record; never, where nobody reads the log.
pub(super) async fn next_logged(tail: &mut Option<mpsc::Receiver<Logged>>) -> Option<Logged> {
    match tail {
        Some(tail) => tail.recv().await,
        None => std::future::pending().await,
    }
}
