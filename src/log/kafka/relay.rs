//! The way to the other nodes for what is not recorded: notices in `control.rs`, and here what rooms of one board show
//! each other.
//!
//! Presence and cursors have a topic each and a consumer each, so that neither waits behind the other, nor an edit behind
//! either. Both read the partitions whose boards are watched here, from the end. The producer never waits: what does not
//! fit is dropped and counted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::control::Control;
use super::lag::Lag;
use super::producer::FORMAT;
use super::settings::KafkaSettings;
use super::{KafkaError, tell, topics};
use crate::log::{LogError, Relay};
use crate::protocol::codec;
use crate::protocol::ids::BoardId;
use crate::protocol::notice::Notice;
use crate::protocol::relay::{Lane, Relayed};
use crate::telemetry;

const LANES: [Lane; 2] = [Lane::Presence, Lane::Cursors];
/// Messages that a room may be behind: some seconds of a busy board.
const WAITING_MAX: usize = 256;
/// A partition that nobody watches is kept for so long: a page that is loaded again must not cost twice.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Between two looks for such partitions.
const SWEEP: Duration = Duration::from_secs(1);
/// Patience with the last messages of a node that stops.
const FLUSH_MAX: Duration = Duration::from_millis(500);

/// This node's end of the way.
pub(super) struct KafkaRelay {
    partitions: u32,
    topics: [String; 2],
    producer: ThreadedProducer<Reports>,
    watched: Watched,
    control: Control,
    _reading: DropGuard,
}

impl KafkaRelay {
    /// Starts the clients. Notices count from now on.
    pub(super) async fn start(settings: &KafkaSettings) -> Result<Self, KafkaError> {
        let control = Control::start(settings).await?;
        let producer = ThreadedProducer::from_config_and_context(&settings.ephemeral(), Reports)?;
        let topics = LANES.map(|lane| settings.topic(topic(lane)));
        let watched = Watched::default();
        let stop = CancellationToken::new();
        for (lane, topic) in LANES.into_iter().zip(&topics) {
            let mut config = settings.relay(lane.name());
            // What was lost is of no use any more.
            config.set("auto.offset.reset", "latest");
            let consumer: StreamConsumer<Lag> = StreamConsumer::from_config_and_context(&config, Lag(lane.name()))?;
            let reader = Reader {
                lane,
                topic: topic.clone(),
                consumer: Arc::new(consumer),
                watched: watched.clone(),
                assigned: HashSet::new(),
            };
            tokio::spawn(reader.run(stop.clone()));
        }
        Ok(Self {
            partitions: settings.partitions,
            topics,
            producer,
            watched,
            control,
            _reading: stop.drop_guard(),
        })
    }

    /// How often notices were read anew, because their reader stood still.
    pub(super) fn read_again(&self) -> u64 {
        self.control.read_again()
    }

    fn partition(&self, board: &BoardId) -> i32 {
        i32::try_from(board.partition(self.partitions)).expect("brokers count partitions so")
    }
}

fn topic(lane: Lane) -> &'static str {
    match lane {
        Lane::Presence => topics::PRESENCE,
        Lane::Cursors => topics::CURSORS,
    }
}

fn dropped(lane: Lane, reason: &'static str) {
    metrics::counter!(telemetry::RELAY_DROPS_TOTAL, "feature" => lane.name(), "reason" => reason).increment(1);
}

impl Relay for KafkaRelay {
    fn tell(&self, notice: Notice) -> BoxFuture<'static, Result<(), LogError>> {
        self.control.tell(&notice)
    }

    fn notices(&self) -> Option<mpsc::Receiver<Notice>> {
        self.control.notices()
    }

    fn show(&self, board: &BoardId, lane: Lane, relayed: &Relayed) {
        let room = relayed.room.to_string();
        let headers = [("v", FORMAT), ("src", &room)];
        let headers = headers.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            let value = Some(value);
            headers.insert(Header { key, value })
        });
        let value = codec::pack(relayed);
        let record = BaseRecord::with_opaque_to(&self.topics[lane as usize], lane as usize)
            .partition(self.partition(board))
            .key(board.as_str())
            .payload(&value)
            .headers(headers);
        match self.producer.send(record) {
            Ok(()) => {
                let labels = [("feature", lane.name()), ("direction", "out")];
                metrics::counter!(telemetry::RELAYED_TOTAL, &labels).increment(1);
            }
            Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                dropped(lane, "queue_full");
            }
            Err((error, _)) => {
                tracing::debug!(%error, "Something was not shown to other nodes.");
                dropped(lane, "not_delivered");
            }
        }
    }

    fn watch(&self, board: &BoardId, room: u64) -> mpsc::Receiver<Arc<Relayed>> {
        self.watched.add(self.partition(board), board, room)
    }
}

impl Drop for KafkaRelay {
    fn drop(&mut self) {
        // What does not leave in time is noticed by the others some seconds later.
        _ = self.producer.flush(FLUSH_MAX);
    }
}

/// Hears what became of what was shown.
struct Reports;

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, subject: &str, message: &str) {
        tell(level, subject, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        tracing::warn!(%error, reason, "The producer of what is not kept had a fault; it goes on.");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, lane: usize) {
        if result.is_err() {
            dropped(LANES[lane], "not_delivered");
        }
    }
}

/// Rooms here, by the partition of their board. A clone is the same.
#[derive(Clone, Default)]
struct Watched(Arc<Shared>);

