//! Boards, members, keyframes, history and assets: what is looked up, not read in order.
//!
//! The contract suite in `tests/it/store_contract.rs` runs on every adapter. All calls are whole or not at all.

pub mod disk;
pub mod memory;
pub mod postgres;

use async_trait::async_trait;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::protocol::Logged;
use crate::protocol::ids::{BoardId, EditScope, Position, Role, Timestamp, UserId};
pub use crate::protocol::notice::{Revocation, Revoked};

/// Boards that are kept as somebody's recent ones.
pub const VISITS_MAX: usize = 50;
/// Invites that a board has at most.
pub const INVITES_MAX: usize = 20;

/// What is known of a board without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, utoipa::ToSchema)]
pub struct BoardInfo {
    /// Its name.
    #[schema(value_type = String)]
    pub id: BoardId,
    /// Its title, as people wrote it.
    pub title: String,
    /// Who may edit which elements.
    pub edit: EditScope,
    /// When it was made, in ms since 1970.
    #[schema(value_type = u64)]
    pub created: Timestamp,
    /// Who made it.
    #[schema(value_type = String)]
    pub owner: UserId,
}

/// What to change of a board; what is not named stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BoardChange {
    /// New title.
    pub title: Option<String>,
    /// Who may edit which elements from now on.
    pub edit: Option<EditScope>,
}

impl BoardChange {
    fn apply(&self, info: &mut BoardInfo) {
        if let Some(title) = &self.title {
            info.title.clone_from(title);
        }
        info.edit = self.edit.unwrap_or(info.edit);
    }
}

/// A person's role on a board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, utoipa::ToSchema)]
pub struct Member {
    /// The person.
    #[schema(value_type = String)]
    pub user: UserId,
    /// What they may do.
    pub role: Role,
}

/// A way onto a board for whoever has its code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Invite {
    /// What people type or follow: letters and digits.
    pub code: String,
    /// Where it leads.
    #[schema(value_type = String)]
    pub board: BoardId,
    /// What those who come by it may do.
    pub role: Role,
    /// Until when it holds, in ms since 1970.
    #[schema(value_type = u64)]
    pub expires: Timestamp,
}

/// A keyframe as it lies in the store: bytes made and read by `board/keyframe.rs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKeyframe {
    /// It is exactly the log up to here.
    pub position: Position,
    /// Its content.
    pub bytes: Bytes,
}

/// A keyframe is due once what came since the last one weighs as much as it, and this many bytes at least.
const KEYFRAME_TAIL_BYTES_MIN: usize = 256 * 1024;

/// Bytes since a keyframe of that size, 0 for none, with which the next one is due. A room counts updates and the
/// document as they are, the database records and keyframes as they lie there.
pub fn keyframe_due_bytes(keyframe_bytes: usize) -> usize {
    keyframe_bytes.max(KEYFRAME_TAIL_BYTES_MIN)
}

/// An uploaded file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// Media type, found from the content.
    pub mime_type: String,
    /// Width and height in px, for images.
    pub size: Option<(u32, u32)>,
    /// The content.
    pub bytes: Bytes,
}

/// What is known of an uploaded file without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetHead {
    /// Media type, found from the content.
    pub mime_type: String,
    /// Width and height in px, for images.
    pub size: Option<(u32, u32)>,
    /// Length of the content in bytes.
    pub length: u64,
}

/// Why the store did not do what was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// No such board.
    #[error("no such board")]
    NoBoard,
    /// The board exists already.
    #[error("the board exists already")]
    BoardExists,
    /// Nobody would be left who could make somebody else a teacher.
    #[error("the board would be left without a teacher")]
    LastTeacher,
    /// The board has as many invites as it may.
    #[error("the board has too many invites")]
    TooManyInvites,
    /// The disk is full.
    #[error("the store has no room left")]
    Full,
    /// What was read is damaged: it fails its check sum.
    #[error("damaged data in the store: {0}")]
    Damaged(String),
    /// The database cannot be reached, or takes no calls: try again later.
    #[error("the store cannot be reached: {0}")]
    Away(String),
    /// Reading or writing failed.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// Boards, members, keyframes, history and assets.
