//! Keyframes, the sealing of what lies before them, and all records in their order.
//!
//! A keyframe may come before the last records that it covers: the room has read them from Kafka, where they are
//! durable, and they are stored behind those that are sealed. Blocks and single records never overlap, and the blocks
//! come first.

use std::sync::Arc;

use bytes::Bytes;
use sqlx::{PgConnection, Postgres, Transaction};

use super::{PostgresStore, damaged, rows, told};
use crate::log::disk::records::{Block, seal, unseal};
use crate::protocol::ids::{BoardId, Position};
use crate::protocol::{Logged, codec};
use crate::store::{StoreError, StoredKeyframe};
use crate::telemetry;

/// Blocks that are read at once: a jump in a long history needs few of them.
const BLOCKS_READ_MAX: usize = 16;
/// Records that are read at once.
const RECORDS_READ_MAX: usize = 2_000;

/// A value of the topic and its offset.
type Row = (i64, Vec<u8>);

/// What a read came to: records, and places that are damaged.
#[derive(Default)]
struct Found {
    records: Vec<Logged>,
    damaged: Vec<(i64, String)>,
}

impl PostgresStore {
    pub(super) async fn find_keyframe(&self, board: &BoardId, at: i64) -> Result<Option<StoredKeyframe>, sqlx::Error> {
        let found: Option<Row> = sqlx::query_as(
            "select kafka_offset, bytes from keyframes where board = $1 and kafka_offset <= $2
             order by kafka_offset desc limit 1",
        )
        .bind(board.as_str())
        .bind(at)
        .fetch_optional(&self.pool)
        .await?;
        Ok(found.map(|(kafka_offset, bytes)| StoredKeyframe {
            position: self.position(kafka_offset),
            bytes: Bytes::from(bytes),
        }))
    }

    pub(super) async fn insert_keyframe(&self, board: &BoardId, keyframe: StoredKeyframe) -> Result<(), StoreError> {
        let at = self.kafka_offset(keyframe.position)?;
        let transaction = self.pool.begin().await.map_err(|error| told(&error))?;
        Box::pin(seal_to(transaction, board, at, &keyframe.bytes)).await
    }

