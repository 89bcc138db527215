//! What the bare client does on these brokers, with the settings of a node: the bar that `panseo bench cluster` holds the
//! nodes against.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::settings::KafkaSettings;
use super::{ASK_TIMEOUT, KafkaError, Quiet};

/// How long records took, from the moment each was given to the producer.
#[derive(Debug, Default)]
pub struct Passages {
    /// Until its delivery report.
    pub reported: Vec<Duration>,
    /// Until it was read again.
    pub read: Vec<Duration>,
}

/// A topic of its own, made for the while.
pub struct Probe {
    settings: KafkaSettings,
    admin: AdminClient<Quiet>,
    topic: String,
    partitions: i32,
}

impl Probe {
    /// Makes the topic.
    pub async fn make(settings: &KafkaSettings, partitions: u32) -> Result<Self, KafkaError> {
        let probe = Self {
            settings: settings.clone(),
            admin: AdminClient::from_config_and_context(&settings.admin(), Quiet)?,
            topic: format!("{}.probe-{}", settings.prefix, Uuid::now_v7()),
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
        };
        let copies = TopicReplication::Fixed(i32::try_from(settings.replication).unwrap_or(i32::MAX));
        let wanted = [NewTopic::new(&probe.topic, probe.partitions, copies)];
        probe.admin.create_topics(&wanted, &options()).await?;
        Ok(probe)
    }

    /// Sends `count` records of so many bytes at a steady rate, over all partitions in turn, and reads them. One for each
    /// partition goes before and is not counted: it waits until the clients have met their brokers.
    pub async fn pass(&self, interval: Duration, count: usize, record_bytes: usize) -> Result<Passages, KafkaError> {
        let producer: FutureProducer<Quiet> = FutureProducer::from_config_and_context(&self.settings.edits(), Quiet)?;
        let consumer = self.consumer(&producer).await?;
        for partition in 0..self.partitions {
            let first = FutureRecord::<(), [u8]>::to(&self.topic)
                .partition(partition)
                .payload(&[]);
            let report = producer.send_result(first).map_err(|(error, _record)| error)?;
            report.await.ok();
            tokio::time::timeout(ASK_TIMEOUT, consumer.recv()).await.ok();
        }
        let sent: Arc<parking_lot::Mutex<HashMap<usize, Instant>>> = Arc::default();
        let (times, begun) = (Arc::clone(&sent), Instant::now());
        let reading = tokio::spawn(async move {
            let mut read = Vec::with_capacity(count);
            let mut records = consumer.stream();
            while read.len() < count
                && let Ok(Some(record)) = tokio::time::timeout(ASK_TIMEOUT, records.next()).await
            {
                let number = record.ok().and_then(|record| number_of(record.payload()?));
                read.extend(
                    number
                        .and_then(|number| times.lock().remove(&number))
                        .map(|since| since.elapsed()),
                );
            }
            read
        });
        let mut reports = JoinSet::new();
        let mut payload = vec![7; record_bytes.max(size_of::<usize>())];
        for number in 0..count {
            sleep_until(begun + interval * u32::try_from(number).unwrap_or(u32::MAX)).await;
            payload[..size_of::<usize>()].copy_from_slice(&number.to_le_bytes());
            let since = Instant::now();
            sent.lock().insert(number, since);
            let partition = i32::try_from(number).unwrap_or_default() % self.partitions;
            let record = FutureRecord::<(), _>::to(&self.topic)
                .partition(partition)
                .payload(&payload);
            let report = producer.send_result(record).map_err(|(error, _record)| error)?;
            reports.spawn(async move { report.await.is_ok_and(|report| report.is_ok()).then(|| since.elapsed()) });
        }
        let reported = reports.join_all().await.into_iter().flatten().collect();
        let read = reading.await.unwrap_or_default();
        Ok(Passages { reported, read })
    }

    /// Removes the topic.
    pub async fn end(self) -> Result<(), KafkaError> {
        self.admin.delete_topics(&[&self.topic], &options()).await?;
        Ok(())
    }

    /// Reads all partitions from their present ends.
    async fn consumer(&self, producer: &FutureProducer<Quiet>) -> Result<StreamConsumer<Quiet>, KafkaError> {
        let deadline = Instant::now() + ASK_TIMEOUT;
        let mut all = TopicPartitionList::new();
        for partition in 0..self.partitions {
            let end = loop {
                let ask = || producer.client().fetch_watermarks(&self.topic, partition, ASK_TIMEOUT);
                match tokio::task::block_in_place(ask) {
                    Ok((_, end)) => break end,
                    // The brokers have not heard of the new topic yet.
                    Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
                    Err(error) => return Err(error.into()),
                }
            };
            all.add_partition_offset(&self.topic, partition, Offset::Offset(end))?;
        }
        let consumer: StreamConsumer<Quiet> = StreamConsumer::from_config_and_context(&self.settings.fan_out(), Quiet)?;
        consumer.assign(&all)?;
        Ok(consumer)
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(ASK_TIMEOUT))
}

fn number_of(payload: &[u8]) -> Option<usize> {
    Some(usize::from_le_bytes(payload.first_chunk().copied()?))
}
