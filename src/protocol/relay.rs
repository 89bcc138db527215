//! What rooms of one board on several nodes show each other: who is here, and what is shown and never stored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::{SessionId, Timestamp, UserId};
use super::{Blob, EphemeralState};

/// The two ways between the rooms of a board. What matters does not wait behind what comes often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Who is on the board.
    Presence,
    /// Pointers, strokes in the making, awareness.
    Cursors,
}

/// Somebody who is on the board through the room that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Present {
    /// The connection, by a name that no other node gives.
    pub session: SessionId,
    /// The person, by their token.
    pub user: UserId,
    /// Their name, by their token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether they came through the door for Yjs clients.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_yjs: bool,
}

/// What a room tells the other rooms of its board. It may be lost: everything is told again from time to time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Relayed {
    /// CRDT client id of the room that speaks.
    pub room: u64,
    /// Number of the last record that it had made.
    pub number: u64,
    /// When it was said, by the clock of its node.
    pub sent: Timestamp,
    /// The only room that is spoken to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Whoever hears this shall say all that is shown there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks: bool,
    /// Nobody is on the board through this room any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_over: bool,
    /// People who are here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub here: Vec<Present>,
    /// Connections that have ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<SessionId>,
    /// What people of our own door show.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<EphemeralState>,
    /// Awareness updates of Yjs clients, as they send them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub awareness: Vec<(SessionId, Blob)>,
}

impl Lane {
    /// Its name for operators.
    pub fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Cursors => "cursors",
        }
    }
}