    /// For each board, the bytes of its records since its newest keyframe, and those of the keyframe, 0 for none.
    pub async fn tails(&self, boards: &[&str]) -> Result<Vec<(usize, usize)>, StoreError> {
        Self::within(async {
            let rows: Vec<(i64, i64)> = sqlx::query_as(
                "select (select coalesce(sum(octet_length(bytes)), 0)::bigint from records
                         where board = asked.id and kafka_offset > coalesce(newest.kafka_offset, -1)),
                        coalesce(newest.bytes, 0)::bigint
                 from unnest($1::text[]) with ordinality asked (id, place)
                 left join lateral (select kafka_offset, octet_length(bytes) bytes from keyframes
                                    where board = asked.id order by kafka_offset desc limit 1) newest on true
                 order by place",
            )
            .bind(boards)
            .fetch_all(&self.pool)
            .await?;
            let bytes = |sum: i64| usize::try_from(sum).unwrap_or_default();
            Ok(rows
                .into_iter()
                .map(|(tail, keyframe)| (bytes(tail), bytes(keyframe)))
                .collect())
        })
        .await
    }

    pub(super) async fn read_history(
        &self,
        board: &BoardId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Logged>, StoreError> {
        let after = after.map_or(Ok(-1), |after| self.kafka_offset(after))?;
        let found = Box::pin(self.find_records(board, after, limit)).await?;
        for (kafka_offset, reason) in found.damaged {
            self.quarantine(board, kafka_offset, &reason).await?;
        }
        Ok(found.records)
    }

    async fn find_records(&self, board: &BoardId, after: i64, limit: usize) -> Result<Found, StoreError> {
        let mut transaction = self.snapshot().await.map_err(|error| told(&error))?;
        let mut found = Found::default();
        let mut last = after;
        while found.records.len() < limit {
            let blocks = read_blocks(&mut transaction, board, last)
                .await
                .map_err(|error| told(&error))?;
            let is_end = blocks.len() < BLOCKS_READ_MAX;
            for (last_offset, bytes) in blocks {
                last = last_offset;
                match unseal(&bytes) {
                    Ok(records) => records.into_iter().for_each(|(offset, bytes)| {
                        if let Some(offset) = i64::try_from(offset).ok().filter(|offset| *offset > after) {
                            self.add(&mut found, offset, &bytes);
                        }
                    }),
                    Err(reason) => found.damaged.push((last_offset, format!("sealed block: {reason}"))),
                }
            }
            if is_end {
                break;
            }
        }
        while found.records.len() < limit {
            let most = RECORDS_READ_MAX.min(limit - found.records.len());
            let records = read_records(&mut transaction, board, (last, i64::MAX), most)
                .await
                .map_err(|error| told(&error))?;
            let is_end = records.len() < most;
            for (offset, bytes) in records {
                last = offset;
                self.add(&mut found, offset, &bytes);
            }
            if is_end {
                break;
            }
        }
        found.records.truncate(limit);
        Ok(found)
    }

    /// A transaction that sees one state, so that a record which is sealed meanwhile is neither missed nor read twice.
    async fn snapshot(&self) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.pool
            .begin_with("begin isolation level repeatable read read only")
            .await
    }

    fn add(&self, found: &mut Found, kafka_offset: i64, bytes: &[u8]) {
        match codec::decode_record(bytes) {
            Ok(record) => found.records.push(Logged {
                position: self.position(kafka_offset),
                record: Arc::new(record),
            }),
            Err(error) => found.damaged.push((kafka_offset, error.to_string())),
        }
    }

    /// Notes a record that boards open without; told once, however often it is met.
    pub async fn quarantine(&self, board: &BoardId, kafka_offset: i64, reason: &str) -> Result<(), StoreError> {
        let noted = sqlx::query(
            "insert into quarantine (board, kafka_offset, reason) values ($1, $2, $3) on conflict do nothing",
        )
        .bind(board.as_str())
        .bind(kafka_offset)
        // Text of a broken record may be in it.
        .bind(reason.replace('\0', " "))
        .execute(&self.pool)
        .await
        .map_err(|error| told(&error))?;
        if noted.rows_affected() > 0 {
            metrics::counter!(telemetry::QUARANTINED_RECORDS_TOTAL).increment(1);
            tracing::error!(board.id = %board, log.offset = kafka_offset, reason, "A record was put in quarantine.");
        }
        Ok(())
    }

    /// Up to where all records of the board are here.
    pub(super) async fn materialised_to(&self, board: &BoardId) -> Result<Position, StoreError> {
        let partition = board.partition(self.partitions);
        let next: i64 =
            sqlx::query_scalar("select next_offset from partition_progress where topic = $1 and partition = $2")
                .bind(&self.topic)
                .bind(i64::from(partition))
                .fetch_one(&self.pool)
                .await
                .map_err(|error| told(&error))?;
        Ok(self.position(next - 1))
    }
}

