//! The log of a cluster: one Kafka topic, a board's records in one partition of it.
//!
//! An offset counts within the partition, so a board's records have gaps between their offsets: there lie records of
//! other boards. It is one more than Kafka's, because 0 lies before every record. The epoch is given from outside; it
//! is drawn when the topic is first used, and kept where the partitions' progress is.
//!
//! `kafka/producer.rs` brings records into the topic, `kafka/fanout.rs` reads the partitions whose boards are open here,
//! `kafka/topics.rs` makes and checks the topics. The code of boards knows nothing of it.

mod backfill;
mod fanout;
pub mod group;
mod producer;
mod settings;
mod tails;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError as ClientError;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;
use xxhash_rust::xxh3::xxh3_64;

pub use settings::KafkaSettings;
pub use topics::{Fault, TopicReport, Topics};

use self::producer::Edits;
use self::tails::Tails;
use super::{Lead, LogError, Logged, UpdateLog};
use crate::protocol::Record;
use crate::protocol::ids::{BoardId, Position};

/// Patience with the brokers when somebody waits for the answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the brokers cannot be used: one line that names the thing and the cure. Values of options are never in it.
#[derive(Debug, Error)]
pub enum KafkaError {
    /// An option that librdkafka does not take.
    #[error("--kafka-option {0}: librdkafka does not know it, or does not take its value")]
    Option(String),
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
        match error {
            // The description repeats the value, which may be a password.
            ClientError::ClientConfig(_, _, option, _) => Self::Option(option),
            other => Self::Client(other.to_string()),
        }
    }
}

/// What the store has of the topic.
#[async_trait]
pub trait Progress: Send + Sync + 'static {
    /// Kafka's offset of the first record of the partition that the store does not have; `None` if it has none.
    async fn next_offset(&self, partition: i32) -> Result<Option<u64>, String>;
}

/// The log of a node in a cluster. Dropping it waits some seconds for what is on its way.
pub struct KafkaLog {
    settings: KafkaSettings,
    epoch: u64,
    edits: Arc<Edits>,
    tails: Tails,
    _reading: DropGuard,
    progress: Box<dyn Progress>,
}

impl KafkaLog {
    /// Starts the clients and waits until the brokers answer. `epoch` is that of the topic.
    pub async fn start(settings: KafkaSettings, epoch: u64, progress: Box<dyn Progress>) -> Result<Self, KafkaError> {
        let edits = Arc::new(Edits::start(&settings, epoch)?);
        edits.warm_up().await?;
        let (tails, reading) = fanout::start(&settings, epoch, Arc::clone(&edits))?;
        Ok(Self {
            settings,
            epoch,
            edits,
            tails,
            _reading: reading,
            progress,
        })
    }

    /// Whether a broker answered lately.
    pub fn is_reachable(&self) -> bool {
        self.edits.is_reachable()
    }

    fn partition(&self, board: &BoardId) -> i32 {
        partition_of(board, self.settings.partitions)
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

/// The partition that holds a board's records.
pub fn partition_of(board: &BoardId, partitions: i32) -> i32 {
    let count = u64::try_from(partitions.max(1)).unwrap_or(1);
    i32::try_from(xxh3_64(board.as_str().as_bytes()) % count).expect("a rest is below the number of partitions")
}

#[async_trait]
impl UpdateLog for KafkaLog {
    fn append(&self, board: &BoardId, record: Arc<Record>) -> BoxFuture<'static, Result<Position, LogError>> {
        self.edits.append(board, self.partition(board), &record)
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

    async fn lead(&self, board: &BoardId) -> Result<Lead, LogError> {
        let partition = self.partition(board);
        // First what the store has, then the end: what comes in between is read from here.
        let stored = self.progress.next_offset(partition).await.map_err(LogError::Failed)?;
        let (low, high) = self.edits.watermarks(partition).await?;
        let from = stored.unwrap_or(low);
        if from < low || from > high {
            return Err(LogError::UnknownPosition(self.position(from)));
        }
        let records = self.tails.read(partition, board, from, high).await?;
        let end = self.position(high);
        Ok(Lead { records, end })
    }
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
    /// Full name of a topic.
    pub(super) fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }
}
