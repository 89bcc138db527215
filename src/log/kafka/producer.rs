//! The way into the topic of edits.
//!
//! Every append is kept here, in the order of calls, until its delivery report has come. So a full queue only makes the
//! rest wait (`kafka/waiting.rs`), and a producer that has failed or stands still is replaced by another one which sends
//! all of them again, in order. What the brokers may then have twice has one record id, and readers count it once.
//!
//! One thread serves the delivery reports and replaces the producer. A delivery error always means a replacement: the
//! producer stops by itself at an error that would leave a hole, so nothing behind the failed record has been written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::asking::Asking;
use super::roundtrip::Travelling;
use super::settings::KafkaSettings;
use super::standstill::Oldest;
use super::waiting::Waiting;
use super::{ASK_TIMEOUT, KafkaError, tell};
use crate::log::LogError;
use crate::log::order::{Refusal, Unheard};
use crate::protocol::ids::{BoardId, Position};
use crate::protocol::limits::RECORD_BYTES_MAX;
use crate::protocol::{Record, RecordKind, codec};
use crate::telemetry;

/// Format of the records, told in the header `v`.
pub(super) const FORMAT: &str = "1";
/// Between two looks at what else is to be done than serving delivery reports.
const TURN: Duration = Duration::from_millis(50);
/// Before a producer that failed is replaced; doubled each time until a record comes through.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Patience with the brokers when the log is dropped.
const FLUSH_MAX: Duration = Duration::from_secs(10);
/// A node whose brokers have been away for this long is not ready.
const AWAY_MAX: Duration = Duration::from_secs(30);
/// Patience with the brokers at the start.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Patience with brokers that are away, when they are asked whether they are back.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

type Producer = BaseProducer<Reports>;

/// The producer of edits, whichever one it is now.
pub(super) struct Edits {
    shared: Arc<Shared>,
    asking: Asking,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    settings: KafkaSettings,
    topic: String,
    epoch: u64,
    unheard: Unheard,
    travelling: Travelling,
    state: Mutex<State>,
    /// Since when no broker answers.
    away: Mutex<Option<Instant>>,
    is_closing: AtomicBool,
}

#[derive(Default)]
struct State {
    /// None before the first and after the last.
    producer: Option<Arc<Producer>>,
    generation: u64,
    has_failed: bool,
    /// Whether a record came through since the last replacement.
    has_delivered: bool,
    /// Appends without a delivery report, by their number.
    unreported: BTreeMap<usize, Append>,
    next_number: usize,
    waiting: Waiting,
}

impl State {
    /// Takes an append out: nothing waits that is not among the unreported.
    fn take(&mut self, number: usize) -> Option<Append> {
        let append = self.unreported.remove(&number)?;
        self.waiting.remove(append.partition, number);
        Some(append)
    }

    /// Another producer has none of what the last one did not deliver.
    fn wait_again(&mut self) {
        self.waiting = Waiting::default();
        for (number, append) in &self.unreported {
            self.waiting.push(append.partition, *number);
        }
    }
}

