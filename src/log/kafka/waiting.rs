//! Records that wait for the producer of edits, by partition.
//!
//! All partitions share the producer's queue, and each may fill a part of it only: where one takes no records, because
//! it has no leader or too few copies, the others go on.

use std::collections::{BTreeMap, BTreeSet};

use super::settings::{QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX};

/// A partition's part of the queue is one of so many.
const PARTS: usize = 8;

/// Numbers of records that the producer has not taken, and how much it has of each partition.
#[derive(Default)]
pub(super) struct Waiting {
    partitions: BTreeMap<i32, Line>,
}

#[derive(Default)]
struct Line {
    waiting: BTreeSet<usize>,
    /// What the producer has taken and not reported.
    taken_messages: usize,
    taken_bytes: usize,
}

impl Waiting {
    pub(super) fn push(&mut self, partition: i32, number: usize) {
        self.partitions.entry(partition).or_default().waiting.insert(number);
    }

    /// It has come through another way.
    pub(super) fn remove(&mut self, partition: i32, number: usize) {
        if let Some(line) = self.partitions.get_mut(&partition) {
            line.waiting.remove(&number);
        }
    }

    /// Number of the oldest record that the producer may get now.
    pub(super) fn next(&self) -> Option<usize> {
        let lines = self.partitions.values().filter(|line| line.has_room());
        lines.filter_map(|line| line.waiting.first()).min().copied()
    }

    /// The producer has taken a record.
    pub(super) fn taken(&mut self, partition: i32, number: usize, bytes: usize) {
        let line = self.partitions.entry(partition).or_default();
        line.waiting.remove(&number);
        line.taken_messages += 1;
        line.taken_bytes += bytes;
    }

    /// The producer has reported a record.
    pub(super) fn reported(&mut self, partition: i32, bytes: usize) {
        let line = self.partitions.entry(partition).or_default();
        line.taken_messages = line.taken_messages.saturating_sub(1);
        line.taken_bytes = line.taken_bytes.saturating_sub(bytes);
    }
}

impl Line {
    fn has_room(&self) -> bool {
        self.taken_messages < QUEUE_MESSAGES_MAX / PARTS && self.taken_bytes < QUEUE_BYTES_MAX / PARTS
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;
    use rdkafka::mocking::MockCluster;
    use tokio::time::timeout;

    use super::*;
    use crate::log::kafka::producer::Edits;
    use crate::log::kafka::settings::KafkaSettings;
    use crate::protocol::ids::{BoardId, Position, RecordId, Timestamp, UserId};
    use crate::protocol::{Blob, Record, RecordKind};

    const SOON: Duration = Duration::from_secs(20);

    fn record(number: u64) -> Record {
        Record {
            id: RecordId(1, number),
            base: Position(1, 0),
            author: UserId::new("mina").unwrap(),
            client: None,
            seq: None,
            refused: Vec::new(),
            kind: RecordKind::Update,
            gesture: None,
            time: Timestamp(1),
            owner: None,
            steps: Vec::new(),
            changes: Vec::new(),
            changes_left_out: false,
            relayed: Vec::new(),
            update: Blob::default(),
        }
    }

    #[tokio::test]
    async fn a_partition_that_takes_nothing_keeps_no_other_waiting() {
        let brokers = MockCluster::new(2).unwrap();
        let settings = KafkaSettings::imitated(&brokers, 2);
        let topic = settings.edits_topic();
        brokers.create_topic(&topic, 2, 1).unwrap();
        for (partition, broker) in [(0, 1), (1, 2)] {
            brokers.partition_leader(&topic, partition, Some(broker)).unwrap();
        }
        let edits = Edits::start(&settings, 1).unwrap();
        edits.warm_up().await.unwrap();
        brokers.broker_down(1).unwrap();
        let (stuck, other) = (BoardId::new("stuck").unwrap(), BoardId::new("other").unwrap());
        // More than the whole queue takes.
        let more = QUEUE_MESSAGES_MAX as u64 + 10;
        let waiting: Vec<_> = (1..=more)
            .map(|number| edits.append(&stuck, 0, &record(number)))
            .collect();
        let position = timeout(SOON, edits.append(&other, 1, &record(more + 1))).await;
        assert!(position.expect("it does not wait for the other partition").is_ok());
        brokers.broker_up(1).unwrap();
        let positions = timeout(SOON, join_all(waiting)).await.expect("what waited goes out");
        let offsets = positions.into_iter().map(|position| position.unwrap().unwrap().1);
        assert!(offsets.eq(1..=more), "in the order of the calls, without a hole");
    }
}
