//! Notices of changed rights: one partition, which every node reads whole.
//!
//! A node reads from the end that the topic has when it starts. What lies before that is in the database already, where
//! it was written first, and is read from there afterwards: so nothing falls between the two. A reader of which nothing
//! comes though the topic has more is read anew from where it stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::{BorrowedMessage, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::lag::Lag;
use super::producer::FORMAT;
use super::settings::KafkaSettings;
use super::standstill::{Again, LOOK_EVERY, Looks};
use super::{ASK_TIMEOUT, KafkaError, Quiet, topics};
use crate::log::LogError;
use crate::protocol::codec;
use crate::protocol::notice::Notice;
use crate::telemetry;

/// The only partition.
const PARTITION: i32 = 0;
/// Notices on their way to the brokers; more means that these have been away for long.
const WAITING_MAX: usize = 10_000;
/// Notices that are read ahead. Reading waits for those who carry them out: none is left out.
const READ_MAX: usize = 256;
/// Between two attempts to reach the brokers.
const RETRY: Duration = Duration::from_millis(500);
/// Patience with the brokers at the start.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Both directions of the topic.
pub(super) struct Control {
    topic: Arc<str>,
    producer: FutureProducer<Quiet>,
    waiting: Arc<AtomicUsize>,
    notices: Mutex<Option<mpsc::Receiver<Notice>>>,
    again: Again,
    _reading: DropGuard,
}

impl Control {
    /// Starts to read at the end that the topic has now.
    pub(super) async fn start(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let topic: Arc<str> = settings.topic(topics::CONTROL).into();
        let producer = FutureProducer::from_config_and_context(&settings.control(), Quiet)?;
        let consumer: StreamConsumer<Lag> =
            StreamConsumer::from_config_and_context(&settings.relay("control"), Lag("control"))?;
        let again = Again::default();
        let mut reader = Reader {
            topic: Arc::clone(&topic),
            consumer: Arc::new(consumer),
            asking: producer.clone(),
            next: 0,
            looks: Looks::default(),
            again: again.clone(),
        };
        reader.assign(reader.first_end(&settings.brokers).await?)?;
        let (read, notices) = mpsc::channel(READ_MAX);
        let stop = CancellationToken::new();
        tokio::spawn(reader.run(read, stop.clone()));
        Ok(Self {
            topic,
            producer,
            waiting: Arc::default(),
            notices: Mutex::new(Some(notices)),
            again,
            _reading: stop.drop_guard(),
        })
    }

    /// See [`crate::log::Relay::notices`].
    pub(super) fn notices(&self) -> Option<mpsc::Receiver<Notice>> {
        self.notices.lock().take()
    }

    /// How often the notices were read anew.
    pub(super) fn read_again(&self) -> u64 {
        self.again.number()
    }

    /// See [`crate::log::Relay::tell`].
    pub(super) fn tell(&self, notice: &Notice) -> BoxFuture<'static, Result<(), LogError>> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            let refused = LogError::Failed("too many notices wait for the brokers".into());
            return std::future::ready(Err(refused)).boxed();
        }
        let (safe, is_safe) = oneshot::channel();
        let (topic, producer, waiting) = (
            Arc::clone(&self.topic),
            self.producer.clone(),
            Arc::clone(&self.waiting),
        );
        let (key, value) = (notice.key().to_owned(), codec::pack(notice));
        // By itself: who changed a right does not wait for as long as the brokers may be away.
        tokio::spawn(async move {
            while let Err(error) = send(&producer, &topic, &key, &value).await {
                tracing::warn!(%error, "A notice was not taken by the brokers; it is sent again.");
                tokio::time::sleep(RETRY).await;
            }
            waiting.fetch_sub(1, Ordering::Relaxed);
            // Nobody may wait any more.
            _ = safe.send(());
        });
        async move { is_safe.await.map_err(|_ended| LogError::Closed) }.boxed()
    }
}

async fn send(producer: &FutureProducer<Quiet>, topic: &str, key: &str, value: &[u8]) -> Result<(), ClientError> {
    let headers = OwnedHeaders::new().insert(Header {
        key: "v",
        value: Some(FORMAT),
    });
    let record = FutureRecord::to(topic)
        .partition(PARTITION)
        .key(key)
        .payload(value)
        .headers(headers);
    let sending = producer.send_result(record).map_err(|(error, _)| error)?;
    let sent = sending.await.map_err(|_canceled| ClientError::Canceled)?;
    sent.map(drop).map_err(|(error, _)| error)
}

