//! The embedded store: tables in the database file of the log, and assets as files beside it.
//!
//! Values carry check sums; what is small lies there as JSON. A keyframe and the sealing of the records before it are one
//! transaction (`disk/history.rs`), so a crash leaves either all of it or nothing. `disk/verify.rs` checks a closed
//! data directory.

mod assets;
mod history;
mod invites;
mod tokens;
mod verify;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use redb::{ReadableTable, Table, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use verify::{Report, verify};

use super::{
    Asset, AssetHead, BoardChange, BoardInfo, BoardStore, Invite, Member, Revocation, StoreError, StoredKeyframe,
};
use crate::log::disk::Database;
use crate::log::disk::database::{ASSET_BOARDS, ASSETS, BLOCKS, QUARANTINE};
use crate::log::disk::database::{BOARDS, KEYFRAMES, LOG, MEMBER_BOARDS, MEMBERS};
use crate::log::disk::fault::Aborted;
use crate::log::disk::records::{self, checked, content};
use crate::protocol::Logged;
use crate::protocol::ids::{BoardId, Position, Role, Timestamp, UserId};
use crate::telemetry;

type Refused = Aborted<StoreError>;

/// The store of a node without a cluster.
#[derive(Clone)]
pub struct DiskStore(Arc<Files>);

/// What the calls work on, on threads that may block.
struct Files {
    database: Database,
    /// Held while records are sealed or a board is deleted: both read first, then change what they read.
    sealing: Mutex<()>,
    /// Held while files come and go, so that none is removed that another board has just begun to use.
    assets: Mutex<()>,
}

impl DiskStore {
    /// The store on an open database.
    pub fn new(database: Database) -> Self {
        Self(Arc::new(Files {
            database,
            sealing: Mutex::default(),
            assets: Mutex::default(),
        }))
    }

    async fn run<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Files) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let files = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || act(&files)).await {
            Ok(outcome) => outcome,
            Err(error) => Err(StoreError::Failed(error.to_string())),
        }
    }
}

impl Files {
    fn end(&self) -> Position {
        Position(self.database.epoch(), self.database.end())
    }

    fn create_board(&self, info: &BoardInfo) -> Result<(), StoreError> {
        let (id, owner) = (info.id.as_str(), info.owner.as_str());
        let _sealing = self.sealing.lock();
        self.database.settle_board(&info.id)?;
        self.database.write(|transaction| {
            let mut boards = transaction.open_table(BOARDS)?;
            if boards.get(id)?.is_some() {
                return Err(Refused::Refused(StoreError::BoardExists));
            }
            // A room that was still at work when an earlier board of this name was deleted may have left something.
            forget_records(transaction, id)?;
            boards.insert(id, to_stored(info).as_slice())?;
            let role = to_stored(&Role::Teacher);
            transaction.open_table(MEMBERS)?.insert((id, owner), role.as_slice())?;
            transaction.open_table(MEMBER_BOARDS)?.insert((owner, id), ())?;
            Ok(())
        })
    }

    fn board(&self, board: &BoardId) -> Result<Option<BoardInfo>, StoreError> {
        self.database
            .read(|transaction| {
                let boards = transaction.open_table(BOARDS)?;
                Ok(boards.get(board.as_str())?.map(|stored| stored.value().to_vec()))
            })
            .and_then(|stored: Option<Vec<u8>>| stored.map(|stored| from_stored(&stored)).transpose())
    }

