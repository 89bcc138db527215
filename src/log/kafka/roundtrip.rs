//! How long a record of this node takes to come back by its topic: what the other nodes wait.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::protocol::ids::RecordId;
use crate::telemetry;

/// Records that are timed at once. Those of boards that close meanwhile never come back, so it starts afresh when full.
const TIMED_MAX: usize = 4_096;

/// Records on their way out and back. A clone is the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Travelling(Arc<Mutex<HashMap<RecordId, Instant>>>);

impl Travelling {
    /// The record sets out.
    pub(super) fn begin(&self, record: RecordId, now: Instant) {
        let mut timed = self.0.lock();
        if timed.len() >= TIMED_MAX {
            timed.clear();
        }
        timed.insert(record, now);
    }

    /// The record was read; those of other nodes are not timed here.
    pub(super) fn end(&self, record: RecordId) {
        if let Some(since) = self.0.lock().remove(&record) {
            metrics::histogram!(telemetry::KAFKA_ROUNDTRIP_SECONDS).record(since.elapsed().as_secs_f64());
        }
    }
}
