//! The store in PostgreSQL, for nodes in a cluster. Contents of assets lie in an object store beside it.
//!
//! Records come from the log's topic by [`materialise`], which is the only one to write them; keyframes seal them into
//! blocks here. So the store is behind the log by what is not materialised yet: [`BoardStore::complete_to`] says how far
//! it has everything. In SQL, places are offsets of Kafka; outside, a [`Position`] is the place behind it, so that 0 lies
//! before every record.
//!
//! The tables are made by the migrations in `schemas/postgres`, when a node starts.

mod assets;
mod boards;
mod connect;
mod history;
mod invites;
pub mod materialise;
mod tokens;

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::PgPool;

use super::{
    Asset, AssetHead, BoardChange, BoardInfo, BoardStore, Invite, Member, Revocation, StoreError, StoredKeyframe,
};
use crate::protocol::Logged;
use crate::protocol::ids::{BoardId, Position, Role, Timestamp, UserId};
use assets::Contents;
pub use connect::{OpenError, Settings, Topic};

/// After this time a call has failed: whoever waits for it is better told so.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections of one node. Calls are short; more of them would only wait for each other in the database.
const CONNECTIONS_MAX: u32 = 16;

/// A store in a PostgreSQL database. A clone is the same store.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: PgPool,
    contents: Contents,
    topic: String,
    partitions: u32,
    epoch: u64,
}

impl PostgresStore {
    /// The epoch of all positions: drawn when the database first met the topic.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    async fn within<T>(act: impl Future<Output = Result<T, sqlx::Error>> + Send) -> Result<T, StoreError> {
        Self::bounded(async { act.await.map_err(|error| told(&error)) }).await
    }

    /// Boxed: the state of a transaction is large.
    fn bounded<'a, T>(
        act: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        let bounded = async {
            tokio::time::timeout(CALL_TIMEOUT, act)
                .await
                .unwrap_or_else(|_elapsed| Err(silent()))
        };
        bounded.boxed()
    }

    /// The place in Kafka that a position of this log stands for; -1 before the first record.
    fn kafka_offset(&self, position: Position) -> Result<i64, StoreError> {
        let offset = i64::try_from(position.offset()).ok();
        match offset.filter(|_| position.epoch() == self.epoch) {
            Some(offset) => Ok(offset - 1),
            None => Err(StoreError::Failed(format!("position {position} is not in this log"))),
        }
    }

    fn position(&self, kafka_offset: i64) -> Position {
        Position(self.epoch, unsigned(kafka_offset + 1))
    }
}

fn silent() -> StoreError {
    StoreError::Away(format!("the database did not answer in {} s", CALL_TIMEOUT.as_secs()))
}

/// What a fault of the database means for the caller.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "faults that do not pass by themselves are alike"
)]
fn told(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(fault) => match fault.code().as_deref() {
            Some("53100") => StoreError::Full,
            // Too many connections or too little memory; a shutdown, a crash or a start under way; a standby; a
            // transaction that was idle while this node was frozen; somebody else's lock.
            Some(code)
                if ["40", "53", "57", "25006", "25P03", "55P03"]
                    .iter()
                    .any(|class| code.starts_with(class)) =>
            {
                StoreError::Away(error.to_string())
            }
            _ => StoreError::Failed(error.to_string()),
        },
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreError::Away(error.to_string()),
        _ => StoreError::Failed(error.to_string()),
    }
}

fn damaged(error: &impl ToString) -> StoreError {
    StoreError::Damaged(error.to_string())
}

/// Times and sizes of ours as PostgreSQL has them.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

/// At most `limit` rows.
fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The word that a role or scope goes by everywhere.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => unreachable!("roles and scopes are words, not {other:?}"),
    }
}

fn from_word<T: DeserializeOwned>(word: String) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(|error| damaged(&error))
}

#[async_trait]
impl BoardStore for PostgresStore {
    async fn create_board(&self, info: &BoardInfo) -> Result<(), StoreError> {
        Self::bounded(self.insert_board(info)).await
    }

    async fn board(&self, board: &BoardId) -> Result<Option<BoardInfo>, StoreError> {
        Self::bounded(self.find_board(board)).await
    }

