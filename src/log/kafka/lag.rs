//! How far a reader is behind, and what else a consumer of the relay says of itself.

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::statistics::Statistics;

use super::tell;
use crate::telemetry;

/// Hears a consumer, and tells how far it is behind under this name.
pub(super) struct Lag(pub(super) &'static str);

impl Lag {
    /// Tells how many records of a partition the brokers have and this node has not read.
    pub(super) fn set(&self, partition: i32, records: i64) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge of records")]
        metrics::gauge!(telemetry::KAFKA_LAG, "feature" => self.0, "partition" => partition.to_string())
            .set(records as f64);
    }
}

impl ClientContext for Lag {
    fn log(&self, level: RDKafkaLogLevel, subject: &str, message: &str) {
        tell(level, subject, message);
    }

    fn stats(&self, statistics: Statistics) {
        for partition in statistics.topics.values().flat_map(|topic| topic.partitions.values()) {
            if partition.desired && partition.hi_offset >= 0 {
                // Before the first record it is at the end, where it began.
                let read = if partition.app_offset >= 0 {
                    partition.app_offset
                } else {
                    partition.hi_offset
                };
                self.set(partition.partition, (partition.hi_offset - read).max(0));
            }
        }
    }

    fn error(&self, error: ClientError, reason: &str) {
        tracing::warn!(%error, reason, feature = self.0, "A reader of the relay had a fault; it goes on.");
    }
}

impl ConsumerContext for Lag {}
