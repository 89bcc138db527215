//! Carries out what the nodes of a cluster tell each other of changed rights.
//!
//! What a notice speaks of is looked up in the store, where it was written first: so two changes that come in another
//! order than they were made end as the store has them. Where the store does not answer, the notice itself counts.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::http::AppState;
use crate::protocol::notice::Notice;
use crate::store::StoreError;
use crate::telemetry;

/// Patience with the store: an open socket has to hear within a second.
const LOOK_UP_TIMEOUT: Duration = Duration::from_millis(300);
/// A store that did not answer is not asked for so long, so that others need not wait for it.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Carries out notices until the rooms of a node that stops have ended.
pub(super) async fn follow(state: AppState, mut notices: mpsc::Receiver<Notice>, drained: CancellationToken) {
    let mut follower = Follower {
        state,
        unanswered: None,
        drained: drained.clone(),
    };
    while let Some(Some(notice)) = drained.run_until_cancelled(notices.recv()).await {
        metrics::counter!(telemetry::NOTICES_TOTAL).increment(1);
        follower.carry_out(notice).await;
    }
}

struct Follower {
    state: AppState,
    /// When the store did not answer last.
    unanswered: Option<Instant>,
    drained: CancellationToken,
}

impl Follower {
    async fn carry_out(&mut self, notice: Notice) {
        let state = self.state.clone();
        match notice {
            Notice::Revoked(revocation) => state.revoked.note([revocation]),
            Notice::Deleted { board } => {
                if state.hub.is_live(&board) {
                    let stored = self.look_up(state.store.board(&board)).await.flatten();
                    match stored {
                        // It was made again since: whoever is on either comes to the new one.
                        Some(_) => state.hub.readmit(&board).await,
                        None => state.hub.end(&board).await,
                    }
                }
            }
            Notice::Role { board, user, role } => {
                state.hub.note_grant();
                if state.hub.is_live(&board) {
                    let stored = self.look_up(state.store.role(&board, &user)).await;
                    state.hub.grant(&board, &user, stored.unwrap_or(role)).await;
                }
            }
            Notice::Info { board, title, edit } => {
                if state.hub.is_live(&board) {
                    let stored = self.look_up(state.store.board(&board)).await.flatten();
                    let (title, edit) = stored.map_or((title, edit), |info| (info.title, info.edit));
                    state.hub.show_info(&board, &title, edit).await;
                }
            }
            Notice::Missed => self.make_up().await,
        }
    }

    async fn look_up<T>(&mut self, question: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
        if self.unanswered.is_some_and(|since| since.elapsed() < STORE_PAUSE) {
            return None;
        }
        let answer = timeout(LOOK_UP_TIMEOUT, question).await;
        self.unanswered = answer.is_err().then(Instant::now);
        match answer {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::warn!(%error, "The store did not say what changed; the notice itself counts.");
                None
            }
            Err(_elapsed) => None,
        }
    }

    /// Revocations are read again, and everybody comes back and is looked up.
    async fn make_up(&self) {
        tracing::error!("Notices of other nodes were lost; all sessions come back.");
        let (state, drained) = (self.state.clone(), self.drained.clone());
        // By itself: while the store does not answer, the notices that come count all the same.
        tokio::spawn(async move {
            let reading = until_answered(STORE_PAUSE, || state.store.revocations((state.clock)()));
            if let Some(revocations) = drained.run_until_cancelled(reading).await {
                // Whoever came back meanwhile with one of these tokens ends now.
                state.revoked.note(revocations);
            }
        });
        self.state.hub.readmit_all().await;
    }
}

/// Asks the store until it answers.
async fn until_answered<T, F>(pause: Duration, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                metrics::counter!(telemetry::REVOCATIONS_RETRIES_TOTAL).increment(1);
                tracing::error!(%error, "Revoked tokens could not be read; it is tried again.");
            }
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn revocations_are_asked_for_until_the_store_answers() {
        let mut answers = [Err(StoreError::Full), Err(StoreError::Away("gone".into())), Ok(7)].into_iter();
        let answered = until_answered(Duration::ZERO, || {
            std::future::ready(answers.next().expect("it does not ask behind the answer"))
        });
        assert_eq!(answered.await, 7);
    }
}