    async fn boards(
        &self,
        member: Option<&UserId>,
        after: Option<&BoardId>,
        limit: usize,
    ) -> Result<Vec<BoardInfo>, StoreError> {
        Self::bounded(self.list_boards(member, after, limit)).await
    }

    async fn update_board(&self, board: &BoardId, change: &BoardChange) -> Result<BoardInfo, StoreError> {
        Self::bounded(self.change_board(board, change)).await
    }

    async fn delete_board(&self, board: &BoardId) -> Result<(), StoreError> {
        Self::bounded(self.remove_board(board)).await
    }

    async fn members(&self, board: &BoardId) -> Result<Vec<Member>, StoreError> {
        Self::bounded(self.list_members(board)).await
    }

    async fn role(&self, board: &BoardId, user: &UserId) -> Result<Option<Role>, StoreError> {
        Self::bounded(self.find_role(board, user)).await
    }

    async fn set_role(&self, board: &BoardId, user: &UserId, role: Option<Role>) -> Result<(), StoreError> {
        Self::bounded(self.write_role(board, user, role)).await
    }

    async fn add_member(&self, board: &BoardId, user: &UserId, role: Role) -> Result<Role, StoreError> {
        Self::bounded(self.insert_member(board, user, role)).await
    }

    async fn put_invite(&self, invite: &Invite, now: Timestamp) -> Result<(), StoreError> {
        Self::bounded(self.insert_invite(invite, now)).await
    }

    async fn invite(&self, code: &str) -> Result<Option<Invite>, StoreError> {
        Self::bounded(self.find_invite(code)).await
    }

    async fn invites(&self, board: &BoardId) -> Result<Vec<Invite>, StoreError> {
        Self::bounded(self.list_invites(board)).await
    }

    async fn remove_invite(&self, board: &BoardId, code: &str) -> Result<bool, StoreError> {
        Self::within(self.delete_invite(board, code)).await
    }

    async fn note_visit(&self, user: &UserId, board: &BoardId, now: Timestamp) -> Result<(), StoreError> {
        Self::within(self.insert_visit(user, board, now)).await
    }

    async fn visits(&self, user: &UserId) -> Result<Vec<(BoardInfo, Timestamp)>, StoreError> {
        Self::bounded(self.list_visits(user)).await
    }

    async fn keyframe(&self, board: &BoardId) -> Result<Option<StoredKeyframe>, StoreError> {
        Self::within(self.find_keyframe(board, i64::MAX)).await
    }

    async fn put_keyframe(&self, board: &BoardId, keyframe: StoredKeyframe) -> Result<(), StoreError> {
        Self::bounded(self.insert_keyframe(board, keyframe)).await
    }

    async fn complete_to(&self, board: &BoardId) -> Result<Option<Position>, StoreError> {
        Self::bounded(self.materialised_to(board)).await.map(Some)
    }

    async fn history(&self, board: &BoardId, after: Option<Position>, limit: usize) -> Result<Vec<Logged>, StoreError> {
        Self::bounded(self.read_history(board, after, limit)).await
    }

    async fn keyframe_before(&self, board: &BoardId, at: Position) -> Result<Option<StoredKeyframe>, StoreError> {
        let at = self.kafka_offset(at)?;
        Self::within(self.find_keyframe(board, at)).await
    }

    async fn put_asset(&self, board: &BoardId, sha256: &str, asset: Asset, now: Timestamp) -> Result<(), StoreError> {
        super::refuse_bad_hash(sha256)?;
        Self::bounded(self.insert_asset(board, sha256, asset, now)).await
    }

    async fn asset(&self, board: &BoardId, sha256: &str) -> Result<Option<Asset>, StoreError> {
        super::refuse_bad_hash(sha256)?;
        Self::bounded(self.find_asset(board, sha256)).await
    }

    async fn asset_head(&self, board: &BoardId, sha256: &str) -> Result<Option<AssetHead>, StoreError> {
        super::refuse_bad_hash(sha256)?;
        Self::bounded(self.find_asset_head(board, sha256)).await
    }

    async fn collect_assets(&self, board: &BoardId, used: &[String], before: Timestamp) -> Result<usize, StoreError> {
        Self::bounded(self.remove_unused(board, used, before)).await
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        Self::within(self.insert_revocation(revocation)).await
    }

    async fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        Self::bounded(self.list_revocations(now)).await
    }
}
