//! What nodes of a cluster tell each other of changed rights, so that it holds for open sockets everywhere.
//!
//! A notice says what has changed in the store; where a node has the board open, it looks there. So the order of two
//! notices does not matter, nor whether one comes twice.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::{BoardId, EditScope, Role, Timestamp, UserId};

/// What counts no more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Revoked {
    /// The token with this `jti`.
    Token(Arc<str>),
    /// All tokens of this person that were issued so far.
    User(UserId),
}

/// A token, or all of somebody's, that counts no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revocation {
    /// Which.
    pub what: Revoked,
    /// When it was revoked.
    pub at: Timestamp,
    /// When the last of them has ended by itself.
    pub until: Timestamp,
}

/// What every node must know at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "t", rename_all = "lowercase")]
pub enum Notice {
    /// A person's role on a board is another one.
    Role {
        /// The board.
        board: BoardId,
        /// The person.
        user: UserId,
        /// The role when this was said; none: they were removed. It counts where the store cannot be asked.
        role: Option<Role>,
    },
    /// A board's title or setting is another one. They count where the store cannot be asked.
    Info {
        /// The board.
        board: BoardId,
        /// The title when this was said.
        title: String,
        /// Who may edit which elements when this was said.
        edit: EditScope,
    },
    /// A board was deleted.
    Deleted {
        /// The board.
        board: BoardId,
    },
    /// Tokens count no more.
    Revoked(Revocation),
    /// Never sent: notices were lost, so whatever they may have said has to be looked up.
    #[serde(skip)]
    Missed,
}

impl Notice {
    /// Name of the board or person that it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Role { board, .. } | Self::Info { board, .. } | Self::Deleted { board } => board.as_str(),
            Self::Revoked(Revocation { what, .. }) => match what {
                Revoked::Token(id) => id,
                Revoked::User(user) => user.as_str(),
            },
            Self::Missed => "",
        }
    }
}
