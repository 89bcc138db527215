//! How much of what was written a connection's far end has taken, and how much came from there. The socket counts, whoever
//! waits looks.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// What the system took and gave of one connection. Put into each of its requests by `server/accept.rs`.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<State>);

#[derive(Debug, Default)]
struct State {
    bytes: AtomicU64,
    heard: AtomicU64,
    is_given_up: AtomicBool,
}

impl Progress {
    /// The socket took so many bytes more.
    pub fn add(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes taken so far.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// So many bytes more came.
    pub fn hear(&self, bytes: usize) {
        self.0.heard.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that came so far.
    pub fn heard(&self) -> u64 {
        self.0.heard.load(Ordering::Relaxed)
    }

    /// The far end takes nothing any more: what the system still holds for it goes with the socket.
    pub fn give_up(&self) {
        self.0.is_given_up.store(true, Ordering::Relaxed);
    }

    /// Whether what the system still holds is worth nothing.
    pub fn is_given_up(&self) -> bool {
        self.0.is_given_up.load(Ordering::Relaxed)
    }
}

impl<S: Sync> FromRequestParts<S> for Progress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}
