//! Values that can never be stored: they go to the dead letters, and their boards to the quarantine.

use std::time::Duration;

use super::Work;
use crate::log::kafka::group::Value;
use crate::protocol::codec;
use crate::protocol::ids::BoardId;
use crate::store::postgres::materialise::Incoming;
use crate::telemetry;

/// Time for a dead letter to become safe.
const LETTER_TIMEOUT: Duration = Duration::from_secs(10);

impl Work {
    /// Puts a value among the dead letters and its board into quarantine; `false` if the node stops before.
    pub(super) fn bury(&mut self, value: &Value, reason: &str) -> bool {
        let buried = self.insist(|work| {
            let group = &work.group;
            let burying = async { tokio::time::timeout(LETTER_TIMEOUT, group.bury(value, reason)).await };
            match work.runtime.block_on(burying) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_elapsed) => Err("the dead letter was not confirmed in time".to_owned()),
            }
        });
        if buried.is_none() {
            return false;
        }
        metrics::counter!(telemetry::DLQ_TOTAL).increment(1);
        let (partition, offset) = (value.partition, value.kafka_offset);
        tracing::error!(
            log.partition = partition,
            log.offset = offset,
            reason,
            "A record went to the dead letters."
        );
        let Ok(board) = board_of(value) else {
            return true;
        };
        let noted = self.insist(|work| {
            let noting = work.store.quarantine(&board, offset, reason);
            work.runtime.block_on(noting)
        });
        noted.is_some()
    }
}

fn board_of(value: &Value) -> Result<BoardId, String> {
    let key = std::str::from_utf8(&value.key).map_err(|_malformed| "the key is not UTF-8".to_owned())?;
    BoardId::new(key).map_err(|error| format!("the key is no board: {error}"))
}

/// The record in a value, or why it can never be one.
pub(super) fn judge(value: &Value) -> Result<Incoming, String> {
    let board = board_of(value)?;
    if !value.is_known_format() {
        return Err("the header `v` tells a format that this version does not read".to_owned());
    }
    let record = codec::decode_record(&value.bytes).map_err(|error| error.to_string())?;
    Ok(Incoming {
        id: record.id,
        kafka_offset: value.kafka_offset,
        board,
        bytes: value.bytes.clone(),
    })
}
