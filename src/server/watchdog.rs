//! Ends a node where one input keeps a room for too long: the other boards are drained, then the supervisor starts it
//! again.
//!
//! A thread of its own, because the room may hold the runtime's threads.

use std::io;
use std::process::exit;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::DRAIN_TIMEOUT;
use crate::http::AppState;
use crate::materialiser::STOP_TIMEOUT;
use crate::telemetry::STUCK_TOTAL;

/// Between two looks at most.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A process whose watchdog comes back so late was frozen, rooms and all: they get their time again.
const OVERSLEPT: Duration = Duration::from_secs(1);
/// Exit code of a node whose runtime is stuck as well: that of any failure.
const FAILED: i32 = 1;

/// Watches the rooms until it is dropped by [`Watchdog::end`].
pub(super) struct Watchdog {
    stuck: CancellationToken,
    ends: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    /// Watches the rooms from now on.
    pub(super) fn start(state: AppState) -> io::Result<Self> {
        let stuck = CancellationToken::new();
        let (ends, ended) = channel();
        let told = stuck.clone();
        let thread = Builder::new()
            .name("watchdog".into())
            .spawn(move || watch(&state, &told, &ended))?;
        Ok(Self { stuck, ends, thread })
    }

    /// Resolves when a room does not come back from an input; readiness is red by then.
    pub(super) async fn stuck(&self) {
        self.stuck.cancelled().await;
    }

    /// Watches no more, and holds nothing any more; gives whether a room was stuck.
    pub(super) fn end(self) -> bool {
        drop(self.ends);
        if self.thread.join().is_err() {
            tracing::error!("The watchdog panicked.");
        }
        self.stuck.is_cancelled()
    }
}

fn watch(state: &AppState, stuck: &CancellationToken, ended: &Receiver<()>) {
    let hard = Duration::from_millis(state.limits.apply_hard_ms);
    let pause = (hard / 4).min(PAUSE_MAX);
    let mut awake_since = Instant::now();
    let (board, duration) = loop {
        let begin = Instant::now();
        if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        if begin.elapsed() > pause + OVERSLEPT {
            awake_since = Instant::now();
        }
        let stuck = state.hub.longest_input().filter(|(_, duration)| *duration > hard);
        if let Some(found) = stuck.filter(|_| awake_since.elapsed() > hard) {
            break found;
        }
    };
    let duration_ms = duration.as_millis();
    tracing::error!(board.id = %board, %duration_ms, "One input keeps a room; the node drains and ends.");
    metrics::counter!(STUCK_TOTAL).increment(1);
    state.start_draining();
    stuck.cancel();
    // The drain needs the runtime, and the room may hold all of it.
    if ended.recv_timeout(DRAIN_TIMEOUT + STOP_TIMEOUT + PAUSE_MAX) == Err(RecvTimeoutError::Timeout) {
        exit(FAILED);
    }
}
