//! Older records than those kept in memory: a consumer that lives for one range of one partition.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::Message as _;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::settings::KafkaSettings;
use super::{Quiet, payload, tails};
use crate::log::{LogError, Logged};

/// Ranges read at a time: each has a connection and buffers of its own.
const AT_ONCE_MAX: usize = 2;
/// A range that gives nothing for this long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);

/// Reads ranges. A clone counts with the others.
#[derive(Clone)]
pub(super) struct Backfill {
    settings: KafkaSettings,
    epoch: u64,
    turns: Arc<Semaphore>,
}

impl Backfill {
    pub(super) fn new(settings: &KafkaSettings, epoch: u64) -> Self {
        Self {
            settings: settings.clone(),
            epoch,
            turns: Arc::new(Semaphore::new(AT_ONCE_MAX)),
        }
    }

    /// Gives the board's records in the range to `reader`, unless that is closed before.
    pub(super) async fn read(
        &self,
        partition: i32,
        board: Arc<str>,
        range: Range<u64>,
        reader: mpsc::Sender<Logged>,
    ) -> Result<(), LogError> {
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
            return Err(LogError::Closed);
        };
        let this = self.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let done = this.scan(partition, &board, range, &reader);
            drop(turn);
            done
        });
        match reading.await {
            Ok(done) => done.map_err(|error| LogError::Away(error.to_string())),
            Err(_panic) => Err(LogError::Closed),
        }
    }

    fn scan(
        &self,
        partition: i32,
        board: &str,
        range: Range<u64>,
        reader: &mpsc::Sender<Logged>,
    ) -> Result<(), ClientError> {
        let consumer: BaseConsumer<Quiet> =
            BaseConsumer::from_config_and_context(&self.settings.reader("backfill"), Quiet)?;
        let mut wanted = TopicPartitionList::new();
        let start = Offset::Offset(i64::try_from(range.start).unwrap_or(i64::MAX));
        wanted.add_partition_offset(&self.settings.edits_topic(), partition, start)?;
        consumer.assign(&wanted)?;
        let mut heard = Instant::now();
        let mut fault = ClientError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
        loop {
            // Other boards' records may flow for long: who has gone must not keep the turn from others.
            if reader.is_closed() {
                return Ok(());
            }
            let message = match consumer.poll(POLL) {
                Some(Ok(message)) => message,
                silence => {
                    // One broker that is away says nothing of the one that leads the partition.
                    if let Some(Err(error)) = silence {
                        fault = error;
                    }
                    let is_gone = fault.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset);
                    if is_gone || heard.elapsed() >= SILENCE_MAX {
                        return Err(fault);
                    }
                    continue;
                }
            };
            heard = Instant::now();
            let offset = u64::try_from(message.offset()).unwrap_or_default();
            if offset < range.end
                && message.key() == Some(board.as_bytes())
                && let Some(logged) = tails::decode(self.epoch, offset, payload(&message))
                && reader.blocking_send(logged).is_err()
            {
                return Ok(());
            }
            if offset + 1 >= range.end {
                return Ok(());
            }
        }
    }
}
