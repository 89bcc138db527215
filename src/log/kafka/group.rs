//! This node's place in the group of those who share the partitions of edits among them, each read by one.
//!
//! Where reading begins is not the group's to say: whoever gets a partition is asked for the offset. Until that is
//! known the group waits, and polling goes on. What cannot be used goes to the dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::statistics::Statistics;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};

use super::lag::Lag;
use super::settings::KafkaSettings;
use super::{KafkaError, Quiet, is_known_format, tell, topics};
use crate::telemetry;

/// Of the group's consumer, beside what every reader is told. A node that is back within the session's time finds its
/// partitions as they were. Nobody waits for what it reads: brokers gather it, or each record would cost an answer.
const MEMBER: &[(&str, &str)] = &[
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("session.timeout.ms", "10000"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.min.bytes", "65536"),
    ("statistics.interval.ms", "5000"),
];
/// Bytes of a dead letter: the largest record, and what is said of it.
const LETTER_BYTES_MAX: &str = "13631488";
/// Patience with the brokers where the thread that polls waits for their answer.
const ENDS_TIMEOUT: Duration = Duration::from_secs(1);
/// How far the materialiser is behind: nothing, once a partition is another's.
const LAG: Lag = Lag("materialiser");

/// A value of the topic.
#[derive(Debug, Clone)]
pub struct Value {
    /// Where it lies.
    pub partition: i32,
    /// Its place there.
    pub kafka_offset: i64,
    /// Name of its board.
    pub key: Bytes,
    /// The record.
    pub bytes: Bytes,
    /// When it was sent, in ms since 1970.
    pub sent: i64,
    headers: OwnedHeaders,
}

impl Value {
    /// Whether its headers tell a format that this version reads.
    pub fn is_known_format(&self) -> bool {
        is_known_format(&self.headers)
    }
}

/// What went wrong while reading.
#[derive(Debug)]
pub enum Trouble {
    /// The brokers do not have the offset that was to be read next.
    OutOfRange,
    /// This member will never read again: another one came under its name, or the brokers refuse it.
    Lost(String),
    /// Anything else; the client goes on by itself.
    Passing(String),
}

/// Partitions that a node stores, as the group has shared them out.
pub type Held = Arc<Mutex<BTreeSet<i32>>>;

/// A member of the group. To be used by one thread, which polls all the time.
pub struct Group {
    consumer: BaseConsumer<Member>,
    letters: FutureProducer<Quiet>,
    member: Arc<Shared>,
    edits: String,
    dead: String,
}

#[derive(Default)]
struct Shared {
    /// Partitions that were given to this node, and whose offsets are not known yet.
    waiting: Mutex<TopicPartitionList>,
    taken: Mutex<Vec<i32>>,
    held: Held,
    /// Where partitions ended when that was last asked: the consumer hears it with what it fetches only.
    ends: Mutex<BTreeMap<i32, i64>>,
    is_leaving: AtomicBool,
}

/// What the group tells this member.
struct Member(Arc<Shared>);

impl Group {
    /// Joins; the partitions come while polling, and are noted in `held`.
    pub fn join(settings: &KafkaSettings, held: &Held) -> Result<Self, KafkaError> {
        let mut config = settings.reader("materialiser");
        for (name, value) in MEMBER {
            config.set(*name, *value);
        }
        config.set("group.id", settings.storing_group());
        if let Some(address) = &settings.address {
            // Where `placement.rs` looks for it.
            config.set("client.id", format!("{} {address}", settings.node));
        }
        config.set("group.instance.id", &settings.node);
        let member = Arc::new(Shared {
            held: Arc::clone(held),
            ..Shared::default()
        });
        let consumer = BaseConsumer::from_config_and_context(&config, Member(Arc::clone(&member)))?;
        let edits = settings.topic(topics::EDITS);
        consumer.subscribe(&[&edits])?;
        let mut config = settings.letters();
        config.set("message.max.bytes", LETTER_BYTES_MAX);
        Ok(Self {
            consumer,
            letters: FutureProducer::from_config_and_context(&config, Quiet)?,
            member,
            edits,
            dead: settings.topic(topics::LETTERS),
        })
    }

    /// The next value, if one comes in that time.
    pub fn poll(&self, patience: Duration) -> Result<Option<Value>, Trouble> {
        match self.consumer.poll(patience) {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(value(&message))),
            Some(Err(error)) if self.consumer.client().fatal_error().is_some() => Err(Trouble::Lost(error.to_string())),
            Some(Err(error)) => Err(match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset) => Trouble::OutOfRange,
                _ => Trouble::Passing(error.to_string()),
            }),
        }
    }

    /// Partitions that wait for [`Group::begin`].
    pub fn waiting(&self) -> Vec<i32> {
        partitions(&self.member.waiting.lock())
    }

    /// Partitions that are another's now, each told once.
    pub fn taken(&self) -> Vec<i32> {
        std::mem::take(&mut *self.member.taken.lock())
    }

    /// Partitions that this node reads.
    pub fn held(&self) -> Vec<i32> {
        self.member.held.lock().iter().copied().collect()
    }

    /// Reads the waiting partitions from these offsets. Not to be called during a pause, which they would not keep.
    pub fn begin(&self, start: impl Fn(i32) -> i64) -> Result<(), KafkaError> {
        let waiting = std::mem::take(&mut *self.member.waiting.lock());
        let partitions = partitions(&waiting);
        let list = self.list(&partitions, |partition| Offset::Offset(start(partition)))?;
        // One that was taken during a pause comes back with it: the client keeps it over assignments.
        self.consumer.resume(&self.list(&partitions, |_| Offset::Invalid)?)?;
        self.consumer.incremental_assign(&list)?;
        self.member.held.lock().extend(partitions);
        self.member.tell();
        Ok(())
    }

    /// Goes on reading a partition at another offset.
    pub fn seek(&self, partition: i32, kafka_offset: i64) -> Result<(), KafkaError> {
        let list = self.list(&[partition], |_| Offset::Offset(kafka_offset))?;
        self.consumer.incremental_unassign(&list)?;
        self.consumer.incremental_assign(&list)?;
        Ok(())
    }

    /// Offsets of the first value of a partition that is kept, and of the next one to come; tells how far `next` is
    /// behind. It is asked by another client, as the one that reads may stand still.
    pub fn ends(&self, partition: i32, next: i64) -> Result<(i64, i64), KafkaError> {
        let asking = self.letters.client();
        let (low, high) = asking.fetch_watermarks(&self.edits, partition, ENDS_TIMEOUT)?;
        self.member.ends.lock().insert(partition, high);
        LAG.set(partition, (high - next).max(0));
        Ok((low, high))
    }

    /// Reads nothing more until [`Group::resume`].
    pub fn pause(&self) -> Result<(), KafkaError> {
        Ok(self.consumer.pause(&self.list(&self.held(), |_| Offset::Invalid)?)?)
    }

    /// Reads on.
    pub fn resume(&self) -> Result<(), KafkaError> {
        Ok(self.consumer.resume(&self.list(&self.held(), |_| Offset::Invalid)?)?)
    }

    /// Tells the brokers how far this node is, for those who look there; nobody here reads it.
    pub fn note(&self, done: &[(i32, i64)]) {
        let mut list = TopicPartitionList::new();
        let added = done.iter().try_for_each(|(partition, next)| {
            list.add_partition_offset(&self.edits, *partition, Offset::Offset(*next))
        });
        let noted = added.and_then(|()| self.consumer.commit(&list, CommitMode::Async));
        if let Err(error) = noted {
            tracing::debug!(%error, "The group's offsets were not noted.");
        }
    }

    /// Puts a value among the dead letters; done when it is safe there. Where they take none of its size, only what is
    /// said of it is put there: the topic of edits has the value for a while, and nothing else may wait for it.
    pub async fn bury(&self, value: &Value, reason: &str) -> Result<(), KafkaError> {
        let sent = match self.send_letter(value, Some(&value.bytes), reason).await {
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                let reason = format!(
                    "{reason}; the value of {} bytes is left out: max.message.bytes of this topic is too small",
                    value.bytes.len()
                );
                tracing::warn!(reason, "A dead letter has no value.");
                self.send_letter(value, None, &reason).await
            }
            sent => sent,
        };
        Ok(sent?)
    }

    async fn send_letter(&self, value: &Value, bytes: Option<&Bytes>, reason: &str) -> Result<(), ClientError> {
        let (partition, kafka_offset) = (value.partition.to_string(), value.kafka_offset.to_string());
        let told = [
            ("dlq.topic", self.edits.as_str()),
            ("dlq.partition", &partition),
            ("dlq.offset", &kafka_offset),
            ("dlq.error", reason),
        ];
        let headers = told.into_iter().fold(value.headers.clone(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        });
        let mut letter = FutureRecord::to(&self.dead).key(value.key.as_ref()).headers(headers);
        letter.payload = bytes.map(|bytes| &bytes[..]);
        let sending = self.letters.send_result(letter).map_err(|(error, _)| error)?;
        let sent = sending.await.map_err(|_canceled| ClientError::Canceled)?;
        sent.map(drop).map_err(|(error, _)| error)
    }

    fn list(&self, partitions: &[i32], offset: impl Fn(i32) -> Offset) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(&self.edits, *partition, offset(*partition))?;
        }
        Ok(list)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let held = std::mem::take(&mut *self.member.held.lock());
        self.member.tell();
        for partition in held {
            LAG.set(partition, 0);
        }
        // The group waits for an answer: without one, the consumer would never end.
        self.member.is_leaving.store(true, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *self.member.waiting.lock());
        if waiting.count() > 0 {
            accept(&self.consumer, &waiting);
        }
    }
}

