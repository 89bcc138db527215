//! The store in memory: for tests, throwaway boards and the simulation.
//!
//! A clone is the same store. Records stay where they are, in the [`MemoryLog`]: nothing is sealed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{
    Asset, AssetHead, BoardChange, BoardInfo, BoardStore, INVITES_MAX, Invite, Member, Revocation, Revoked, StoreError,
    StoredKeyframe, VISITS_MAX, widened,
};
use crate::log::memory::MemoryLog;
use crate::protocol::Logged;
use crate::protocol::ids::{BoardId, Position, Role, Timestamp, UserId};

/// A store that lives as long as its last clone.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    log: MemoryLog,
    boards: Arc<Mutex<BTreeMap<BoardId, Board>>>,
    visits: Arc<Mutex<BTreeMap<UserId, BTreeMap<BoardId, Timestamp>>>>,
    revoked: Arc<Mutex<HashMap<Revoked, Revocation>>>,
}

#[derive(Debug)]
struct Board {
    info: BoardInfo,
    members: BTreeMap<UserId, Role>,
    invites: BTreeMap<String, Invite>,
    keyframes: BTreeMap<Position, StoredKeyframe>,
    assets: BTreeMap<String, (Asset, Timestamp)>,
}

impl MemoryStore {
    /// An empty store beside `log`, whose records are its history.
    pub fn new(log: MemoryLog) -> Self {
        Self {
            log,
            boards: Arc::default(),
            visits: Arc::default(),
            revoked: Arc::default(),
        }
    }

    fn with<T>(&self, board: &BoardId, act: impl FnOnce(&mut Board) -> T) -> Result<T, StoreError> {
        self.boards.lock().get_mut(board).map(act).ok_or(StoreError::NoBoard)
    }

    fn look<T>(&self, board: &BoardId, look: impl FnOnce(&Board) -> T) -> Option<T> {
        self.boards.lock().get(board).map(look)
    }
}

#[async_trait]
impl BoardStore for MemoryStore {
    async fn create_board(&self, info: &BoardInfo) -> Result<(), StoreError> {
        let mut boards = self.boards.lock();
        if boards.contains_key(&info.id) {
            return Err(StoreError::BoardExists);
        }
        let board = Board {
            info: info.clone(),
            members: BTreeMap::from([(info.owner.clone(), Role::Teacher)]),
            invites: BTreeMap::new(),
            keyframes: BTreeMap::new(),
            assets: BTreeMap::new(),
        };
        boards.insert(info.id.clone(), board);
        Ok(())
    }

    async fn board(&self, board: &BoardId) -> Result<Option<BoardInfo>, StoreError> {
        Ok(self.look(board, |board| board.info.clone()))
    }

    async fn boards(
        &self,
        member: Option<&UserId>,
        after: Option<&BoardId>,
        limit: usize,
    ) -> Result<Vec<BoardInfo>, StoreError> {
        let boards = self.boards.lock();
        let listed = boards
            .values()
            .filter(|board| after.is_none_or(|after| board.info.id > *after))
            .filter(|board| member.is_none_or(|member| board.members.contains_key(member)));
        Ok(listed.take(limit).map(|board| board.info.clone()).collect())
    }

    async fn update_board(&self, board: &BoardId, change: &BoardChange) -> Result<BoardInfo, StoreError> {
        self.with(board, |board| {
            change.apply(&mut board.info);
            board.info.clone()
        })
    }

    async fn delete_board(&self, board: &BoardId) -> Result<(), StoreError> {
        let removed = self.boards.lock().remove(board);
        self.log.forget(board);
        removed.map(drop).ok_or(StoreError::NoBoard)
    }

    async fn members(&self, board: &BoardId) -> Result<Vec<Member>, StoreError> {
        self.with(board, |board| {
            let member = |(user, role): (&UserId, &Role)| Member {
                user: user.clone(),
                role: *role,
            };
            board.members.iter().map(member).collect()
        })
    }

    async fn role(&self, board: &BoardId, user: &UserId) -> Result<Option<Role>, StoreError> {
        Ok(self.look(board, |board| board.members.get(user).copied()).flatten())
    }

    async fn set_role(&self, board: &BoardId, user: &UserId, role: Option<Role>) -> Result<(), StoreError> {
        self.with(board, |board| {
            let is_teacher = |(_, known): &(&UserId, &Role)| **known == Role::Teacher;
            let mut teachers = board.members.iter().filter(is_teacher);
            if role != Some(Role::Teacher)
                && teachers.next().is_some_and(|(only, _)| only == user)
                && teachers.next().is_none()
            {
                return Err(StoreError::LastTeacher);
            }
            match role {
                Some(role) => board.members.insert(user.clone(), role),
                None => board.members.remove(user),
            };
            Ok(())
        })?
    }

    async fn add_member(&self, board: &BoardId, user: &UserId, role: Role) -> Result<Role, StoreError> {
        self.with(board, |board| *board.members.entry(user.clone()).or_insert(role))
    }