#[derive(Default)]
struct Shared {
    partitions: Mutex<HashMap<i32, Partition>>,
    /// Which partitions there are may have changed.
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct Partition {
    boards: HashMap<Arc<str>, Vec<Watcher>>,
    idle_since: Option<Instant>,
}

struct Watcher {
    room: u64,
    reader: mpsc::Sender<Arc<Relayed>>,
}

impl Watched {
    fn add(&self, number: i32, board: &BoardId, room: u64) -> mpsc::Receiver<Arc<Relayed>> {
        let (reader, receiver) = mpsc::channel(WAITING_MAX);
        let mut partitions = self.0.partitions.lock();
        let partition = partitions.entry(number).or_insert_with(|| {
            self.0.changes.send_replace(());
            Partition::default()
        });
        let watchers = partition.boards.entry(board.shared()).or_default();
        watchers.retain(|watcher| !watcher.reader.is_closed());
        watchers.push(Watcher { room, reader });
        receiver
    }

    fn numbers(&self) -> HashSet<i32> {
        self.0.partitions.lock().keys().copied().collect()
    }

    /// Forgets partitions that nobody watches any more.
    fn sweep(&self) {
        let now = Instant::now();
        self.0.partitions.lock().retain(|_, partition| {
            partition.boards.retain(|_, watchers| {
                watchers.retain(|watcher| !watcher.reader.is_closed());
                !watchers.is_empty()
            });
            if !partition.boards.is_empty() {
                partition.idle_since = None;
                return true;
            }
            let is_kept = now - *partition.idle_since.get_or_insert(now) < IDLE_MAX;
            if !is_kept {
                self.0.changes.send_replace(());
            }
            is_kept
        });
    }

    /// Who is to hear a message of the room `from`: it hears itself on the lane of presence only.
    fn readers(&self, lane: Lane, number: i32, board: &str, from: Option<u64>) -> Vec<mpsc::Sender<Arc<Relayed>>> {
        let partitions = self.0.partitions.lock();
        let watchers = partitions
            .get(&number)
            .and_then(|partition| partition.boards.get(board));
        let watchers = watchers.into_iter().flatten();
        watchers
            .filter(|watcher| lane == Lane::Presence || Some(watcher.room) != from)
            .map(|watcher| watcher.reader.clone())
            .collect()
    }
}

struct Reader {
    lane: Lane,
    topic: String,
    consumer: Arc<StreamConsumer<Lag>>,
    watched: Watched,
    assigned: HashSet<i32>,
}

impl Reader {
    async fn run(mut self, stop: CancellationToken) {
        let consumer = Arc::clone(&self.consumer);
        let mut changes = self.watched.0.changes.subscribe();
        let mut sweep = tokio::time::interval(SWEEP);
        let mut records = consumer.stream();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                // The sender is held by `self`.
                _ = changes.changed() => self.assign(),
                _ = sweep.tick() => {
                    self.watched.sweep();
                    // What could not be assigned before is tried again.
                    self.assign();
                }
                Some(outcome) = records.next() => match outcome {
                    Ok(message) => self.hand_over(&message),
                    Err(error) => tracing::warn!(%error, feature = self.lane.name(), "A reader of the relay had a fault."),
                },
            }
            // The consumer's stream knows nothing of the other tasks of this worker.
            tokio::task::consume_budget().await;
        }
        drop(records);
        // Closing waits for the client's threads.
        tokio::task::spawn_blocking(move || drop((self, consumer)));
    }

    /// Reads the partitions that are watched, and no others.
    fn assign(&mut self) {
        let wanted = self.watched.numbers();
        let list = |numbers: &mut dyn Iterator<Item = &i32>| {
            let mut list = TopicPartitionList::new();
            for number in numbers {
                let added = list.add_partition_offset(&self.topic, *number, Offset::End);
                added.expect("the end is an offset");
            }
            list
        };
        let unwanted = list(&mut self.assigned.difference(&wanted));
        if unwanted.count() > 0 {
            match self.consumer.incremental_unassign(&unwanted) {
                Ok(()) => {
                    for number in self.assigned.extract_if(|number| !wanted.contains(number)) {
                        Lag(self.lane.name()).set(number, 0);
                    }
                }
                Err(error) => self.complain(&error),
            }
        }
        let new = list(&mut wanted.difference(&self.assigned));
        if new.count() > 0 {
            match self.consumer.incremental_assign(&new) {
                Ok(()) => self.assigned.extend(wanted),
                Err(error) => self.complain(&error),
            }
        }
    }

    fn complain(&self, error: &ClientError) {
        tracing::warn!(%error, feature = self.lane.name(), "The partitions of a reader of the relay could not be changed.");
    }

    fn hand_over(&self, message: &BorrowedMessage<'_>) {
        let Ok(board) = std::str::from_utf8(message.key().unwrap_or_default()) else {
            return;
        };
        let from = sender(message);
        // Most are of boards that are not here: their payloads are not looked at.
        let readers = self.watched.readers(self.lane, message.partition(), board, from);
        if readers.is_empty() {
            return;
        }
        let labels = [("feature", self.lane.name()), ("direction", "in")];
        metrics::counter!(telemetry::RELAYED_TOTAL, &labels).increment(1);
        let relayed = match codec::unpack::<Relayed>(message.payload().unwrap_or_default()) {
            Ok(relayed) => Arc::new(relayed),
            Err(error) => {
                tracing::debug!(%error, "What another node showed cannot be read.");
                return dropped(self.lane, "malformed");
            }
        };
        for reader in readers {
            if let Err(mpsc::error::TrySendError::Full(_)) = reader.try_send(Arc::clone(&relayed)) {
                dropped(self.lane, "inbox_full");
            }
        }
    }
}

/// The room that a message comes from.
fn sender(message: &BorrowedMessage<'_>) -> Option<u64> {
    let headers = message.headers()?;
    let source = headers.iter().find(|header| header.key == "src")?;
    std::str::from_utf8(source.value?).ok()?.parse().ok()
}