/// Writes the keyframe and packs the single records up to it into blocks.
async fn seal_to(
    mut transaction: Transaction<'static, Postgres>,
    board: &BoardId,
    at: i64,
    keyframe: &Bytes,
) -> Result<(), StoreError> {
    // One sealer of a board at a time; whoever stores records of it meanwhile does not wait.
    let locked = sqlx::query("select 1 from boards where id = $1 for no key update")
        .bind(board.as_str())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(|error| told(&error))?;
    if locked.is_none() {
        return Err(StoreError::NoBoard);
    }
    sqlx::query(
        "insert into keyframes (board, kafka_offset, bytes) values ($1, $2, $3)
         on conflict (board, kafka_offset) do update set bytes = excluded.bytes",
    )
    .bind(board.as_str())
    .bind(at)
    .bind(keyframe.as_ref())
    .execute(&mut *transaction)
    .await
    .map_err(|error| told(&error))?;
    let mut last = -1;
    loop {
        let records = read_records(&mut transaction, board, (last, at), RECORDS_READ_MAX)
            .await
            .map_err(|error| told(&error))?;
        let is_end = records.len() < RECORDS_READ_MAX;
        if let Some((first, _)) = records.first() {
            let first = *first;
            last = records.last().map_or(last, |(offset, _)| *offset);
            for block in packed(records).await? {
                insert_block(&mut transaction, board, &block)
                    .await
                    .map_err(|error| told(&error))?;
            }
            let sealed = sqlx::query("delete from records where board = $1 and kafka_offset between $2 and $3");
            sealed
                .bind(board.as_str())
                .bind(first)
                .bind(last)
                .execute(&mut *transaction)
                .await
                .map_err(|error| told(&error))?;
        }
        if is_end {
            break;
        }
    }
    thin(&mut transaction, board, at).await.map_err(|error| told(&error))?;
    transaction.commit().await.map_err(|error| told(&error))
}

/// Removes the keyframe before the one at `at` if it weighs more than the history between its neighbours, which it spares
/// from being read: else every time somebody looks in at a board would cost the database all of it.
async fn thin(connection: &mut PgConnection, board: &BoardId, at: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "delete from keyframes using (
             select kafka_offset, octet_length(bytes) weight,
                    coalesce(lead(kafka_offset) over (order by kafka_offset desc), -1) earlier
             from keyframes where board = $1 and kafka_offset < $2 order by kafka_offset desc limit 1) former
         where keyframes.board = $1 and keyframes.kafka_offset = former.kafka_offset and former.weight > (
             select coalesce(sum(octet_length(bytes)), 0) from blocks
             where board = $1 and last_offset > former.earlier and last_offset <= $2)",
    )
    .bind(board.as_str())
    .bind(at)
    .execute(connection)
    .await
    .map(drop)
}

/// Compresses off the workers.
async fn packed(records: Vec<Row>) -> Result<Vec<Block>, StoreError> {
    let packing = tokio::task::spawn_blocking(move || {
        let offset = |(offset, bytes): Row| Ok((u64::try_from(offset).map_err(|error| error.to_string())?, bytes));
        let records = records.into_iter().map(offset).collect::<Result<Vec<_>, String>>()?;
        seal(&records)
    });
    let packed = packing.await.map_err(|panic| damaged(&panic))?;
    packed.map_err(StoreError::Failed)
}

async fn insert_block(connection: &mut PgConnection, board: &BoardId, block: &Block) -> Result<(), sqlx::Error> {
    let last = block.offsets.last().and_then(|last| i64::try_from(*last).ok());
    sqlx::query("insert into blocks (board, last_offset, bytes) values ($1, $2, $3)")
        .bind(board.as_str())
        .bind(last)
        .bind(&block.stored)
        .execute(connection)
        .await
        .map(drop)
}

async fn read_blocks(connection: &mut PgConnection, board: &BoardId, after: i64) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(
        "select last_offset, bytes from blocks where board = $1 and last_offset > $2 order by last_offset limit $3",
    )
    .bind(board.as_str())
    .bind(after)
    .bind(rows(BLOCKS_READ_MAX))
    .fetch_all(connection)
    .await
}

/// Single records of the board behind the first offset and up to the second.
async fn read_records(
    connection: &mut PgConnection,
    board: &BoardId,
    (after, to): (i64, i64),
    limit: usize,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(
        "select kafka_offset, bytes from records where board = $1 and kafka_offset > $2 and kafka_offset <= $3
         order by kafka_offset limit $4",
    )
    .bind(board.as_str())
    .bind(after)
    .bind(to)
    .bind(rows(limit))
    .fetch_all(connection)
    .await
}
