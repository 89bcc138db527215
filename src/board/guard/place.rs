//! Where a block belongs: a container and a slot in it, in eight bytes.

use crate::protocol::element::EntryKind;
use crate::protocol::limits::TYPE_DEPTH_MAX;

/// Number of a container. The low ones stand for themselves, entries of the schema's roots come after.
pub(super) type Container = u32;

/// Collected, or below something collected: whatever goes there vanishes.
pub(super) const DEAD: Container = 0;
/// The root `board:meta`.
pub(super) const META: Container = 1;
const ROOTS: Container = 2;
/// A root outside the schema; one more for each shared type on the way down.
pub(super) const FOREIGN: Container = 8;
/// Deepest container outside the schema.
#[expect(clippy::cast_possible_truncation, reason = "the limit is a two-digit number")]
pub(super) const FOREIGN_LAST: Container = FOREIGN + TYPE_DEPTH_MAX as Container;
/// First container that is an entry.
pub(super) const ENTRIES: Container = FOREIGN_LAST + 1;

/// Kinds of entry, in the order of their roots' containers.
pub(super) const KINDS: [EntryKind; 5] = [
    EntryKind::Element,
    EntryKind::Page,
    EntryKind::Asset,
    EntryKind::Comment,
    EntryKind::Like,
];

/// Container of the root that holds entries of this kind.
pub(super) fn root_of(kind: EntryKind) -> Container {
    ROOTS + kind as Container
}

/// Container of the root of this name.
pub(super) fn root_named(name: &str) -> Container {
    match name.strip_prefix("board:") {
        Some("elements") => root_of(EntryKind::Element),
        Some("pages") => root_of(EntryKind::Page),
        Some("assets") => root_of(EntryKind::Asset),
        Some("comments") => root_of(EntryKind::Comment),
        Some("likes") => root_of(EntryKind::Like),
        Some("meta") => META,
        _ => FOREIGN,
    }
}

/// The kind of entry that this root holds.
pub(super) fn kind_of_root(container: Container) -> Option<EntryKind> {
    KINDS.get(container.checked_sub(ROOTS)? as usize).copied()
}

/// What a block is to its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    /// Nothing that is told apart: dead, outside the schema, or `board:meta`.
    Plain,
    /// It sits in the root, under the key of the entry that the container is.
    Root,
    /// Value of the property of this number.
    Property(u8),
}

/// Where a block belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) container: Container,
    pub(super) slot: Slot,
}

impl Place {
    pub(super) const DEAD: Self = Self::plain(DEAD);

    pub(super) const fn plain(container: Container) -> Self {
        Self {
            container,
            slot: Slot::Plain,
        }
    }
}
