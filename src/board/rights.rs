//! Rights per entry: who may touch what, by role, edit scope, authorship and lock.

use crate::protocol::element::{EntryKind, Properties, Property, Value};
use crate::protocol::ids::{EditScope, Role, Timestamp, UserId};

/// Who edits, with what right, and when.
#[derive(Debug, Clone)]
pub struct Editor {
    /// The person, by their token.
    pub user: UserId,
    /// Their role on this board now.
    pub role: Role,
    /// The board's setting.
    pub scope: EditScope,
    /// The room's clock.
    pub now: Timestamp,
    /// Makes z-order keys differ from those of others.
    pub seed: u64,
    /// Whether this is an import: it may bring deleted elements and old times.
    pub imports: bool,
}

impl Editor {
    /// Whether nothing is barred from the editor.
    pub fn may_touch_all(&self) -> bool {
        self.role == Role::Teacher
    }

    /// Whether the editor may touch this property of an entry that exists; `None` means the entry as a whole.
    ///
    /// `creator` finds the user whose client made the entry; it is asked for entries that name no author.
    pub fn may_touch<'a>(
        &self,
        (kind, id): (EntryKind, &str),
        entry: Option<&Properties>,
        property: Option<Property>,
        creator: impl FnOnce() -> Option<&'a UserId>,
    ) -> bool {
        if self.may_touch_all() {
            return true;
        }
        if self.role == Role::Viewer {
            return false;
        }
        if kind == EntryKind::Like {
            let before = id.strip_suffix(self.user.as_str());
            return before.is_some_and(|rest| rest.ends_with(':'));
        }
        let Some(entry) = entry else { return true };
        match kind {
            EntryKind::Element => {
                !is_locked(entry)
                    && property != Some(Property::Locked)
                    && (self.scope == EditScope::All || self.is_author(entry, creator))
            }
            EntryKind::Page => self.scope == EditScope::All,
            // Likes have been decided above.
            EntryKind::Asset | EntryKind::Like => false,
            EntryKind::Comment => property == Some(Property::Resolved) || self.is_author(entry, creator),
        }
    }

    /// Whether the editor made the entry.
    pub(super) fn is_author<'a>(&self, entry: &Properties, creator: impl FnOnce() -> Option<&'a UserId>) -> bool {
        match entry.get(Property::Author).and_then(Value::as_str) {
            Some(author) => author == self.user.as_str(),
            None => creator() == Some(&self.user),
        }
    }
}

//
fn is_locked(entry: &Properties) -> bool {
    entry.get(Property::Locked) == Some(&Value::Bool(true))
}