struct Append {
    board: BoardId,
    partition: i32,
    payload: Vec<u8>,
    headers: [(&'static str, String); 5],
    since: Instant,
    /// Told without a position, if the brokers have the record and do not say where.
    answer: oneshot::Sender<Result<Option<Position>, Refusal>>,
}

/// Hears what one producer has to say.
struct Reports {
    generation: u64,
    shared: Arc<Shared>,
}

impl Edits {
    /// Makes a producer and the thread that serves it.
    pub(super) fn start(settings: &KafkaSettings, epoch: u64) -> Result<Self, KafkaError> {
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            topic: settings.edits_topic(),
            epoch,
            unheard: Unheard::default(),
            travelling: Travelling::default(),
            state: Mutex::default(),
            away: Mutex::default(),
            is_closing: AtomicBool::new(false),
        });
        shared.state.lock().producer = Some(make(&shared, 0)?);
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("kafka-edits".into())
            .spawn(move || serve(&serving))
            .map_err(KafkaError::Thread)?;
        Ok(Self {
            shared,
            asking: Asking::default(),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Lets the producer meet its brokers: the first record would wait half a second for that.
    pub(super) async fn warm_up(&self) -> Result<(), KafkaError> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let shared = Arc::clone(&self.shared);
            let metadata = ask(&self.shared, move |producer| {
                producer.client().fetch_metadata(Some(&shared.topic), ASK_TIMEOUT)
            });
            let why = match metadata.await {
                Ok(metadata) if metadata.topics().iter().all(|topic| topic.error().is_none()) => return Ok(()),
                // A broker may hear of a new topic some time after it was made.
                Ok(_) => format!("it does not know the topic {}", self.shared.topic),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= deadline {
                let brokers = self.shared.settings.brokers.clone();
                return Err(KafkaError::Unreachable { brokers, why });
            }
            tokio::time::sleep(TURN).await;
        }
    }

    /// Offsets of the first record of the partition that is kept, and of the next one to come.
    pub(super) async fn watermarks(&self, partition: i32) -> Result<(u64, u64), LogError> {
        self.shared.check_reachable()?;
        let question = watermarks(Arc::clone(&self.shared), partition);
        self.asking.ask(partition, question).await
    }

    /// Queues the record on return. Where a report was lost, the brokers may only say that they have it.
    pub(super) fn append(
        &self,
        board: &BoardId,
        partition: i32,
        record: &Record,
    ) -> BoxFuture<'static, Result<Option<Position>, LogError>> {
        let (answer, answered) = oneshot::channel();
        let since = Instant::now();
        self.shared.travelling.begin(record.id, since);
        let append = Append {
            board: board.clone(),
            partition,
            payload: codec::encode_record(record),
            headers: headers(record),
            since,
            answer,
        };
        self.shared.queue(append);
        async move {
            match answered.await {
                Ok(outcome) => outcome.map_err(Refusal::hear),
                Err(_dropped) => Err(LogError::Closed),
            }
        }
        .boxed()
    }

    /// Whether a broker answered within [`AWAY_MAX`].
    pub(super) fn is_reachable(&self) -> bool {
        self.shared.away.lock().is_none_or(|since| since.elapsed() < AWAY_MAX)
    }

    /// Records that are timed until they come back.
    pub(super) fn travelling(&self) -> Travelling {
        self.shared.travelling.clone()
    }

    /// Producers that failed or stood still, and were replaced.
    pub(super) fn replacements(&self) -> u64 {
        self.shared.state.lock().generation
    }

    /// Takes no more records, and waits for those on their way, [`FLUSH_MAX`] at most.
    pub(super) fn close(&self) {
        self.shared.is_closing.store(true, Ordering::Release);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("The thread of the Kafka producer panicked.");
        }
    }
}

async fn watermarks(shared: Arc<Shared>, partition: i32) -> Result<(u64, u64), LogError> {
    shared.check_reachable()?;
    let topic = shared.topic.clone();
    let (low, high) = ask(&shared, move |producer| {
        let deadline = Instant::now() + ASK_TIMEOUT;
        loop {
            match producer.client().fetch_watermarks(&topic, partition, ASK_TIMEOUT) {
                // The partition is with another broker since a moment ago.
                Err(error) if is_moving(&error) && Instant::now() < deadline => std::thread::sleep(TURN),
                outcome => return outcome,
            }
        }
    })
    .await?;
    match (u64::try_from(low), u64::try_from(high)) {
        (Ok(low), Ok(high)) => Ok((low, high)),
        _ => Err(LogError::Failed("the brokers know no end of the partition".into())),
    }
}

/// Asks the brokers something on a thread that may wait. Never the consumer's client: behind an outstanding fetch the
/// question would wait for it.
async fn ask<T: Send + 'static>(
    shared: &Arc<Shared>,
    question: impl FnOnce(&Producer) -> Result<T, ClientError> + Send + 'static,
) -> Result<T, LogError> {
    let producer = shared.state.lock().producer.clone().ok_or(LogError::Closed)?;
    let asked = tokio::task::spawn_blocking(move || question(&producer)).await;
    match asked {
        Ok(Ok(answer)) => {
            *shared.away.lock() = None;
            Ok(answer)
        }
        Ok(Err(error)) => Err(LogError::Away(error.to_string())),
        Err(_panic) => Err(LogError::Closed),
    }
}

fn make(shared: &Arc<Shared>, generation: u64) -> Result<Arc<Producer>, ClientError> {
    let reports = Reports {
        generation,
        shared: Arc::clone(shared),
    };
    let producer = Producer::from_config_and_context(&shared.settings.edits(), reports)?;
    Ok(Arc::new(producer))
}

