//! Whether the topic of edits is the one that a database was filled from.
//!
//! Kafka has an id for that, which rdkafka has no call to ask for. So the last record that was stored of each partition
//! tells it: in another life of the topic, another one lies in its place.

use std::collections::BTreeMap;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::Message as _;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::producer::Edits;
use super::settings::KafkaSettings;
use super::{ASK_TIMEOUT, KafkaError, Quiet};
use crate::telemetry;

/// How much of a partition a database has.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// Which one.
    pub partition: i32,
    /// The offset behind the last record.
    pub next: u64,
    /// When that record was sent, in ms since 1970, if that is known.
    pub sent: Option<i64>,
}

/// Fails where the topic cannot be the one that this was stored from.
pub(super) async fn check(settings: &KafkaSettings, edits: &Edits, stored: &[Stored]) -> Result<(), KafkaError> {
    let topic = settings.edits_topic();
    let unreachable = |why| KafkaError::Unreachable {
        brokers: settings.brokers.clone(),
        why,
    };
    let mut last = BTreeMap::new();
    for Stored { partition, next, sent } in stored.iter().filter(|stored| stored.next > 0) {
        let watermarks = edits.watermarks(*partition).await;
        let (low, end) = watermarks.map_err(|error| unreachable(error.to_string()))?;
        compare(&topic, *partition, *next, low, end)?;
        // The topic may have forgotten it meanwhile.
        if let Some(sent) = sent.filter(|_| low < *next) {
            let offset = i64::try_from(next - 1).unwrap_or(i64::MAX);
            last.insert(*partition, (offset, sent));
        }
    }
    let of = settings.clone();
    let reading = tokio::task::spawn_blocking(move || replaced(&of, last)).await;
    let found = reading.unwrap_or(Err(ClientError::Canceled));
    match found.map_err(|error| unreachable(error.to_string()))? {
        Some((partition, offset)) => Err(made_anew(&format!(
            "{topic} has another record at {offset} of partition {partition} than the database"
        ))),
        None => Ok(()),
    }
}

/// Holds what a database has of a partition against what the topic has: offsets from `low` up to `end`.
fn compare(topic: &str, partition: i32, next: u64, low: u64, end: u64) -> Result<(), KafkaError> {
    if next > end {
        return Err(made_anew(&format!(
            "{topic} ends at {end} in partition {partition}, but the database has its records up to {next}"
        )));
    }
    if next < low {
        // The node starts all the same: what is lost is lost, and the boards of other partitions are whole.
        metrics::counter!(telemetry::MATERIALISER_HOLES_TOTAL).increment(1);
        tracing::error!(
            log.partition = partition,
            log.offset = next,
            "The topic begins at {low} only: it has lost records before they were stored; their partition stands still."
        );
    }
    Ok(())
}

fn made_anew(what: &str) -> KafkaError {
    KafkaError::Topic(format!(
        "topic {what}: it was made anew; bring the old one back, or use another --kafka-prefix and an empty database"
    ))
}

/// Partition and offset of a record that was not sent at its time; `last` has offset and time by partition.
fn replaced(settings: &KafkaSettings, mut last: BTreeMap<i32, (i64, i64)>) -> Result<Option<(i32, i64)>, ClientError> {
    if last.is_empty() {
        return Ok(None);
    }
    let topic = settings.edits_topic();
    let consumer: BaseConsumer<Quiet> = BaseConsumer::from_config_and_context(&settings.reader("lineage"), Quiet)?;
    let mut wanted = TopicPartitionList::new();
    for (partition, (offset, _)) in &last {
        wanted.add_partition_offset(&topic, *partition, Offset::Offset(*offset))?;
    }
    consumer.assign(&wanted)?;
    let deadline = Instant::now() + ASK_TIMEOUT;
    let mut fault = ClientError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
    while !last.is_empty() {
        let patience = deadline.saturating_duration_since(Instant::now());
        if patience.is_zero() {
            return Err(fault);
        }
        let message = match consumer.poll(patience) {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                // One broker that is away says nothing of those that lead the partitions.
                fault = error;
                continue;
            }
            None => continue,
        };
        let Some((offset, sent)) = last.remove(&message.partition()) else {
            continue;
        };
        // Where the topic has forgotten it meanwhile, this is a later one.
        if message.offset() == offset && message.timestamp().to_millis().unwrap_or_default() != sent {
            return Ok(Some((message.partition(), offset)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn records_that_were_lost_before_they_were_stored_are_told_and_no_reason_against_a_start() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let holes = |next, low, end| {
            metrics::with_local_recorder(&recorder, || compare("edits", 3, next, low, end)).unwrap();
            recorder.handle().render().contains("panseo_materialiser_holes_total 1")
        };
        assert!(!holes(5, 5, 9));
        assert!(!holes(0, 0, 0));
        assert!(holes(4, 5, 9));
        let line = compare("edits", 3, 10, 5, 9).unwrap_err().to_string();
        assert!(line.contains("ends at 9 in partition 3"), "{line}");
    }
}
