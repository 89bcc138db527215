//! How long a room has been at its present input, for a watchdog outside of the runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Since when a room has been at one input. A clone is the same.
#[derive(Clone)]
pub(super) struct Busy {
    made: Instant,
    /// Milliseconds after `made`, plus one; 0 between two inputs.
    since_ms: Arc<AtomicU64>,
}

impl Default for Busy {
    fn default() -> Self {
        Self {
            made: Instant::now(),
            since_ms: Arc::default(),
        }
    }
}

impl Busy {
    /// An input is handled from `now` on.
    pub(super) fn begin(&self, now: Instant) {
        let ms = now.duration_since(self.made).as_millis();
        let ms = u64::try_from(ms).unwrap_or(u64::MAX - 1);
        self.since_ms.store(ms + 1, Ordering::Relaxed);
    }

    /// It has been.
    pub(super) fn end(&self) {
        self.since_ms.store(0, Ordering::Relaxed);
    }

    /// How long the present input has taken; none if there is none.
    pub(super) fn since(&self) -> Option<Duration> {
        let since_ms = self.since_ms.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.made.elapsed().saturating_sub(Duration::from_millis(since_ms)))
    }
}