    fn boards(&self, member: Option<&UserId>, after: &str, limit: usize) -> Result<Vec<BoardInfo>, StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.database.read(|transaction| {
            let boards = transaction.open_table(BOARDS)?;
            let mut found = Vec::new();
            let Some(member) = member else {
                for entry in boards.range::<&str>((Excluded(after), Unbounded))? {
                    if found.len() >= limit {
                        break;
                    }
                    let (id, stored) = entry?;
                    found.extend(listed(id.value(), stored.value()));
                }
                return Ok(found);
            };
            let of_member = transaction.open_table(MEMBER_BOARDS)?;
            for entry in of_member.range::<(&str, &str)>((Excluded((member.as_str(), after)), Unbounded))? {
                let (key, ()) = entry.map(|(key, unit)| (key, unit.value()))?;
                let (user, board) = key.value();
                if user != member.as_str() || found.len() >= limit {
                    break;
                }
                if let Some(stored) = boards.get(board)? {
                    found.extend(listed(board, stored.value()));
                }
            }
            Ok(found)
        })
    }

    fn update_board(&self, board: &BoardId, change: &BoardChange) -> Result<BoardInfo, StoreError> {
        self.database.write(|transaction| {
            let mut boards = transaction.open_table(BOARDS)?;
            let known = boards.get(board.as_str())?.map(|stored| from_stored(stored.value()));
            let mut info: BoardInfo = known.ok_or(StoreError::NoBoard).flatten().map_err(Refused::Refused)?;
            change.apply(&mut info);
            boards.insert(board.as_str(), to_stored(&info).as_slice())?;
            Ok(info)
        })
    }

    fn delete_board(&self, board: &BoardId) -> Result<(), StoreError> {
        let _sealing = self.sealing.lock();
        let _assets = self.assets.lock();
        self.database.settle_board(board)?;
        let id = board.as_str();
        let orphans = self.database.write(|transaction| {
            if transaction.open_table(BOARDS)?.remove(id)?.is_none() {
                return Err(Refused::Refused(StoreError::NoBoard));
            }
            forget_records(transaction, id)?;
            let users = names_under(&mut transaction.open_table(MEMBERS)?, id)?;
            let mut member_boards = transaction.open_table(MEMBER_BOARDS)?;
            for user in users {
                member_boards.remove((user.as_str(), id))?;
            }
            invites::forget(transaction, id)?;
            let hashes = names_under(&mut transaction.open_table(ASSETS)?, id)?;
            let mut asset_boards = transaction.open_table(ASSET_BOARDS)?;
            assets::forget(&mut asset_boards, id, hashes)
        })?;
        assets::remove_files(self.database.dir(), &orphans);
        Ok(())
    }

    fn members(&self, board: &BoardId) -> Result<Vec<Member>, StoreError> {
        let id = board.as_str();
        self.database.read(|transaction| {
            require_board(&transaction.open_table(BOARDS)?, id)?;
            let mut members = Vec::new();
            for entry in transaction.open_table(MEMBERS)?.range((id, "")..)? {
                let (key, role) = entry?;
                let (of_board, user) = key.value();
                if of_board != id {
                    break;
                }
                let user = UserId::new(user).map_err(|error| Refused::Refused(damaged(&error)))?;
                let role = from_stored(role.value()).map_err(Refused::Refused)?;
                members.push(Member { user, role });
            }
            Ok(members)
        })
    }

    fn role(&self, board: &BoardId, user: &UserId) -> Result<Option<Role>, StoreError> {
        self.database.read(|transaction| {
            let members = transaction.open_table(MEMBERS)?;
            let role = members.get((board.as_str(), user.as_str()))?;
            let role = role.map(|stored| from_stored(stored.value()));
            role.transpose().map_err(Refused::Refused)
        })
    }

    fn set_role(&self, board: &BoardId, user: &UserId, role: Option<Role>) -> Result<(), StoreError> {
        let (id, user) = (board.as_str(), user.as_str());
        self.database.write(|transaction| {
            require_board(&transaction.open_table(BOARDS)?, id)?;
            let mut members = transaction.open_table(MEMBERS)?;
            let mut member_boards = transaction.open_table(MEMBER_BOARDS)?;
            if role != Some(Role::Teacher) {
                let mut teachers = Vec::new();
                for entry in members.range((id, "")..)? {
                    let (key, stored) = entry?;
                    let (of_board, member) = key.value();
                    if of_board != id {
                        break;
                    }
                    let role: Role = from_stored(stored.value()).map_err(Refused::Refused)?;
                    if role == Role::Teacher {
                        teachers.push(member.to_owned());
                    }
                }
                if teachers == [user] {
                    return Err(Refused::Refused(StoreError::LastTeacher));
                }
            }
            if let Some(role) = role {
                members.insert((id, user), to_stored(&role).as_slice())?;
                member_boards.insert((user, id), ())?;
            } else {
                members.remove((id, user))?;
                member_boards.remove((user, id))?;
            }
            Ok(())
        })
    }

    fn add_member(&self, board: &BoardId, user: &UserId, role: Role) -> Result<Role, StoreError> {
        let (id, user) = (board.as_str(), user.as_str());
        self.database.write(|transaction| {
            require_board(&transaction.open_table(BOARDS)?, id)?;
            let mut members = transaction.open_table(MEMBERS)?;
            let known = members.get((id, user))?.map(|stored| from_stored(stored.value()));
            if let Some(known) = known.transpose().map_err(Refused::Refused)? {
                return Ok(known);
            }
            members.insert((id, user), to_stored(&role).as_slice())?;
            transaction.open_table(MEMBER_BOARDS)?.insert((user, id), ())?;
            Ok(role)
        })
    }

    /// The newest keyframe up to `at` that can be read: what a damaged one holds is in the records, too.
    fn keyframe_before(&self, board: &BoardId, at: u64) -> Result<Option<StoredKeyframe>, StoreError> {
        let id = board.as_str();
        let epoch = self.database.epoch();
        self.database.read::<_, StoreError>(|transaction| {
            for entry in transaction.open_table(KEYFRAMES)?.range((id, 0)..=(id, at))?.rev() {
                let (key, stored) = entry?;
                let offset = key.value().1;
                match content(stored.value()) {
                    Ok(bytes) => {
                        return Ok(Some(StoredKeyframe {
                            position: Position(epoch, offset),
                            bytes: Bytes::copy_from_slice(bytes),
                        }));
                    }
                    Err(reason) => {
                        tracing::error!(
                            board.id = id,
                            log.offset = offset,
                            reason,
                            "A damaged keyframe is passed over."
                        );
                        metrics::counter!(telemetry::KEYFRAMES_DAMAGED_TOTAL).increment(1);
                    }
                }
            }
            Ok(None)
        })
    }
}

