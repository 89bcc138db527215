//! Clients of the brokers that stand still. After brokers were away, librdkafka sometimes goes on with nothing though they
//! are back, and says nothing (its issues 4492 and 5153, for instance). Only beginning anew helps then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::producer::Edits;
use super::tails::Tails;

/// A record that the brokers could have taken for so long is stuck in the producer.
const STUCK_AFTER: Duration = Duration::from_secs(30);
/// A record that waits less is not asked about.
const LATE_AFTER: Duration = Duration::from_secs(5);
/// Between two questions to the brokers.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks at the partitions that are read.
const LOOK_EVERY: Duration = Duration::from_secs(10);

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

/// Has partitions read anew that stand still though the brokers have more.
pub(super) async fn watch_reader(tails: Tails, edits: Arc<Edits>, stop: CancellationToken) {
    // What came next at the last look, and whether the brokers had it then.
    let mut last: HashMap<i32, (u64, bool)> = HashMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let mut seen = HashMap::new();
        for (partition, next) in tails.standing() {
            let former = last.get(&partition).filter(|(former, _was_behind)| *former == next);
            let is_behind = former.is_some() && edits.watermarks(partition).await.is_ok_and(|(_low, high)| next < high);
            if is_behind && former.is_some_and(|(_next, was_behind)| *was_behind) {
                if tails.read_again(partition, next) {
                    tracing::warn!(
                        log.partition = partition,
                        log.offset = next,
                        "Nothing came of a partition though the brokers have more; it is read anew."
                    );
                    tails.count_again();
                }
            } else {
                seen.insert(partition, (next, is_behind));
            }
        }
        last = seen;
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
}