    async fn put_invite(&self, invite: &Invite, now: Timestamp) -> Result<(), StoreError> {
        self.with(&invite.board, |board| {
            board.invites.retain(|_, invite| invite.expires > now);
            if board.invites.len() >= INVITES_MAX {
                return Err(StoreError::TooManyInvites);
            }
            board.invites.insert(invite.code.clone(), invite.clone());
            Ok(())
        })?
    }

    async fn invite(&self, code: &str) -> Result<Option<Invite>, StoreError> {
        let boards = self.boards.lock();
        Ok(boards.values().find_map(|board| board.invites.get(code).cloned()))
    }

    async fn invites(&self, board: &BoardId) -> Result<Vec<Invite>, StoreError> {
        self.with(board, |board| board.invites.values().cloned().collect())
    }

    async fn remove_invite(&self, board: &BoardId, code: &str) -> Result<bool, StoreError> {
        let removed = self.with(board, |board| board.invites.remove(code).is_some());
        Ok(removed.unwrap_or(false))
    }

    async fn note_visit(&self, user: &UserId, board: &BoardId, now: Timestamp) -> Result<(), StoreError> {
        let mut visits = self.visits.lock();
        let seen = visits.entry(user.clone()).or_default();
        seen.insert(board.clone(), now);
        if seen.len() > VISITS_MAX
            && let Some(oldest) = seen.iter().min_by_key(|(_, at)| **at).map(|(board, _)| board.clone())
        {
            seen.remove(&oldest);
        }
        Ok(())
    }

    async fn visits(&self, user: &UserId) -> Result<Vec<(BoardInfo, Timestamp)>, StoreError> {
        let boards = self.boards.lock();
        let visits = self.visits.lock();
        let mut seen: Vec<_> = visits.get(user).into_iter().flatten().collect();
        seen.sort_by_key(|(_, at)| std::cmp::Reverse(**at));
        let known = seen
            .into_iter()
            .filter_map(|(board, at)| Some((boards.get(board)?.info.clone(), *at)));
        Ok(known.collect())
    }

    async fn keyframe(&self, board: &BoardId) -> Result<Option<StoredKeyframe>, StoreError> {
        let newest = |board: &Board| board.keyframes.values().next_back().cloned();
        Ok(self.look(board, newest).flatten())
    }

    async fn put_keyframe(&self, board: &BoardId, keyframe: StoredKeyframe) -> Result<(), StoreError> {
        super::refuse_foreign(keyframe.position, self.log.end_now())?;
        self.with(board, |board| {
            board.keyframes.insert(keyframe.position, keyframe);
        })
    }

    async fn history(&self, board: &BoardId, after: Option<Position>, limit: usize) -> Result<Vec<Logged>, StoreError> {
        self.log
            .read(board, after, limit)
            .map_err(|error| StoreError::Failed(error.to_string()))
    }

    async fn keyframe_before(&self, board: &BoardId, at: Position) -> Result<Option<StoredKeyframe>, StoreError> {
        super::refuse_foreign(at, self.log.end_now())?;
        let newest = |board: &Board| {
            let mut before = board.keyframes.range(..=at);
            before.next_back().map(|(_position, keyframe)| keyframe.clone())
        };
        Ok(self.look(board, newest).flatten())
    }

    async fn put_asset(&self, board: &BoardId, sha256: &str, asset: Asset, now: Timestamp) -> Result<(), StoreError> {
        super::refuse_bad_hash(sha256)?;
        self.with(board, |board| {
            board.assets.insert(sha256.to_owned(), (asset, now));
        })
    }

    async fn asset(&self, board: &BoardId, sha256: &str) -> Result<Option<Asset>, StoreError> {
        let find = |board: &Board| board.assets.get(sha256).map(|(asset, _uploaded)| asset.clone());
        Ok(self.look(board, find).flatten())
    }

    async fn asset_head(&self, board: &BoardId, sha256: &str) -> Result<Option<AssetHead>, StoreError> {
        let head = |asset: Asset| AssetHead {
            mime_type: asset.mime_type,
            size: asset.size,
            length: asset.bytes.len() as u64,
        };
        Ok(self.asset(board, sha256).await?.map(head))
    }

    async fn collect_assets(&self, board: &BoardId, used: &[String], before: Timestamp) -> Result<usize, StoreError> {
        self.with(board, |board| {
            let held = board.assets.len();
            board
                .assets
                .retain(|sha256, (_asset, uploaded)| used.contains(sha256) || *uploaded >= before);
            held - board.assets.len()
        })
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError> {
        let mut revoked = self.revoked.lock();
        let widened = widened(revocation, revoked.get(&revocation.what));
        revoked.insert(widened.what.clone(), widened);
        Ok(())
    }

    async fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StoreError> {
        let revoked = self.revoked.lock();
        Ok(revoked.values().filter(|entry| entry.until > now).cloned().collect())
    }
}