fn require_board(boards: &impl ReadableTable<&'static str, &'static [u8]>, id: &str) -> Result<(), Refused> {
    match boards.get(id)? {
        Some(_stored) => Ok(()),
        None => Err(Refused::Refused(StoreError::NoBoard)),
    }
}

fn forget_records(transaction: &WriteTransaction, id: &str) -> Result<(), Refused> {
    for table in [LOG, BLOCKS, KEYFRAMES] {
        remove_all(&mut transaction.open_table(table)?, (id, 0), (id, u64::MAX))?;
    }
    let mut quarantine = transaction.open_table(QUARANTINE)?;
    quarantine.retain_in((id, 0)..=(id, u64::MAX), |_key, _reason| false)?;
    Ok(())
}

fn remove_all(
    table: &mut Table<'_, (&'static str, u64), &'static [u8]>,
    first: (&str, u64),
    last: (&str, u64),
) -> Result<(), Refused> {
    table.retain_in(first..=last, |_key, _value| false)?;
    Ok(())
}

/// Removes all entries of the board, and gives the second parts of their keys.
fn names_under(
    table: &mut Table<'_, (&'static str, &'static str), &'static [u8]>,
    board: &str,
) -> Result<Vec<String>, Refused> {
    let mut names = Vec::new();
    for entry in table.range((board, "")..)? {
        let (key, _value) = entry?;
        let (of_board, name) = key.value();
        if of_board != board {
            break;
        }
        names.push(name.to_owned());
    }
    for name in &names {
        table.remove((board, name.as_str()))?;
    }
    Ok(names)
}

fn to_stored(value: &impl Serialize) -> Vec<u8> {
    checked(|bytes| serde_json::to_writer(bytes, value).expect("plain data becomes JSON"))
}

fn from_stored<T: DeserializeOwned>(stored: &[u8]) -> Result<T, StoreError> {
    let json = content(stored).map_err(|reason| StoreError::Damaged(reason.into()))?;
    serde_json::from_slice(json).map_err(|error| damaged(&error))
}

/// A board for a list: a damaged one must not hide the others.
fn listed(id: &str, stored: &[u8]) -> Option<BoardInfo> {
    from_stored(stored)
        .inspect_err(|error| {
            tracing::error!(board.id = id, %error, "A damaged board is left out of a list.");
            metrics::counter!(telemetry::BOARDS_DAMAGED_TOTAL).increment(1);
        })
        .ok()
}

fn damaged(error: &impl ToString) -> StoreError {
    StoreError::Damaged(error.to_string())
}

#[async_trait]
impl BoardStore for DiskStore {
    async fn create_board(&self, info: &BoardInfo) -> Result<(), StoreError> {
        let info = info.clone();
        self.run(move |files| files.create_board(&info)).await
    }

    async fn board(&self, board: &BoardId) -> Result<Option<BoardInfo>, StoreError> {
        let board = board.clone();
        self.run(move |files| files.board(&board)).await
    }

    async fn boards(
        &self,
        member: Option<&UserId>,
        after: Option<&BoardId>,
        limit: usize,
    ) -> Result<Vec<BoardInfo>, StoreError> {
        let (member, after) = (member.cloned(), after.map_or("".into(), BoardId::shared));
        self.run(move |files| files.boards(member.as_ref(), &after, limit))
            .await
    }

    async fn update_board(&self, board: &BoardId, change: &BoardChange) -> Result<BoardInfo, StoreError> {
        let (board, change) = (board.clone(), change.clone());
        self.run(move |files| files.update_board(&board, &change)).await
    }

    async fn delete_board(&self, board: &BoardId) -> Result<(), StoreError> {
        let board = board.clone();
        self.run(move |files| files.delete_board(&board)).await
    }

