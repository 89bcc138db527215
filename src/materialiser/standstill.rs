//! A consumer that stands still: after brokers were away it sometimes brings nothing, though they have more and it says
//! that all is well. So the brokers are asked by another client.

use tokio::time::Instant;

use super::Work;
use crate::log::kafka::standstill::{LOOK_EVERY, Looks};
use crate::telemetry;

/// Attempts to read a partition anew; then the client is given up.
const SEEKS_MAX: u32 = 3;

impl Work {
    /// Every some seconds: reads partitions anew that stand still, and gives the client up where that does not help.
    pub(super) fn look(&mut self) {
        if !self.is_look_due() {
            return;
        }
        self.looks.keep(|partition| self.next.contains_key(&partition));
        for partition in self.group.held() {
            let Some(next) = self.reached(partition) else { continue };
            if !self.looks.has_stood(partition, next.unsigned_abs()) {
                continue;
            }
            let Some((low, high)) = self.ends(partition, next) else {
                return;
            };
            if low > next {
                // Told again and again: nothing else shows that the partition stands still for ever.
                metrics::counter!(telemetry::MATERIALISER_HOLES_TOTAL).increment(1);
            }
            match self.looks.stuck(partition, low <= next && next < high) {
                None => {}
                Some(times) if times <= SEEKS_MAX => {
                    tracing::warn!(
                        log.partition = partition,
                        log.offset = next,
                        "Nothing came to be stored though the brokers have more; the partition is read anew."
                    );
                    self.again.count();
                    self.told(|group| group.seek(partition, next));
                }
                Some(_) => {
                    tracing::error!(
                        log.partition = partition,
                        log.offset = next,
                        "Nothing comes to be stored though the brokers have more; another client joins the group."
                    );
                    self.again.count();
                    self.is_lost.set(true);
                    return;
                }
            }
        }
    }

    /// During a pause, in which nothing is to come: tells every some seconds how far this node is behind.
    pub(super) fn tell_lag(&mut self) {
        // What stands during a pause is no fault.
        self.looks = Looks::default();
        if !self.is_look_due() {
            return;
        }
        for partition in self.group.held() {
            let Some(next) = self.reached(partition) else { continue };
            if self.ends(partition, next).is_none() {
                return;
            }
        }
    }

    /// The end of a client that stands still may take long: another thread waits for it.
    pub(super) fn leave(self) {
        if !self.is_lost.get() {
            return;
        }
        let ending = std::thread::Builder::new().name("materialiser-end".into());
        let group = self.group;
        if let Err(error) = ending.spawn(move || drop(group)) {
            tracing::warn!(%error, "A former client of the group was ended on the thread of the next one.");
        }
    }

    fn is_look_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = now >= self.look_due;
        if is_due {
            self.look_due = now + LOOK_EVERY;
        }
        is_due
    }

    /// The offset that is to come next.
    fn reached(&self, partition: i32) -> Option<i64> {
        let pending = self.pending.get(&partition).map(|(batch, _values)| batch.next);
        pending.or_else(|| self.next.get(&partition).copied())
    }

    fn ends(&self, partition: i32, next: i64) -> Option<(i64, i64)> {
        let ends = self.group.ends(partition, next);
        ends.inspect_err(|error| tracing::warn!(%error, "The brokers did not say how far the materialiser is behind."))
            .ok()
    }
}
