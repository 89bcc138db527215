//! The log of a cluster: one Kafka topic, a board's records in one partition of it.
//!
//! An offset counts within the partition, so a board's records have gaps between their offsets: there lie records of
//! other boards. It is one more than Kafka's, because 0 lies before every record. The epoch is given from outside; it
//! is drawn when the topic is first used, and kept where the partitions' progress is.
//!
//! `kafka/producer.rs` brings records into the topic, `kafka/fanout.rs` reads the partitions whose boards are open here,
//! `kafka/topics.rs` makes and checks the topics. `kafka/relay.rs` carries what is not recorded: presence and cursors, and
//! with `kafka/control.rs` changed rights. The code of boards knows nothing of it.

mod asking;
mod backfill;
mod control;
mod fanout;
mod finding;
pub mod group;
mod lag;
mod lineage;
mod placement;
pub mod probe;
mod producer;
mod relay;
mod rights;
mod roundtrip;
mod settings;
pub mod standstill;
mod tails;
mod topics;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

pub use lineage::Stored;
pub use settings::KafkaSettings;
pub use topics::{Fault, TopicReport, Topics};

use self::fanout::Received;
use self::finding::Finding;
use self::group::Held;
use self::placement::Placement;
use self::producer::Edits;
use self::relay::KafkaRelay;
use self::tails::Tails;
use super::{Lead, LogError, Logged, Relay, UpdateLog};
use crate::protocol::ids::{BoardId, Position};
use crate::protocol::{Record, Route};

/// Patience with the brokers when somebody waits for the answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the brokers cannot be used: one line that names the thing and the cure. Values of options are never in it.
#[derive(Debug, Error)]
pub enum KafkaError {
    /// An option that librdkafka does not take.
    #[error(
        "--kafka-option {0}: librdkafka does not know it, or not its value (TLS and SCRAM need a build with --features kafka-tls)"
    )]
    Option(String),
    /// An option that is the node's to set.
    #[error("--kafka-option {0}: the node sets it itself; leave it out")]
    FixedOption(String),
    /// A client could not be made.
    #[error("no Kafka client could be made ({0}): look at the --kafka-option settings")]
    Client(String),
    /// Nobody answers.
    #[error("no Kafka broker answers at {brokers} ({why}): check PANSEO_KAFKA_BROKERS, and that it runs")]
    Unreachable {
        /// Where it was looked for.
        brokers: String,
        /// Kafka's words.
        why: String,
    },
    /// A topic is not as it must be.
    #[error("{0}")]
    Topic(String),
    /// The brokers refuse this user something that every node does.
    #[error("the Kafka user has no right {right} on {on}: give it that (kafka-acls --add --operation {right})")]
    Right {
        /// Kafka's name of the operation.
        right: &'static str,
        /// What it is needed for.
        on: String,
    },
    /// The brokers refused to make a topic.
    #[error("topic {topic} could not be created: {why}")]
    NotCreated {
        /// Its name.
        topic: String,
        /// Kafka's words.
        why: String,
    },
    /// The process cannot make a thread.
    #[error("cannot make a thread: {0}")]
    Thread(std::io::Error),
}

impl From<ClientError> for KafkaError {
    fn from(error: ClientError) -> Self {
        // Its own words repeat the value, which may be a password.
        if let ClientError::ClientConfig(_, _, option, _) = error {
            return Self::Option(option);
        }
        Self::Client(error.to_string())
    }
}

/// The log of a node in a cluster. Dropping it waits some seconds for what is on its way.
pub struct KafkaLog {
    settings: KafkaSettings,
    epoch: u64,
    edits: Arc<Edits>,
    tails: Tails,
    placement: Option<Placement>,
    relay: Arc<KafkaRelay>,
    received: Received,
    held: Held,
    _reading: DropGuard,
}

impl KafkaLog {
    /// Starts the clients and waits until the brokers answer. `epoch` is that of the topic.
    pub async fn start(settings: KafkaSettings, epoch: u64) -> Result<Self, KafkaError> {
        let edits = Arc::new(Edits::start(&settings, epoch)?);
        edits.warm_up().await?;
        let received = Received::default();
        let (tails, reading) = fanout::start(&settings, epoch, Arc::clone(&edits), received.clone())?;
        let placement = Placement::start(&settings)?;
        rights::check(&settings).await?;
        let relay = Arc::new(KafkaRelay::start(&settings).await?);
        Ok(Self {
            placement,
            settings,
            epoch,
            edits,
            tails,
            relay,
            received,
            held: Held::default(),
            _reading: reading,
        })
    }

    /// Keyframes of the boards in these partitions are this node's to write; at first there are none.
    #[must_use]
    pub fn keeping(mut self, held: Held) -> Self {
        self.held = held;
        self
    }

    /// Fails where the topic is not the one that a database was filled from.
    pub async fn check(&self, stored: &[Stored]) -> Result<(), KafkaError> {
        lineage::check(&self.settings, &self.edits, stored).await
    }

    /// Bytes of records that were read for open boards, as of some seconds ago.
    pub fn bytes_read(&self) -> u64 {
        self.received.bytes()
    }