#[async_trait]
pub trait BoardStore: Send + Sync + 'static {
    /// Makes a board, its owner a teacher of it.
    async fn create_board(&self, info: &BoardInfo) -> Result<(), StoreError>;
    /// The board, if there is one.
    async fn board(&self, board: &BoardId) -> Result<Option<BoardInfo>, StoreError>;
    /// Boards in the order of their ids after `after`, at most `limit`; with `member`, only those they are a member of.
    async fn boards(
        &self,
        member: Option<&UserId>,
        after: Option<&BoardId>,
        limit: usize,
    ) -> Result<Vec<BoardInfo>, StoreError>;
    /// Changes what is named and nothing else, so that of two changes at once none undoes the other; gives the board as it
    /// is now.
    async fn update_board(&self, board: &BoardId, change: &BoardChange) -> Result<BoardInfo, StoreError>;
    /// Removes the board with its records, keyframes, history, members and assets.
    async fn delete_board(&self, board: &BoardId) -> Result<(), StoreError>;

    /// All members in the order of their ids.
    async fn members(&self, board: &BoardId) -> Result<Vec<Member>, StoreError>;
    /// A person's role, if they are a member.
    async fn role(&self, board: &BoardId, user: &UserId) -> Result<Option<Role>, StoreError>;
    /// Sets a person's role; `None` removes them. Refused for the only teacher, unless they stay it.
    async fn set_role(&self, board: &BoardId, user: &UserId, role: Option<Role>) -> Result<(), StoreError>;
    /// Makes somebody a member. Who is one already keeps their role; gives the role they have.
    async fn add_member(&self, board: &BoardId, user: &UserId, role: Role) -> Result<Role, StoreError>;

    /// Keeps an invite; another of the same code is replaced. Those of the board that have ended at `now` go. Refused
    /// where [`INVITES_MAX`] are left.
    async fn put_invite(&self, invite: &Invite, now: Timestamp) -> Result<(), StoreError>;
    /// The invite of that code, expired or not.
    async fn invite(&self, code: &str) -> Result<Option<Invite>, StoreError>;
    /// All invites of a board in the order of their codes.
    async fn invites(&self, board: &BoardId) -> Result<Vec<Invite>, StoreError>;
    /// Ends an invite of the board; `false` if it has none of that code.
    async fn remove_invite(&self, board: &BoardId, code: &str) -> Result<bool, StoreError>;

    /// Notes that somebody was on a board. Their newest [`VISITS_MAX`] boards are kept.
    async fn note_visit(&self, user: &UserId, board: &BoardId, now: Timestamp) -> Result<(), StoreError>;
    /// The boards somebody was on, newest first, those that are gone left out.
    async fn visits(&self, user: &UserId) -> Result<Vec<(BoardInfo, Timestamp)>, StoreError>;

    /// The newest keyframe.
    async fn keyframe(&self, board: &BoardId) -> Result<Option<StoredKeyframe>, StoreError>;
    /// Stores a keyframe and seals the records before it into compressed history blocks, in one transaction. The keyframe
    /// before it may go, where it weighs more than the history it spares.
    async fn put_keyframe(&self, board: &BoardId, keyframe: StoredKeyframe) -> Result<(), StoreError>;
    /// Where somebody else fills the history: the place up to which it has all records of the board. Those behind it come
    /// from the log. Read it before the history: what is stored meanwhile may only add to it.
    async fn complete_to(&self, _board: &BoardId) -> Result<Option<Position>, StoreError> {
        Ok(None)
    }
    /// Records of the board after `after` from history and log alike, at most `limit`.
    async fn history(&self, board: &BoardId, after: Option<Position>, limit: usize) -> Result<Vec<Logged>, StoreError>;
    /// The newest keyframe at or before `at`, for a jump or a restore.
    async fn keyframe_before(&self, board: &BoardId, at: Position) -> Result<Option<StoredKeyframe>, StoreError>;

    /// Keeps a file uploaded at `now` under its SHA-256 in lower-case hex. Keeping it twice is once, at the later time.
    async fn put_asset(&self, board: &BoardId, sha256: &str, asset: Asset, now: Timestamp) -> Result<(), StoreError>;
    /// The file, if it is there.
    async fn asset(&self, board: &BoardId, sha256: &str) -> Result<Option<Asset>, StoreError>;
    /// The same without its content: a file that is missing is damaged, one that was changed is not noticed.
    async fn asset_head(&self, board: &BoardId, sha256: &str) -> Result<Option<AssetHead>, StoreError>;
    /// Removes files that are not in `used` and were uploaded before `before`; gives their number.
    async fn collect_assets(&self, board: &BoardId, used: &[String], before: Timestamp) -> Result<usize, StoreError>;

    /// Keeps a revocation; what is known of the same token or person stays at least as it is.
    async fn revoke(&self, revocation: &Revocation) -> Result<(), StoreError>;
    /// The revocations that still count at `now`, in no order; the others may be forgotten.
    async fn revocations(&self, now: Timestamp) -> Result<Vec<Revocation>, StoreError>;
}

/// A revocation with what is known already: clocks of nodes differ, and none takes back a part of an earlier one.
fn widened(revocation: &Revocation, known: Option<&Revocation>) -> Revocation {
    let mut widened = revocation.clone();
    if let Some(known) = known {
        widened.at = widened.at.max(known.at);
        widened.until = widened.until.max(known.until);
    }
    widened
}

/// Refuses a position that is not in the log that ends at `end`.
fn refuse_foreign(position: Position, end: Position) -> Result<(), StoreError> {
    if position.epoch() == end.epoch() && position <= end {
        Ok(())
    } else {
        Err(StoreError::Failed(format!("position {position} is not in this log")))
    }
}

/// Refuses what is not a SHA-256 in lower-case hex, because it becomes the name of a file.
fn refuse_bad_hash(sha256: &str) -> Result<(), StoreError> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if sha256.len() == 64 && sha256.bytes().all(is_hex) {
        Ok(())
    } else {
        Err(StoreError::Failed("an asset is named by its SHA-256 in hex".into()))
    }
}