/// The record's circumstances for whoever looks at the topic with other tools.
fn headers(record: &Record) -> [(&'static str, String); 5] {
    let kind = match record.kind {
        RecordKind::Op => "op",
        RecordKind::Update => "update",
        RecordKind::Undo => "undo",
        RecordKind::Redo => "redo",
        RecordKind::Purge => "purge",
    };
    [
        ("v", FORMAT.to_owned()),
        ("src", record.id.0.to_string()),
        ("seq", record.id.1.to_string()),
        ("t", record.time.0.to_string()),
        ("k", kind.to_owned()),
    ]
}

impl Shared {
    fn queue(&self, append: Append) {
        let mut state = self.state.lock();
        let size_bytes = append.payload.len();
        let error = if self.unheard.concerns(&append.board) {
            LogError::Failed("a record before it failed".into())
        } else if size_bytes > RECORD_BYTES_MAX {
            let max_bytes = RECORD_BYTES_MAX;
            LogError::TooLarge { size_bytes, max_bytes }
        } else if state.producer.is_none() || self.is_closing.load(Ordering::Acquire) {
            LogError::Closed
        } else {
            let number = state.next_number;
            state.next_number += 1;
            state.waiting.push(append.partition, number);
            state.unreported.insert(number, append);
            return self.send(&mut state);
        };
        self.refuse(append, error);
    }

    fn refuse(&self, append: Append, error: LogError) {
        let refusal = self.unheard.refuse(&append.board, error);
        // An author that is gone has heard: the refusal is dropped with it.
        drop(append.answer.send(Err(refusal)));
    }

    /// Hands over what the producer has not taken, as far as it takes it.
    fn send(&self, state: &mut State) {
        if state.has_failed {
            return;
        }
        let Some(producer) = state.producer.clone() else { return };
        while let Some(number) = state.waiting.next() {
            let Some(append) = state.unreported.get(&number) else {
                return;
            };
            let headers = append
                .headers
                .iter()
                .fold(OwnedHeaders::new(), |headers, (key, value)| {
                    headers.insert(Header {
                        key,
                        value: Some(value),
                    })
                });
            let record = BaseRecord::with_opaque_to(&self.topic, number)
                .partition(append.partition)
                .key(append.board.as_str())
                .payload(&append.payload)
                .headers(headers);
            if let Err((error, _record)) = producer.send(record) {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) {
                    metrics::counter!(telemetry::KAFKA_QUEUE_FULL_TOTAL).increment(1);
                } else {
                    tracing::warn!(%error, "A record was not taken by the Kafka producer; it is tried again.");
                }
                return;
            }
            state.waiting.taken(append.partition, number, append.payload.len());
        }
    }

    /// The delivery report of the append `number`.
    fn report(&self, generation: u64, number: usize, result: &DeliveryResult<'_>) {
        let (Ok(message) | Err((_, message))) = result;
        let mut state = self.state.lock();
        if generation == state.generation {
            state.waiting.reported(message.partition(), message.payload_len());
        }
        match result {
            Ok(_) => {
                // A late report of an earlier producer is as good.
                if let Some(append) = state.take(number) {
                    metrics::histogram!(telemetry::KAFKA_ACK_SECONDS).record(append.since.elapsed().as_secs_f64());
                    // An author that is gone hears of its record by the tail.
                    let offset = u64::try_from(message.offset()).ok();
                    let position = offset.map(|offset| Position(self.epoch, offset + 1));
                    drop(append.answer.send(Ok(position)));
                }
                if generation == state.generation {
                    state.has_delivered = true;
                    self.send(&mut state);
                }
            }
            // What an earlier producer did not deliver is with the present one.
            Err(_) if generation != state.generation => {}
            Err((error, _)) => {
                if is_too_large(error)
                    && let Some(append) = state.take(number)
                {
                    self.refuse_all_behind(&mut state, number, append);
                }
                if !state.has_failed {
                    tracing::error!(%error, "A record was not delivered; the Kafka producer is replaced.");
                    state.has_failed = true;
                }
            }
        }
    }

    /// A record that the brokers never take fails, and with it those of its board behind it.
    fn refuse_all_behind(&self, state: &mut State, number: usize, append: Append) {
        let behind = state.unreported.range(number..);
        let behind: Vec<usize> = behind
            .filter(|(_, other)| other.board == append.board)
            .map(|(number, _)| *number)
            .collect();
        let error = LogError::TooLarge {
            size_bytes: append.payload.len(),
            max_bytes: RECORD_BYTES_MAX,
        };
        self.refuse(append, error);
        for number in behind {
            if let Some(append) = state.take(number) {
                self.refuse(append, LogError::Failed("a record before it failed".into()));
            }
        }
    }

    fn check_reachable(&self) -> Result<(), LogError> {
        if self.away.lock().is_some() {
            // The thread of the producer asks all the time: nobody has to wait for the same answer.
            return Err(LogError::Away("no broker answers".into()));
        }
        Ok(())
    }

    fn note_away(&self) {
        self.away.lock().get_or_insert_with(Instant::now);
    }
}

