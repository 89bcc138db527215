//! Names of things: boards, users, sessions, records, places in a log, and the time of day.
//!
//! All of them are plain data. Whatever comes from outside is checked once, where it is parsed, so that the rest of the
//! crate can trust the type.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

/// Longest name of a board, a user or an entry of the document, in bytes.
pub const ID_BYTES_MAX: usize = 64;

/// A name that is empty, too long, or holds a character that does not belong.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{what} must be 1 to {ID_BYTES_MAX} bytes of {allowed}")]
pub struct IdError {
    what: &'static str,
    allowed: &'static str,
}

/// And no step in a path: browsers take those out of addresses.
fn is_url_safe(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().all(is_allowed) && !matches!(text, "." | "..")
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(#[schemars(length(min = 1, max = 64))] Arc<str>);

        impl $name {
            /// Takes the text if it is a valid name.
            pub fn new(text: impl Into<Arc<str>>) -> Result<Self, IdError> {
                let text = text.into();
                if text.is_empty() || text.len() > ID_BYTES_MAX || !$check(&text) {
                    return Err(IdError { what: $what, allowed: $allowed });
                }
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The shared text itself, for those who keep many of them.
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(text).map_err(serde::de::Error::custom)
            }
        }
    };
}

//
text_id!(
    /// Name of a board: URL-safe text, the key of its records in the log.
    BoardId, "a board id", is_url_safe, "letters, digits, '-', '_', '.' or '~', but not '.' or '..'"
);
text_id!(
    /// Name of a person, as the verified token gives it.
    UserId, "a user id", is_printable, "printable characters"
);
text_id!(
    /// Key of an element, page, comment or asset in the board document.
    EntryId, "an entry id", is_printable, "printable characters"
);

impl BoardId {
    /// The partition of its records among `partitions`. Part of the format: whatever stores an offset relies on it.
    pub fn partition(&self, partitions: u32) -> u32 {
        let partition = xxh3_64(self.as_str().as_bytes()) % u64::from(partitions);
        u32::try_from(partition).expect("a remainder is below its divisor")
    }
}

/// One connection in one room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SessionId(pub u64);

/// An outbox of a program at the far end: the pair `(ClientId, seq)` names a frame for ever.
pub type ClientId = Uuid;

/// Groups the edits of one drag, stroke or paste into one step of undo (UUIDv7).
pub type GestureId = Uuid;

/// Milliseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Milliseconds that have gone by since `earlier`; 0 if it lies ahead.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

//
/// A place in the life of a log. An offset of another epoch says nothing, so the two never part.
///
/// On the wire: `[epoch, offset]`. Only comparisons are meaningful; there is no arithmetic on offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Position(
    /// Drawn when the log is made; below 2^53.
    pub u64,
    /// Place within that life; 0 lies before every record.
    pub u64,
);

impl Position {
    /// The life of the log this place belongs to.
    pub fn epoch(self) -> u64 {
        self.0
    }

    /// The place within that life.
    pub fn offset(self) -> u64 {
        self.1
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0, self.1)
    }
}

impl std::str::FromStr for Position {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const BAD: IdError = IdError {
            what: "a position",
            allowed: "the form epoch:offset",
        };
        let (epoch, offset) = text.split_once(':').ok_or(BAD)?;
        let number = |part: &str| part.parse::<u64>().map_err(|_malformed| BAD);
        Ok(Self(number(epoch)?, number(offset)?))
    }
}

/// Name of a record, and of the undo step it opens: the room that made it and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct RecordId(
    /// CRDT client id of that opening of the board.
    pub u64,
    /// Counts the room's records: 1, 2, 3.
    pub u64,
);

/// What a user may do on a board; each role includes the ones before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees everything, changes nothing but their own cursor.
    Viewer,
    /// Draws, comments and likes.
    Editor,
    /// Moderates: every element, members, locks, clear and restore.
    Teacher,
}

/// Who may edit which elements of a board.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EditScope {
    /// Every editor may change every element that is not locked.
    #[default]
    All,
    /// Editors change their own elements only.
    Own,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_where_they_enter() {
        assert!(BoardId::new("lesson-7").is_ok() && BoardId::new("...").is_ok());
        for bad in ["", ".", "..", "a b", "a/b", "칠판", &"x".repeat(65)] {
            assert!(BoardId::new(bad).is_err(), "{bad:?} was taken");
        }
        assert!(UserId::new("김 선생님").is_ok());
        assert!(UserId::new("a\nb").is_err());
        assert!(serde_json::from_str::<BoardId>("\"../etc\"").is_err());
    }

    #[test]
    fn partitions_never_change() {
        let partition = |name: &str| BoardId::new(name).unwrap().partition(64);
        assert_eq!(["a", "lesson-7", "maths"].map(partition), [31, 21, 21]);
    }

    #[test]
    fn a_position_survives_its_text_form() {
        let position = Position(77, 12);
        assert_eq!(position.to_string().parse(), Ok(position));
        assert!("77".parse::<Position>().is_err());
    }
}
