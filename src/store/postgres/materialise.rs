//! Values of the topic into the database, each once, whoever brings them.
//!
//! Records and the offset that comes next are one transaction, and that offset moves only from where its writer takes it
//! to be. So a batch that is brought twice, by two owners of a partition or after an answer that was lost, is stored
//! once: the second one is told where the partition stands.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sqlx::{PgConnection, Postgres, Transaction};
use thiserror::Error;

use super::{CALL_TIMEOUT, PostgresStore, silent, told};
use crate::protocol::ids::{BoardId, RecordId};
use crate::store::StoreError;
use crate::telemetry;

/// A value of the topic.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Its place in the partition.
    pub kafka_offset: i64,
    /// Whose it is.
    pub board: BoardId,
    /// The record's name.
    pub id: RecordId,
    /// The record in MessagePack.
    pub bytes: Bytes,
}

/// Values of one partition that follow each other.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Where they come from.
    pub partition: i32,
    /// The offset that is to be stored next, as far as their reader knows.
    pub expected: i64,
    /// The one behind the batch.
    pub next: i64,
    /// When the value before that was sent, in ms since 1970.
    pub sent: i64,
    /// The values, in order.
    pub records: Vec<Incoming>,
}

/// How far a partition is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The offset that is to be stored next.
    pub next: i64,
    /// When the value before that was sent, in ms since 1970; `None` where none is stored.
    pub last_sent: Option<i64>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Applied,
    /// Nothing was written: the partition stands elsewhere, because somebody else moves it, or did before.
    Elsewhere {
        /// The offset that is to be stored next.
        next: i64,
    },
}

/// Why batches were not stored.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// The database refuses a value in them, and will again.
    #[error("the database refuses a value: {0}")]
    Refused(String),
    /// The fault is not theirs: try again.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PostgresStore {
    /// Stores batches of different partitions in one transaction, each whole or not at all.
    pub async fn apply(&self, batches: &[Batch]) -> Result<Vec<Outcome>, ApplyError> {
        let storing = tokio::time::timeout(CALL_TIMEOUT, self.store(batches));
        storing.await.unwrap_or_else(|_elapsed| Err(silent().into()))
    }

    async fn store(&self, batches: &[Batch]) -> Result<Vec<Outcome>, ApplyError> {
        let mut transaction = self.pool.begin().await.map_err(|error| told(&error))?;
        let standing = self
            .lock_progress(&mut transaction, batches)
            .await
            .map_err(|error| told(&error))?;
        let outcome = |batch: &Batch| match standing.get(&batch.partition) {
            Some(next) if *next == batch.expected => Ok(Outcome::Applied),
            Some(next) => Ok(Outcome::Elsewhere { next: *next }),
            None => Err(StoreError::Failed(format!("there is no partition {}", batch.partition))),
        };
        let outcomes = batches.iter().map(outcome).collect::<Result<Vec<_>, _>>()?;
        let taken = batches
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| **outcome == Outcome::Applied);
        let taken: Vec<&Batch> = taken.map(|(batch, _)| batch).collect();
        if !taken.is_empty() {
            self.write(transaction, &taken).await.map_err(|error| refused(&error))?;
        }
        Ok(outcomes)
    }

    /// How far each partition is stored.
    pub async fn progress(&self) -> Result<BTreeMap<i32, Progress>, StoreError> {
        Self::within(async {
            let rows: Vec<(i32, i64, Option<i64>)> =
                sqlx::query_as("select partition, next_offset, last_sent from partition_progress where topic = $1")
                    .bind(&self.topic)
                    .fetch_all(&self.pool)
                    .await?;
            let rows = rows.into_iter();
            Ok(rows
                .map(|(partition, next, last_sent)| (partition, Progress { next, last_sent }))
                .collect())
        })
        .await
    }

    /// Where the partitions stand; until the transaction ends, nobody else moves them.
    async fn lock_progress(
        &self,
        connection: &mut PgConnection,
        batches: &[Batch],
    ) -> Result<BTreeMap<i32, i64>, sqlx::Error> {
        let partitions: Vec<i32> = batches.iter().map(|batch| batch.partition).collect();
        // In one order everywhere, so that two owners never wait for each other.
        let rows: Vec<(i32, i64)> = sqlx::query_as(
            "select partition, next_offset from partition_progress
             where topic = $1 and partition = any($2) order by partition for update",
        )
        .bind(&self.topic)
        .bind(partitions)
        .fetch_all(connection)
        .await?;
        Ok(rows.into_iter().collect())
    }

    async fn write(
        &self,
        mut transaction: Transaction<'static, Postgres>,
        batches: &[&Batch],
    ) -> Result<(), sqlx::Error> {
        let known = lock_boards(&mut transaction, batches).await?;
        let (mut partitions, mut offsets, mut boards, mut values) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut rooms, mut numbers) = (Vec::new(), Vec::new());
        let mut unknown = 0;
        for batch in batches {
            for record in &batch.records {
                if known.contains(record.board.as_str()) {
                    partitions.push(batch.partition);
                    offsets.push(record.kafka_offset);
                    boards.push(record.board.as_str());
                    // Names are only compared, so their bits will do.
                    rooms.push(record.id.0.cast_signed());
                    numbers.push(record.id.1.cast_signed());
                    values.push(record.bytes.as_ref());
                } else {
                    unknown += 1;
                }
            }
        }
        let brought = values.len() as u64;
        let inserted = sqlx::query(
            "insert into records (topic, partition, kafka_offset, board, room, number, bytes)
             select $1, * from unnest($2::integer[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[], $7::bytea[])
             on conflict do nothing",
        )
        .bind(&self.topic)
        .bind(partitions)
        .bind(offsets)
        .bind(boards)
        .bind(rooms)
        .bind(numbers)
        .bind(values)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "update partition_progress set next_offset = moved.next, last_sent = moved.sent
             from unnest($2::integer[], $3::bigint[], $4::bigint[]) moved (partition, next, sent)
             where topic = $1 and partition_progress.partition = moved.partition",
        )
        .bind(&self.topic)
        .bind(batches.iter().map(|batch| batch.partition).collect::<Vec<_>>())
        .bind(batches.iter().map(|batch| batch.next).collect::<Vec<_>>())
        .bind(batches.iter().map(|batch| batch.sent).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let stored = inserted.rows_affected();
        metrics::counter!(telemetry::MATERIALISED_RECORDS_TOTAL).increment(stored);
        metrics::counter!(telemetry::MATERIALISED_REPEATS_TOTAL).increment(brought.saturating_sub(stored));
        metrics::counter!(telemetry::MATERIALISED_UNKNOWN_TOTAL).increment(unknown);
        Ok(())
    }
}

/// Data exceptions, broken constraints, exceeded limits, and what a trigger of the operator raises: the row's fault.
fn refused(error: &sqlx::Error) -> ApplyError {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let is_refused = code.is_some_and(|code| ["22", "23", "54", "P0"].iter().any(|class| code.starts_with(class)));
    if is_refused {
        ApplyError::Refused(error.to_string())
    } else {
        told(error).into()
    }
}

/// The boards that are there, held until the transaction ends: records of one that is deleted must not stay behind it.
async fn lock_boards(connection: &mut PgConnection, batches: &[&Batch]) -> Result<BTreeSet<String>, sqlx::Error> {
    let named = batches.iter().flat_map(|batch| &batch.records);
    let named: BTreeSet<&str> = named.map(|record| record.board.as_str()).collect();
    let known: Vec<String> = sqlx::query_scalar("select id from boards where id = any($1) order by id for key share")
        .bind(named.into_iter().collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    Ok(known.into_iter().collect())
}