    async fn members(&self, board: &BoardId) -> Result<Vec<Member>, StoreError> {
        let board = board.clone();
        self.run(move |files| files.members(&board)).await
    }

    async fn role(&self, board: &BoardId, user: &UserId) -> Result<Option<Role>, StoreError> {
        let (board, user) = (board.clone(), user.clone());
        self.run(move |files| files.role(&board, &user)).await
    }

    async fn set_role(&self, board: &BoardId, user: &UserId, role: Option<Role>) -> Result<(), StoreError> {
        let (board, user) = (board.clone(), user.clone());
        self.run(move |files| files.set_role(&board, &user, role)).await
    }

    async fn add_member(&self, board: &BoardId, user: &UserId, role: Role) -> Result<Role, StoreError> {
        let (board, user) = (board.clone(), user.clone());
        self.run(move |files| files.add_member(&board, &user, role)).await
    }

    async fn put_invite(&self, invite: &Invite, now: Timestamp) -> Result<(), StoreError> {
        let invite = invite.clone();
        self.run(move |files| files.put_invite(&invite, now)).await
    }

    async fn invite(&self, code: &str) -> Result<Option<Invite>, StoreError> {
        let code = code.to_owned();
        self.run(move |files| files.invite(&code)).await
    }

    async fn invites(&self, board: &BoardId) -> Result<Vec<Invite>, StoreError> {
        let board = board.clone();
        self.run(move |files| files.invites(&board)).await
    }

    async fn remove_invite(&self, board: &BoardId, code: &str) -> Result<bool, StoreError> {
        let (board, code) = (board.clone(), code.to_owned());
        self.run(move |files| files.remove_invite(&board, &code)).await
    }

    async fn note_visit(&self, user: &UserId, board: &BoardId, now: Timestamp) -> Result<(), StoreError> {
        let (user, board) = (user.clone(), board.clone());
        self.run(move |files| files.note_visit(&user, &board, now)).await
    }

    async fn visits(&self, user: &UserId) -> Result<Vec<(BoardInfo, Timestamp)>, StoreError> {
        let user = user.clone();
        self.run(move |files| files.visits(&user)).await
    }

    async fn keyframe(&self, board: &BoardId) -> Result<Option<StoredKeyframe>, StoreError> {
        let board = board.clone();
        self.run(move |files| files.keyframe_before(&board, u64::MAX)).await
    }

    async fn put_keyframe(&self, board: &BoardId, keyframe: StoredKeyframe) -> Result<(), StoreError> {
        let board = board.clone();
        self.run(move |files| files.put_keyframe(&board, &keyframe)).await
    }

    async fn history(&self, board: &BoardId, after: Option<Position>, limit: usize) -> Result<Vec<Logged>, StoreError> {
        let board = board.clone();
        self.run(move |files| {
            let after = after.unwrap_or(Position(files.database.epoch(), 0));
            super::refuse_foreign(after, files.end())?;
            records::read(&files.database, &board, after.offset(), limit)
        })
        .await
    }

    async fn keyframe_before(&self, board: &BoardId, at: Position) -> Result<Option<StoredKeyframe>, StoreError> {
        let board = board.clone();
        self.run(move |files| {
            super::refuse_foreign(at, files.end())?;
            files.keyframe_before(&board, at.offset())
        })
        .await
    }

    async fn put_asset(&self, board: &BoardId, sha256: &str, asset: Asset, now: Timestamp) -> Result<(), StoreError> {
        let (board, sha256) = (board.clone(), sha256.to_owned());
        self.run(move |files| files.put_asset(&board, &sha256, &asset, now))
            .await
    }

    async fn asset(&self, board: &BoardId, sha256: &str) -> Result<Option<Asset>, StoreError> {
        let (board, sha256) = (board.clone(), sha256.to_owned());
        self.run(move |files| files.asset(&board, &sha256)).await
    }

    async fn asset_head(&self, board: &BoardId, sha256: &str) -> Result<Option<AssetHead>, StoreError> {
        let (board, sha256) = (board.clone(), sha256.to_owned());
        self.run(move |files| files.asset_head(&board, &sha256)).await
    }

    async fn collect_assets(&self, board: &BoardId, used: &[String], before: Timestamp) -> Result<usize, StoreError> {
        let (board, used) = (board.clone(), used.to_vec());
        self.run(move |files| files.collect_assets(&board, &used, before)).await
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let revocation = revocation.clone();
        self.run(move |files| files.revoke(&revocation)).await
    }

    async fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        self.run(move |files| files.revocations(now)).await
    }
}
