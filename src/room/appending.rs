//! Records of one room on their way to the log, and what the log says to each.

use std::collections::VecDeque;
use std::task::{Poll, ready};

use futures_util::future::BoxFuture;

use super::{AppendFault, Input};
use crate::log::LogError;
use crate::protocol::ids::Position;
use crate::telemetry;

/// Records on their way to the log, in order. The log answers in order, too, so only the first is looked at.
pub(super) type Appending = VecDeque<(u64, BoxFuture<'static, Result<Position, LogError>>)>;

/// The log's answer for the first record on its way; never, while there is none.
pub(super) async fn next_appended(appending: &mut Appending) -> (u64, Result<Position, LogError>) {
    std::future::poll_fn(|context| {
        let Some((number, append)) = appending.front_mut() else {
            return Poll::Pending;
        };
        let answer = (*number, ready!(append.as_mut().poll(context)));
        appending.pop_front();
        Poll::Ready(answer)
    })
    .await
}

/// What the room is told of it.
pub(super) fn appended(number: u64, result: Result<Position, LogError>) -> Input {
    match result {
        Ok(position) => Input::Appended(number, position),
        Err(error) => {
            tracing::warn!(%error, "A record was not appended.");
            metrics::counter!(telemetry::APPENDS_FAILED_TOTAL).increment(1);
            let fault = match error {
                LogError::TooLarge { .. } | LogError::UnknownPosition(_) => AppendFault::Never,
                LogError::Full | LogError::Away(_) | LogError::Failed(_) | LogError::Closed => AppendFault::TryAgain,
            };
            Input::AppendFailed(number, fault)
        }
    }
}