fn value(message: &BorrowedMessage<'_>) -> Value {
    let copied = |bytes: Option<&[u8]>| Bytes::copy_from_slice(bytes.unwrap_or_default());
    Value {
        partition: message.partition(),
        kafka_offset: message.offset(),
        key: copied(message.key()),
        bytes: copied(message.payload()),
        sent: message.timestamp().to_millis().unwrap_or_default(),
        headers: message.headers().map(BorrowedHeaders::detach).unwrap_or_default(),
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<i32> {
    list.elements()
        .iter()
        .map(rdkafka::topic_partition_list::TopicPartitionListElem::partition)
        .collect()
}

impl Shared {
    fn tell(&self) {
        #[expect(clippy::cast_precision_loss, reason = "a gauge of partitions")]
        metrics::gauge!(telemetry::MATERIALISER_PARTITIONS).set(self.held.lock().len() as f64);
    }
}

/// Takes partitions, if there are any, without reading them.
fn accept<C: ConsumerContext>(consumer: &BaseConsumer<C>, list: &TopicPartitionList) {
    if let Err(error) = consumer.incremental_assign(list) {
        tracing::warn!(%error, "Partitions could not be taken.");
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let member = &self.0;
        let is_leaving = member.is_leaving.load(Ordering::Relaxed);
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // Where there is nothing to ask for, an answer is due all the same.
            if is_leaving || list.count() == 0 {
                accept(consumer, list);
            } else {
                *member.waiting.lock() = list.clone();
            }
            return;
        }
        let waiting = std::mem::take(&mut *member.waiting.lock());
        if waiting.count() > 0 {
            accept(consumer, &waiting);
        }
        let taken = partitions(list);
        if let Err(error) = consumer.incremental_unassign(list) {
            tracing::warn!(%error, "Partitions could not be given back.");
        }
        if is_leaving {
            // What is held is another member's of this node by now.
            return;
        }
        member.held.lock().retain(|partition| !taken.contains(partition));
        for partition in &taken {
            LAG.set(*partition, 0);
        }
        tracing::info!(?taken, "Partitions went to another node.");
        member.taken.lock().extend(taken);
        member.tell();
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, subject: &str, message: &str) {
        tell(level, subject, message);
    }

    fn stats(&self, statistics: Statistics) {
        let (held, ends) = (self.0.held.lock(), self.0.ends.lock());
        for partition in statistics.topics.values().flat_map(|topic| topic.partitions.values()) {
            let asked = ends.get(&partition.partition).copied().unwrap_or_default();
            let end = partition.hi_offset.max(asked);
            if held.contains(&partition.partition) && partition.app_offset >= 0 && end >= 0 {
                LAG.set(partition.partition, (end - partition.app_offset).max(0));
            }
        }
    }

    fn error(&self, error: ClientError, reason: &str) {
        tracing::warn!(%error, reason, "The materialiser's client had a fault; it goes on.");
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers as _;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;
    use rdkafka::types::RDKafkaApiKey;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn imitated() -> (MockCluster<'static, DefaultProducerContext>, KafkaSettings) {
        let brokers = MockCluster::new(1).unwrap();
        let settings = KafkaSettings::imitated(&brokers, 1);
        for topic in [topics::EDITS, topics::LETTERS] {
            brokers.create_topic(&settings.topic(topic), 1, 1).unwrap();
        }
        (brokers, settings)
    }

    fn poll(group: &Group) -> Option<Value> {
        let value = group.poll(Duration::from_millis(20)).unwrap();
        if !group.waiting().is_empty() {
            group.begin(|_| 0).unwrap();
        }
        value
    }

    #[tokio::test]
    async fn where_a_partition_ends_is_known_though_its_consumer_stands_still() {
        let (brokers, settings) = imitated();
        let group = Group::join(&settings, &Held::default()).unwrap();
        while group.held().is_empty() {
            poll(&group);
        }
        // The broker sends the consumer to one that is not there.
        brokers.partition_follower(&settings.edits_topic(), 0, 7).unwrap();
        let producer: FutureProducer = settings.letters().create().unwrap();
        for _ in 0..3 {
            let record = FutureRecord::<[u8], [u8]>::to(&group.edits).partition(0);
            producer.send_result(record).unwrap().await.unwrap().unwrap();
        }
        assert!((0..20).all(|_| poll(&group).is_none()));
        assert_eq!(group.ends(0, 0).unwrap(), (0, 3));
        assert_eq!(group.member.ends.lock().get(&0), Some(&3));
    }

    #[tokio::test]
    async fn a_letter_that_is_too_large_is_written_without_its_value() {
        let (brokers, settings) = imitated();
        let group = Group::join(&settings, &Held::default()).unwrap();
        let value = Value {
            partition: 0,
            kafka_offset: 4,
            key: Bytes::from("maths"),
            bytes: Bytes::from("record"),
            sent: 0,
            headers: OwnedHeaders::new(),
        };
        let too_large = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
        brokers.request_errors(RDKafkaApiKey::Produce, &[too_large]);
        group.bury(&value, "broken").await.unwrap();
        let consumer: BaseConsumer = settings.reader("letters").create().unwrap();
        let mut letters = TopicPartitionList::new();
        letters.add_partition_offset(&group.dead, 0, Offset::Beginning).unwrap();
        consumer.assign(&letters).unwrap();
        let letter = consumer.poll(SOON).unwrap().unwrap();
        assert_eq!((letter.key(), letter.payload()), (Some(&b"maths"[..]), None));
        let mut headers = letter.headers().unwrap().iter();
        let reason = headers.find(|header| header.key == "dlq.error").unwrap();
        let reason = str::from_utf8(reason.value.unwrap()).unwrap();
        assert!(
            reason.starts_with("broken; the value of 6 bytes is left out"),
            "{reason}"
        );
    }
}
