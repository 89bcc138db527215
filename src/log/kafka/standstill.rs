//! Clients of the brokers that stand still. After brokers were away, librdkafka sometimes goes on with nothing though they
//! are back, and says nothing (its issues 4492 and 5153, for instance). Only beginning anew helps then.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::producer::Edits;
use super::tails::Tails;
use crate::telemetry;

/// A record that the brokers could have taken for so long is stuck in the producer.
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// A record that waits less is not asked about.
const LATE_AFTER: Duration = Duration::from_secs(5);
/// Between two questions to the brokers.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at the partitions that are read.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The record that has waited longest for its delivery report.
#[derive(Default)]
pub(super) struct Oldest {
    number: usize,
    /// Since when the brokers could take it.
    able_since: Option<Instant>,
    asked: Option<Instant>,
}

impl Oldest {
    /// Whether the producer stands still. `waiting`: number of the oldest record and since when it waits; `is_able` asks
    /// the brokers whether they could take it.
    pub(super) fn is_stuck(
        &mut self,
        waiting: Option<(usize, Instant)>,
        now: Instant,
        is_able: impl FnOnce() -> bool,
    ) -> bool {
        let Some((number, _since)) = waiting.filter(|(_number, since)| now - *since >= LATE_AFTER) else {
            *self = Self::default();
            return false;
        };
        if number != self.number {
            *self = Self {
                number,
                able_since: None,
                asked: self.asked,
            };
        }
        if self.asked.is_some_and(|asked| now - asked < ASK_EVERY) {
            return false;
        }
        self.asked = Some(now);
        if !is_able() {
            self.able_since = None;
            return false;
        }
        now - *self.able_since.get_or_insert(now) >= STUCK_AFTER
    }
}

/// How often partitions were read anew, because nothing came of them though the brokers had more. A clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Again(Arc<AtomicU64>);

impl Again {
    /// Counts one more.
    pub fn count(&self) {
        metrics::counter!(telemetry::KAFKA_READ_AGAIN_TOTAL).increment(1);
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where partitions stood when they were looked at last, to tell which of them stand still.
#[derive(Debug, Default)]
pub struct Looks(HashMap<i32, Look>);

#[derive(Debug)]
struct Look {
    next: u64,
    was_behind: bool,
    times_stuck: u32,
}

impl Looks {
    /// Whether a partition stands where it stood at the look before: only then the brokers are to be asked.
    pub fn has_stood(&mut self, partition: i32, next: u64) -> bool {
        if self.0.get(&partition).is_some_and(|look| look.next == next) {
            return true;
        }
        let (was_behind, times_stuck) = (false, 0);
        let look = Look {
            next,
            was_behind,
            times_stuck,
        };
        self.0.insert(partition, look);
        false
    }

    /// Takes the brokers' answer for one that has stood. If they had more at two looks it is stuck: for which time there,
    /// from 1.
    pub fn stuck(&mut self, partition: i32, is_behind: bool) -> Option<u32> {
        let look = self.0.get_mut(&partition)?;
        let is_stuck = is_behind && look.was_behind;
        look.was_behind = is_behind && !is_stuck;
        look.times_stuck += u32::from(is_stuck);
        is_stuck.then_some(look.times_stuck)
    }

    /// Forgets all other partitions.
    pub fn keep(&mut self, is_kept: impl Fn(i32) -> bool) {
        self.0.retain(|partition, _look| is_kept(*partition));
    }
}

/// Has partitions read anew that stand still though the brokers have more.
pub(super) async fn watch_reader(tails: Tails, edits: Arc<Edits>, stop: CancellationToken) {
    let mut looks = Looks::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let standing = tails.standing();
        looks.keep(|partition| standing.iter().any(|(there, _next)| *there == partition));
        for (partition, next) in standing {
            if !looks.has_stood(partition, next) {
                continue;
            }
            let is_behind = edits.watermarks(partition).await.is_ok_and(|(_low, high)| next < high);
            if looks.stuck(partition, is_behind).is_some() && tails.read_again(partition, next) {
                tracing::warn!(
                    log.partition = partition,
                    log.offset = next,
                    "Nothing came of a partition though the brokers have more; it is read anew."
                );
                tails.count_again();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_stuck_once_the_brokers_could_have_taken_it_for_a_while() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut oldest = Oldest::default();
        assert!(!oldest.is_stuck(Some((0, begin)), at(4), || unreachable!("it is young")));
        // Brokers that are away are waited for, however long.
        for second in 5..100 {
            assert!(!oldest.is_stuck(Some((0, begin)), at(second), || false));
        }
        for second in 100..130 {
            assert!(!oldest.is_stuck(Some((0, begin)), at(second), || true), "{second}");
        }
        assert!(oldest.is_stuck(Some((0, begin)), at(130), || true));
        // Another one is the oldest: it moves.
        assert!(!oldest.is_stuck(Some((1, begin)), at(130), || unreachable!("once a second")));
        assert!(!oldest.is_stuck(Some((1, begin)), at(131), || true));
        assert!(!oldest.is_stuck(None, at(132), || unreachable!("there is none")));
        assert!(!oldest.is_stuck(Some((1, begin)), at(162), || true));
    }

    #[test]
    fn a_partition_is_stuck_once_the_brokers_had_more_at_two_looks() {
        let mut looks = Looks::default();
        assert!(!looks.has_stood(0, 5), "it is seen for the first time");
        assert!(looks.has_stood(0, 5));
        assert_eq!(looks.stuck(0, true), None, "it may come at any moment");
        assert!(!looks.has_stood(0, 6), "it has moved");
        assert!(looks.has_stood(0, 6));
        assert_eq!(looks.stuck(0, true), None);
        assert_eq!(looks.stuck(0, false), None);
        assert_eq!(looks.stuck(0, true), None);
        assert_eq!(looks.stuck(0, true), Some(1));
        // It gets as long again, and is counted until it moves.
        assert_eq!(looks.stuck(0, true), None);
        assert_eq!(looks.stuck(0, true), Some(2));
        assert!(!looks.has_stood(0, 7));
        assert_eq!([looks.stuck(0, true), looks.stuck(0, true)], [None, Some(1)]);
        looks.keep(|partition| partition != 0);
        assert!(!looks.has_stood(0, 7));
    }
}