    /// Partitions that are read for boards open here.
    pub fn partitions_read(&self) -> usize {
        self.tails.standing().len()
    }

    /// How often a partition of edits, or that of notices, was read anew, because its reader stood still.
    pub fn read_again(&self) -> u64 {
        self.tails.again() + self.relay.read_again()
    }

    /// Producers that failed or stood still, and were replaced.
    pub fn replacements(&self) -> u64 {
        self.edits.replacements()
    }

    fn finding(&self, board: &BoardId) -> Finding {
        Finding {
            epoch: self.epoch,
            edits: Arc::clone(&self.edits),
            tails: self.tails.clone(),
            partition: self.partition(board),
            board: board.clone(),
        }
    }

    fn partition(&self, board: &BoardId) -> i32 {
        let partition = board.partition(self.settings.partitions);
        i32::try_from(partition).expect("brokers count partitions so")
    }

    fn position(&self, next: u64) -> Position {
        Position(self.epoch, next)
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.edits.close();
    }
}

#[async_trait]
impl UpdateLog for KafkaLog {
    fn append(&self, board: &BoardId, record: Arc<Record>) -> BoxFuture<'static, Result<Position, LogError>> {
        let appended = self.edits.append(board, self.partition(board), &record);
        let finding = self.finding(board);
        async move {
            match appended.await? {
                Some(position) => Ok(position),
                None => finding.find(&record).await,
            }
        }
        .boxed()
    }

    fn route(&self, board: &BoardId) -> Option<Route> {
        self.placement.as_ref().map(|placement| placement.route(board))
    }

    fn is_node(&self, address: &str) -> bool {
        self.placement
            .as_ref()
            .is_some_and(|placement| placement.is_node(address))
    }

    fn is_reachable(&self) -> bool {
        self.edits.is_reachable()
    }

    fn is_keeper(&self, board: &BoardId) -> bool {
        self.held.lock().contains(&self.partition(board))
    }

    async fn tail(&self, board: &BoardId, after: Option<Position>) -> Result<mpsc::Receiver<Logged>, LogError> {
        let partition = self.partition(board);
        let from = match after {
            None => self.edits.watermarks(partition).await?.0,
            Some(Position(epoch, next)) if epoch == self.epoch => next,
            Some(position) => return Err(LogError::UnknownPosition(position)),
        };
        if !self.tails.covers(partition, from) {
            let (low, high) = self.edits.watermarks(partition).await?;
            if from < low || from > high {
                return Err(LogError::UnknownPosition(self.position(from)));
            }
        }
        Ok(self.tails.add(partition, board, from))
    }

    async fn end(&self, board: &BoardId) -> Result<Position, LogError> {
        let (_, high) = self.edits.watermarks(self.partition(board)).await?;
        Ok(self.position(high))
    }

    async fn level(&self, board: &BoardId) -> Result<(), LogError> {
        let partition = self.partition(board);
        let (_, high) = self.edits.watermarks(partition).await?;
        self.tails.level(partition, board, high).await
    }

    async fn lead(&self, board: &BoardId, stored: Option<Position>) -> Result<Lead, LogError> {
        let partition = self.partition(board);
        let (low, high) = self.edits.watermarks(partition).await?;
        let from = match stored {
            None => low,
            Some(Position(epoch, next)) if epoch == self.epoch && (low..=high).contains(&next) => next,
            Some(position) => return Err(LogError::UnknownPosition(position)),
        };
        let records = self.tails.read(partition, board, from, high).await?;
        let end = self.position(high);
        Ok(Lead { records, end })
    }

    fn relay(&self) -> Option<Arc<dyn Relay>> {
        Some(Arc::clone(&self.relay) as Arc<dyn Relay>)
    }
}

/// Whether the headers of a record tell a format that this version reads.
fn is_known_format(headers: &impl Headers) -> bool {
    let mut versions = headers.iter().filter(|header| header.key == "v");
    versions.all(|header| header.value == Some(producer::FORMAT.as_bytes()))
}

/// The record in a message, empty if it has a format that nobody here knows: it is left out like any that cannot be
/// read, and the materialiser puts it aside.
fn payload<'a>(message: &'a BorrowedMessage<'_>) -> &'a [u8] {
    let is_known = message.headers().is_none_or(is_known_format);
    message.payload().filter(|_| is_known).unwrap_or_default()
}

/// What clients tell by themselves goes into the node's log.
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, subject: &str, message: &str) {
        tell(level, subject, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        tracing::warn!(%error, reason, "Kafka had a fault; the client goes on.");
    }
}

impl ConsumerContext for Quiet {}

fn tell(level: RDKafkaLogLevel, subject: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::warn!(subject, message, "The Kafka client had a fault.");
        }
        RDKafkaLogLevel::Warning => tracing::info!(subject, message, "The Kafka client had a warning."),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(subject, message, "The Kafka client said something.");
        }
    }
}

impl KafkaSettings {
    /// Full name of the topic of edits.
    pub fn edits_topic(&self) -> String {
        self.topic(topics::EDITS)
    }

    /// Full name of a topic.
    pub(super) fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }
}