/// Whether the brokers will never take the record.
fn is_too_large(error: &ClientError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize)
    )
}

/// Whether the partition has no leader now, or the client asked a former one.
fn is_moving(error: &ClientError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::UnknownTopicOrPartition
        )
    )
}

/// Serves the delivery reports until the log is dropped.
fn serve(shared: &Arc<Shared>) {
    let mut pause = PAUSE_MIN;
    let mut deadline = None;
    let mut oldest = Oldest::default();
    loop {
        let Some(producer) = shared.state.lock().producer.clone() else {
            return;
        };
        producer.poll(TURN);
        let mut state = shared.state.lock();
        #[expect(clippy::cast_precision_loss, reason = "a gauge of messages")]
        metrics::gauge!(telemetry::KAFKA_QUEUE_MESSAGES).set(state.unreported.len() as f64);
        let first = state.unreported.first_key_value();
        let waiting = first.map(|(number, append)| (*number, append.since));
        let partition = first.map(|(_number, append)| append.partition);
        let has_failed = state.has_failed || producer.client().fatal_error().is_some();
        if std::mem::take(&mut state.has_delivered) {
            pause = PAUSE_MIN;
            *shared.away.lock() = None;
        }
        if !has_failed {
            shared.send(&mut state);
        }
        drop(state);
        if shared.is_closing.load(Ordering::Acquire) {
            let until = *deadline.get_or_insert_with(|| Instant::now() + FLUSH_MAX);
            if waiting.is_none() || Instant::now() >= until {
                return end(shared);
            }
        }
        let mut is_stuck = || oldest.is_stuck(waiting, Instant::now(), || can_take(shared, &producer, partition));
        if has_failed || is_stuck() {
            if has_failed {
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSE_MAX);
            } else {
                tracing::error!(
                    "The Kafka producer stands still though the brokers could take records; it is replaced."
                );
            }
            oldest = Oldest::default();
            replace(shared, producer);
        } else if shared.away.lock().is_some()
            && producer
                .client()
                .fetch_metadata(Some(&shared.topic), PROBE_TIMEOUT)
                .is_ok()
        {
            *shared.away.lock() = None;
        }
    }
}

/// Whether the brokers could take records of the partition now.
fn can_take(shared: &Shared, producer: &Producer, partition: Option<i32>) -> bool {
    let metadata = producer.client().fetch_metadata(Some(&shared.topic), PROBE_TIMEOUT);
    let copies_min = shared.settings.min_insync();
    metadata.is_ok_and(|metadata| {
        let mut partitions = metadata.topics().iter().flat_map(MetadataTopic::partitions);
        partitions.any(|known| {
            let copies = u32::try_from(known.isr().len()).unwrap_or(u32::MAX);
            Some(known.id()) == partition && known.error().is_none() && known.leader() >= 0 && copies >= copies_min
        })
    })
}

/// Takes the producer away, and answers those that wait.
fn end(shared: &Shared) {
    let (producer, left) = {
        let mut state = shared.state.lock();
        (state.producer.take(), std::mem::take(&mut state.unreported))
    };
    if !left.is_empty() {
        tracing::warn!(
            records = left.len(),
            "The node stopped with records that Kafka had not taken."
        );
    }
    // Its last reports need the lock.
    drop(producer);
}

/// Makes another producer, which sends again what has no report.
fn replace(shared: &Arc<Shared>, old: Arc<Producer>) {
    metrics::counter!(telemetry::KAFKA_FATAL_TOTAL).increment(1);
    let generation = shared.state.lock().generation + 1;
    let producer = match make(shared, generation) {
        Ok(producer) => producer,
        Err(error) => {
            let error = KafkaError::from(error);
            tracing::error!(%error, "The Kafka producer was not replaced; it is tried again.");
            return;
        }
    };
    let mut state = shared.state.lock();
    state.generation = generation;
    state.has_failed = false;
    state.wait_again();
    let former = state.producer.replace(producer);
    shared.send(&mut state);
    drop(state);
    tracing::info!("The Kafka producer was replaced.");
    // Their last reports need the lock, and the end of one that stands still may take long.
    let ending = std::thread::Builder::new().name("kafka-end".into());
    if let Err(error) = ending.spawn(move || drop((former, old))) {
        tracing::warn!(%error, "A former Kafka producer was ended on the thread of the new one.");
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, subject: &str, message: &str) {
        tell(level, subject, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.shared.note_away();
        }
        tracing::warn!(%error, reason, "The Kafka producer had a fault.");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        self.shared.report(self.generation, number, result);
    }
}
