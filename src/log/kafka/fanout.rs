//! The reader of the partitions whose boards are open on this node: all their records, whoever else reads them.
//!
//! One task owns the consumer and its partitions: it assigns one when its first board opens, and lets it go some time
//! after the last has closed. Nothing is committed, and nobody asks this consumer for anything but records: behind an
//! outstanding fetch an answer would be late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{Consumer as _, ConsumerContext, StreamConsumer};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::backfill::Backfill;
use super::producer::Edits;
use super::settings::KafkaSettings;
use super::standstill::watch_reader;
use super::tails::Tails;
use super::{KafkaError, payload, tell};
use crate::telemetry;

/// Between two looks for partitions that nobody reads any more.
const SWEEP: Duration = Duration::from_secs(1);

/// Starts to read; ends when the guard is dropped.
pub(super) fn start(
    settings: &KafkaSettings,
    epoch: u64,
    edits: Arc<Edits>,
    received: Received,
) -> Result<(Tails, DropGuard), KafkaError> {
    let watch = Watch(received);
    let consumer: StreamConsumer<Watch> = StreamConsumer::from_config_and_context(&settings.fan_out(), watch)?;
    let tails = Tails::new(epoch, Backfill::new(settings, epoch), edits.travelling());
    let stop = CancellationToken::new();
    let fan_out = FanOut {
        topic: settings.edits_topic(),
        consumer,
        tails: tails.clone(),
        edits: Arc::clone(&edits),
    };
    tokio::spawn(fan_out.run(stop.clone()));
    tokio::spawn(watch_reader(tails.clone(), edits, stop.clone()));
    Ok((tails, stop.drop_guard()))
}

struct FanOut {
    topic: String,
    consumer: StreamConsumer<Watch>,
    tails: Tails,
    edits: Arc<Edits>,
}

impl FanOut {
    async fn run(self, stop: CancellationToken) {
        let mut sweep = tokio::time::interval(SWEEP);
        let mut records = self.consumer.stream();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.tails.wanted() => self.assign(),
                _ = sweep.tick() => self.unassign(&self.tails.sweep()),
                Some(outcome) = records.next() => match outcome {
                    Ok(message) => self.publish(&message),
                    Err(error) => self.mind(&error).await,
                }
            }
            // The consumer's stream knows nothing of the other tasks of this worker.
            tokio::task::consume_budget().await;
        }
        drop(records);
        // Closing waits for the client's threads.
        tokio::task::spawn_blocking(move || drop(self.consumer));
    }

    fn publish(&self, message: &BorrowedMessage<'_>) {
        if let Ok(offset) = u64::try_from(message.offset()) {
            let key = message.key().unwrap_or_default();
            self.tails.publish(message.partition(), offset, key, payload(message));
        }
    }

    fn assign(&self) {
        let mut wanted = TopicPartitionList::new();
        for (partition, from, is_again) in self.tails.to_assign() {
            if is_again {
                self.unassign(&[partition]);
            }
            let from = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
            let added = wanted.add_partition_offset(&self.topic, partition, from);
            added.expect("an offset of the topic is one");
        }
        if wanted.count() == 0 {
            return;
        }
        if let Err(error) = self.consumer.incremental_assign(&wanted) {
            tracing::error!(%error, "Partitions could not be assigned; their boards are opened anew.");
            for partition in wanted.elements().iter().map(TopicPartitionListElem::partition) {
                // One of them may be assigned already, and would be in the way for ever.
                self.unassign(&[partition]);
                self.tails.lose(partition);
            }
        }
        self.count();
    }

    fn unassign(&self, partitions: &[i32]) {
        if partitions.is_empty() {
            return;
        }
        let mut unwanted = TopicPartitionList::new();
        for partition in partitions {
            unwanted.add_partition(&self.topic, *partition);
            lag(*partition, 0);
        }
        if let Err(error) = self.consumer.incremental_unassign(&unwanted) {
            tracing::warn!(%error, "Partitions could not be unassigned.");
        }
        self.count();
    }

    async fn mind(&self, error: &ClientError) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AutoOffsetReset) {
            tracing::warn!(%error, "The reader of the log had a fault and goes on.");
            return;
        }
        // Which partition it is, the error does not say; it is read no further until it is assigned anew.
        for (partition, next) in self.tails.standing() {
            let watermarks = self.edits.watermarks(partition).await;
            if watermarks.is_ok_and(|(low, high)| !(low..=high).contains(&next)) {
                tracing::error!(
                    log.partition = partition,
                    log.offset = next,
                    "The brokers no longer have what comes next."
                );
                self.unassign(&[partition]);
                self.tails.lose(partition);
            } else {
                self.tails.read_again(partition, next);
            }
        }
        self.assign();
    }

    fn count(&self) {
        let assigned = self.consumer.assignment().map_or(0, |assigned| assigned.count());
        #[expect(clippy::cast_precision_loss, reason = "a gauge of partitions")]
        metrics::gauge!(telemetry::KAFKA_ASSIGNED_PARTITIONS).set(assigned as f64);
    }
}

/// Records that the brokers have and this node has not read.
fn lag(partition: i32, records: i64) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge of records")]
    metrics::gauge!(telemetry::KAFKA_LAG, "feature" => "fanout", "partition" => partition.to_string())
        .set(records as f64);
}

/// Bytes of records that the brokers sent to the consumer, by its own count. A clone is the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Received(Arc<AtomicU64>);

impl Received {
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Hears what the consumer has to say.
struct Watch(Received);

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, subject: &str, message: &str) {
        tell(level, subject, message);
    }

    fn stats(&self, statistics: Statistics) {
        let bytes = u64::try_from(statistics.rxmsg_bytes).unwrap_or_default();
        self.0.0.store(bytes, Ordering::Relaxed);
        metrics::counter!(telemetry::KAFKA_READ_BYTES_TOTAL).absolute(bytes);
        for partition in statistics.topics.values().flat_map(|topic| topic.partitions.values()) {
            if partition.desired && partition.app_offset >= 0 && partition.hi_offset >= 0 {
                lag(partition.partition, (partition.hi_offset - partition.app_offset).max(0));
            }
        }
    }

    fn error(&self, error: ClientError, reason: &str) {
        tracing::warn!(%error, reason, "The reader of the log had a fault.");
    }
}

impl ConsumerContext for Watch {}
