//! Counts and latencies of one run, shared by all clients of the generator.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Steps within each power of two: values are kept to about 1.5 %.
const STEPS: u64 = 64;
const BUCKETS: usize = 64 * 40;

/// Distribution of durations in nanoseconds.
pub(super) struct Histogram {
    buckets: Vec<AtomicU32>,
    largest: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            largest: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Adds one duration.
    pub(super) fn record(&self, nanos: u64) {
        let index = usize::try_from(bucket(nanos)).unwrap_or(BUCKETS).min(BUCKETS - 1);
        self.buckets[index].fetch_add(1, Ordering::Relaxed);
        self.largest.fetch_max(nanos, Ordering::Relaxed);
    }

    /// Number of durations.
    pub(super) fn count(&self) -> u64 {
        self.buckets
            .iter()
            .map(|bucket| u64::from(bucket.load(Ordering::Relaxed)))
            .sum()
    }

    /// The duration below which `share` of them lie, in milliseconds; 0 where there is none.
    pub(super) fn quantile_ms(&self, share: f64) -> f64 {
        let total = self.count();
        let wanted = as_f64(total) * share;
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += u64::from(bucket.load(Ordering::Relaxed));
            if seen > 0 && as_f64(seen) >= wanted {
                return as_f64(middle(index as u64)) / 1e6;
            }
        }
        0.0
    }

    /// The longest duration in milliseconds.
    pub(super) fn largest_ms(&self) -> f64 {
        as_f64(self.largest.load(Ordering::Relaxed)) / 1e6
    }
}

/// Nanoseconds below 64 have a bucket each; above, each power of two has 64.
fn bucket(nanos: u64) -> u64 {
    let Some(power) = nanos.checked_ilog2().filter(|power| *power >= 6) else {
        return nanos;
    };
    let shift = u64::from(power) - 6;
    (shift + 1) * STEPS + ((nanos >> shift) - STEPS)
}

fn middle(bucket: u64) -> u64 {
    if bucket < STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS) << shift) + ((1 << shift) >> 1)
}

/// A count as a fraction's part; counts stay far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Everything counted in one run.
#[derive(Default)]
pub(super) struct Tally {
    /// Edits or states that writers sent.
    pub(super) sent: AtomicU64,
    /// Edits or states that reached a client other than their author.
    pub(super) delivered: AtomicU64,
    /// WebSocket messages that brought them.
    pub(super) frames: AtomicU64,
    /// Frames that were acknowledged as durable.
    pub(super) acked: AtomicU64,
    /// Frames of setup that reached other clients.
    pub(super) ready: AtomicU64,
    /// Refusals, undecodable frames and connections that ended.
    pub(super) errors: AtomicU64,
    /// Edit to other client.
    pub(super) latency: Histogram,
    /// Edit to durable acknowledgement.
    pub(super) ack: Histogram,
    /// How late the generator itself was.
    pub(super) lag: Histogram,
    /// The first thing that went wrong.
    pub(super) first_error: parking_lot::Mutex<Option<String>>,
}

impl Tally {
    /// Counts something that went wrong and keeps the first.
    pub(super) fn error(&self, what: impl FnOnce() -> String) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.first_error.lock().get_or_insert_with(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_percent() {
        let histogram = Histogram::default();
        for micros in 1..=10_000 {
            histogram.record(micros * 1_000);
        }
        assert!((histogram.quantile_ms(0.5) - 5.0).abs() < 0.1);
        assert!((histogram.quantile_ms(0.99) - 9.9).abs() < 0.2);
        assert!((histogram.largest_ms() - 10.0).abs() < 1e-9);
    }
}
