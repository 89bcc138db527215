//! Where a record is that the brokers have, when they do not say so: the report of its first sending was lost with a
//! broker, and the second sending is only answered with «known».

use std::sync::Arc;
use std::time::Duration;

use super::producer::Edits;
use super::tails::Tails;
use crate::log::LogError;
use crate::protocol::Record;
use crate::protocol::ids::{BoardId, Position};

/// Before the brokers are asked again.
const RETRY: Duration = Duration::from_millis(500);

/// What is needed to look for a record of a board.
pub(super) struct Finding {
    pub(super) epoch: u64,
    pub(super) edits: Arc<Edits>,
    pub(super) tails: Tails,
    pub(super) partition: i32,
    pub(super) board: BoardId,
}

impl Finding {
    /// The place of the record; goes on until the brokers answer.
    pub(super) async fn find(self, record: &Record) -> Result<Position, LogError> {
        loop {
            match self.look(record).await {
                Ok(Some(position)) => return Ok(position),
                // It is not there, whatever the brokers say: the board is read anew.
                Ok(None) => return Err(LogError::UnknownPosition(record.base)),
                Err(LogError::Closed) => return Err(LogError::Closed),
                Err(error) => tracing::warn!(%error, "The place of a record was not found; it is tried again."),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn look(&self, record: &Record) -> Result<Option<Position>, LogError> {
        let (low, high) = self.edits.watermarks(self.partition).await?;
        // Its room had read so far when it made the record.
        let Position(epoch, base) = record.base;
        let from = if epoch == self.epoch {
            base.clamp(low, high)
        } else {
            low
        };
        let records = self.tails.read(self.partition, &self.board, from, high).await?;
        let found = records.iter().find(|logged| logged.record.id == record.id);
        Ok(found.map(|logged| logged.position))
    }
}