struct Reader {
    topic: Arc<str>,
    consumer: Arc<StreamConsumer<Lag>>,
    /// Asks the brokers: behind an outstanding fetch, or where the consumer stands still, it would wait for that.
    asking: FutureProducer<Quiet>,
    /// Offset of the notice that comes next.
    next: i64,
    looks: Looks,
    again: Again,
}

impl Reader {
    /// Offsets of the first notice that is kept, and of the next one to come.
    async fn ends(&self) -> Result<(i64, i64), ClientError> {
        let (asking, topic) = (self.asking.clone(), Arc::clone(&self.topic));
        let asked = move || asking.client().fetch_watermarks(&topic, PARTITION, ASK_TIMEOUT);
        let asked = tokio::task::spawn_blocking(asked);
        asked.await.map_err(|_panic| ClientError::Canceled)?
    }

    /// The end of the topic when a node starts. A broker may hear of a new topic some time after it was made.
    async fn first_end(&self, brokers: &str) -> Result<i64, KafkaError> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match self.ends().await {
                Ok((_, end)) => return Ok(end),
                Err(error) if Instant::now() >= deadline => {
                    let (brokers, why) = (brokers.to_owned(), error.to_string());
                    return Err(KafkaError::Unreachable { brokers, why });
                }
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    fn assign(&mut self, from: i64) -> Result<(), ClientError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, PARTITION, Offset::Offset(from))?;
        self.consumer.assign(&list)?;
        self.next = from;
        Ok(())
    }

    async fn run(mut self, read: mpsc::Sender<Notice>, stop: CancellationToken) {
        let consumer = Arc::clone(&self.consumer);
        let mut records = consumer.stream();
        let mut look = tokio::time::interval(LOOK_EVERY);
        // After a long wait for those who carry out notices, what has come meanwhile is read first.
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let outcome = tokio::select! {
                () = stop.cancelled() => break,
                Some(outcome) = records.next() => outcome,
                _ = look.tick() => {
                    self.look().await;
                    continue;
                }
            };
            let notice = match outcome {
                Ok(message) => {
                    self.next = message.offset() + 1;
                    notice(&message)
                }
                Err(error) => self.mind(&error).await,
            };
            if let Some(notice) = notice
                && read.send(notice).await.is_err()
            {
                break;
            }
        }
        drop(records);
        // Closing waits for the client's threads.
        tokio::task::spawn_blocking(move || drop((self, consumer)));
    }

    /// Reads anew where nothing comes though the brokers have more. From where it stands: no notice may be left out.
    async fn look(&mut self) {
        let next = self.next;
        if !self.looks.has_stood(PARTITION, next.unsigned_abs()) {
            return;
        }
        let is_behind = self.ends().await.is_ok_and(|(_, end)| next < end);
        if self.looks.stuck(PARTITION, is_behind).is_none() {
            return;
        }
        tracing::warn!(
            log.offset = next,
            "No notice came though the brokers have more; they are read anew."
        );
        self.again.count();
        if let Err(error) = self.assign(next) {
            tracing::warn!(%error, "The partition of notices could not be assigned anew; it is tried again.");
        }
    }

    /// Where the topic no longer has what comes next, reading goes on with what it has.
    async fn mind(&mut self, error: &ClientError) -> Option<Notice> {
        tracing::warn!(%error, "The reader of notices had a fault and goes on.");
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AutoOffsetReset) {
            return None;
        }
        loop {
            let again = match self.ends().await {
                Ok((_, end)) => self.assign(end),
                Err(error) => Err(error),
            };
            match again {
                Ok(()) => return Some(Notice::Missed),
                Err(error) => tracing::warn!(%error, "The topic of notices does not say where it ends."),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

fn notice(message: &BorrowedMessage<'_>) -> Option<Notice> {
    match codec::unpack(message.payload().unwrap_or_default()) {
        Ok(notice) => Some(notice),
        Err(error) => {
            tracing::warn!(%error, "A notice cannot be read and is left out.");
            metrics::counter!(telemetry::RELAY_DROPS_TOTAL, "feature" => "control", "reason" => "malformed")
                .increment(1);
            None
        }
    }
}
