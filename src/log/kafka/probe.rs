//! What the bare client does on these brokers, with the settings of a node: the bar that `panseo bench cluster` holds the
//! nodes against.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{ClientConfig, Offset};
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

/// Sends `count` records of so many bytes through a topic of its own, at a steady rate, and reads them.
pub async fn probe(
    settings: &KafkaSettings,
    interval: Duration,
    count: usize,
    record_bytes: usize,
) -> Result<Passages, KafkaError> {
    let topic = format!("{}.probe-{}", settings.prefix, Uuid::now_v7());
    let admin: AdminClient<Quiet> = AdminClient::from_config_and_context(&settings.admin(), Quiet)?;
    let partitions = i32::try_from(settings.partitions).unwrap_or(i32::MAX);
    let copies = TopicReplication::Fixed(i32::try_from(settings.replication).unwrap_or(i32::MAX));
    let wanted = [NewTopic::new(&topic, partitions, copies)];
    let options = AdminOptions::new().operation_timeout(Some(ASK_TIMEOUT));
    admin.create_topics(&wanted, &options).await?;
    let passages = pass(settings, &topic, partitions, (interval, count, record_bytes)).await;
    admin.delete_topics(&[&topic], &options).await?;
    passages
}

async fn pass(
    settings: &KafkaSettings,
    topic: &str,
    partitions: i32,
    (interval, count, record_bytes): (Duration, usize, usize),
) -> Result<Passages, KafkaError> {
    let producer = warm(&settings.edits(), topic).await?;
    let consumer: StreamConsumer<Quiet> = StreamConsumer::from_config_and_context(&settings.fan_out(), Quiet)?;
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions {
        all.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
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
        let partition = i32::try_from(number).unwrap_or_default() % partitions;
        let record = FutureRecord::<(), _>::to(topic).partition(partition).payload(&payload);
        let report = producer.send_result(record).map_err(|(error, _record)| error)?;
        reports.spawn(async move { report.await.is_ok_and(|report| report.is_ok()).then(|| since.elapsed()) });
    }
    let reported = reports.join_all().await.into_iter().flatten().collect();
    let read = reading.await.unwrap_or_default();
    Ok(Passages { reported, read })
}

/// A producer that has met its brokers and the new topic.
async fn warm(config: &ClientConfig, topic: &str) -> Result<FutureProducer<DefaultClientContext>, KafkaError> {
    let producer: FutureProducer<DefaultClientContext> =
        FutureProducer::from_config_and_context(config, DefaultClientContext)?;
    let deadline = Instant::now() + ASK_TIMEOUT;
    loop {
        let metadata = tokio::task::block_in_place(|| producer.client().fetch_metadata(Some(topic), ASK_TIMEOUT))?;
        if metadata.topics().iter().all(|topic| topic.error().is_none()) || Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The first record waits for the producer's id.
    let first = FutureRecord::<(), [u8]>::to(topic).partition(0).payload(&[]);
    let report = producer.send_result(first).map_err(|(error, _record)| error)?;
    report.await.ok();
    Ok(producer)
}

fn number_of(payload: &[u8]) -> Option<usize> {
    Some(usize::from_le_bytes(payload.first_chunk().copied()?))
}
