//! Waiting for what comes about by itself, in another process or behind a door that tells nothing.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, interval};

/// Time between two questions.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Asks until the answer is good, for two minutes at most; then the last bad one is the report.
pub(crate) async fn soon<T, E: Debug>(mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + Duration::from_mins(2);
    let mut turns = interval(ASK_EVERY);
    loop {
        turns.tick().await;
        match ask().await {
            Ok(answer) => return answer,
            Err(wrong) => assert!(Instant::now() < deadline, "still: {wrong:?}"),
        }
    }
}

/// Asks until it is so, for two minutes at most.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    soon(async || is_so().await.then_some(()).ok_or_else(|| format!("not yet: {what}"))).await;
}
