//! Who somebody is, and what that lets them do: pure decisions, no lookup, no clock.
//!
//! `http/auth.rs` makes a [`Caller`] of a verified token (or of nothing, with `--auth open`) and looks up the board and
//! the member's entry; the decision is made here. A payload, a client id or an awareness state never has a say in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::protocol::ids::{BoardId, Role, Timestamp, UserId};

/// Key in a token's `boards` that stands for every board.
pub const ANY_BOARD: &str = "*";

/// A person, as the verified token names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The token's `sub`.
    pub user: UserId,
    /// The token's `name`: what others see beside the cursor.
    pub name: Option<String>,
}

/// What a token says of boards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grants {
    /// `--auth open`: everybody is a teacher of every board and makes boards by opening them.
    Open,
    /// No `boards` in the token: only what the members' list of a board gives; may make boards.
    Members,
    /// The token's `boards`, by board id or [`ANY_BOARD`].
    Listed(BTreeMap<String, Role>),
}

/// A person with what their token grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub identity: Identity,
    /// What the token says of boards.
    pub grants: Grants,
    /// When the token ends; a socket must not outlive it. `None`: never.
    pub expires: Option<Timestamp>,
    /// The token itself, by what it can be revoked; none in the open mode.
    pub token: Option<TokenMark>,
    /// The token's `admin`: may revoke tokens of others.
    pub is_admin: bool,
}

/// What a token is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenMark {
    /// Its `jti`.
    pub id: Option<Arc<str>>,
    /// When it was issued; where it does not say, the earliest time that its life allows.
    pub issued: Timestamp,
}

/// The caller's role on a board, if they have any: the members' list wins, then what the token says of this board, then
/// what it says of every board.
pub fn role_on_board(member: Option<Role>, grants: &Grants, board: &BoardId) -> Option<Role> {
    member.or_else(|| match grants {
        Grants::Open => Some(Role::Teacher),
        Grants::Members => None,
        Grants::Listed(roles) => roles.get(board.as_str()).or_else(|| roles.get(ANY_BOARD)).copied(),
    })
}

/// Whether the caller may make boards.
pub fn may_create(grants: &Grants) -> bool {
    match grants {
        Grants::Open | Grants::Members => true,
        Grants::Listed(roles) => roles.get(ANY_BOARD) == Some(&Role::Teacher),
    }
}

/// Whether the caller sees every board in the list, or only those they are a member of.
pub fn sees_all(grants: &Grants) -> bool {
    match grants {
        Grants::Open => true,
        Grants::Members => false,
        Grants::Listed(roles) => roles.contains_key(ANY_BOARD),
    }
}
