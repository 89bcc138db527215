//! Rights per entry: who may touch what, by role, edit scope, authorship and lock.

use super::read::ReadModel;
use crate::protocol::element::{EntryKind, Properties, Property, Target, Value};
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
    /// Whether the editor may touch this property of an entry that exists; `None` means the entry as a whole.
    ///
    /// `creator` is the user whose client made the entry, for entries that name no author.
    pub fn may_touch(
        &self,
        read: &ReadModel,
        target: &Target,
        property: Option<Property>,
        creator: Option<&UserId>,
    ) -> bool {
        if self.role == Role::Teacher {
            return true;
        }
        if self.role == Role::Viewer {
            return false;
        }
        let Some(entry) = read.get(target) else { return true };
        match target.0 {
            EntryKind::Element => {
                !is_locked(entry)
                    && property != Some(Property::Locked)
                    && (self.scope == EditScope::All || self.is_author(entry, creator))
            }
            EntryKind::Page => self.scope == EditScope::All,
            EntryKind::Asset => false,
            EntryKind::Comment => property == Some(Property::Resolved) || self.is_author(entry, creator),
            EntryKind::Like => target
                .1
                .strip_suffix(self.user.as_str())
                .is_some_and(|rest| rest.ends_with(':')),
        }
    }

    fn is_author(&self, entry: &Properties, creator: Option<&UserId>) -> bool {
        match entry.get(Property::Author).and_then(Value::as_str) {
            Some(author) => author == self.user.as_str(),
            None => creator == Some(&self.user),
        }
    }
}

fn is_locked(entry: &Properties) -> bool {
    entry.get(Property::Locked) == Some(&Value::Bool(true))
}
