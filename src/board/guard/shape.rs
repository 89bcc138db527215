//! What may lie under the schema's roots: which content, which keys, which values.

use super::bytes::{AnyKind, Cursor};
use super::walk::{Block, Content, SharedType};
use crate::protocol::element::{EntryKind, Property, PropertySet, ValueKind};
use crate::protocol::ids::{ID_BYTES_MAX, UserId};
use crate::protocol::limits::POS_BYTES_MAX;

/// Why a block does not fit, in fixed words.
pub(super) type Misfit = &'static str;

/// The properties a new entry of this kind brings along.
pub(super) const fn required(kind: EntryKind) -> PropertySet {
    use Property as P;
    match kind {
        EntryKind::Element => PropertySet::of(&[P::Type, P::X, P::Y, P::Pos]),
        EntryKind::Comment => PropertySet::of(&[P::Text, P::At]),
        EntryKind::Page | EntryKind::Asset | EntryKind::Like => PropertySet::of(&[]),
    }
}

/// Whether the property says what an entry is, and so never changes.
pub fn is_fixed(property: Property) -> bool {
    matches!(property, Property::Type | Property::Author | Property::Created)
}

/// The key of an entry in its root.
pub(super) fn check_key(kind: EntryKind, key: &str) -> Result<(), Misfit> {
    let bytes_max = if kind == EntryKind::Like {
        2 * ID_BYTES_MAX + 1
    } else {
        ID_BYTES_MAX
    };
    let is_first_page = kind == EntryKind::Page && key.is_empty();
    if key.len() > bytes_max || (key.is_empty() && !is_first_page) || key.chars().any(char::is_control) {
        return Err("a key must be 1 to 64 bytes of printable characters");
    }
    Ok(())
}

/// The key of a like, which only the person it names may write.
pub(super) fn check_like(key: &str, user: &UserId) -> Result<(), Misfit> {
    let target = key.strip_suffix(user.as_str()).and_then(|rest| rest.strip_suffix(':'));
    match target {
        Some(target) if !target.is_empty() => Ok(()),
        _ => Err("a like is given by the person it names"),
    }
}

/// What sits in a root, under the key of an entry.
pub(super) fn check_entry(kind: EntryKind, block: &Block<'_>) -> Result<(), Misfit> {
    match (kind, block.content) {
        (_, Content::Deleted) => Ok(()),
        (EntryKind::Like, Content::Any) if value(block) == Some(AnyKind::Number) => Ok(()),
        (EntryKind::Like, _) => Err("a like is a time"),
        (_, Content::Type(SharedType::Map)) => Ok(()),
        _ => Err("an entry is a map"),
    }
}

/// The value of a property.
pub(super) fn check_property(property: Property, block: &Block<'_>) -> Result<(), Misfit> {
    match block.content {
        Content::Deleted => Ok(()),
        Content::Binary if property == Property::Points => Ok(()),
        Content::Any if property == Property::Pos && value(block).is_some_and(is_long) => {
            Err("`pos` is longer than 1,024 bytes")
        }
        Content::Any if value(block).is_some_and(|value| fits(property, value)) => Ok(()),
        Content::Any | Content::Binary => Err("a property has a value of another kind"),
        Content::Collected | Content::Text | Content::Mark | Content::Type(_) => {
            Err("an entry holds plain values only")
        }
    }
}

/// The one value of a block.
pub(super) fn value<'a>(block: &Block<'a>) -> Option<AnyKind<'a>> {
    if block.len != 1 || block.content != Content::Any {
        return None;
    }
    let mut cursor = Cursor::new(block.body);
    cursor.u32().ok()?;
    cursor.any(1).ok()
}

/// Whether the one value of a block is `true`.
pub(super) fn is_true(block: &Block<'_>) -> bool {
    const ONE_TRUE: [u8; 2] = [1, 120];
    block.content == Content::Any && block.body.starts_with(&ONE_TRUE)
}

//
fn is_long(pos: AnyKind<'_>) -> bool {
    matches!(pos, AnyKind::Text(pos) if pos.len() > POS_BYTES_MAX)
}

fn fits(property: Property, value: AnyKind<'_>) -> bool {
    match property.value_kind() {
        ValueKind::Px | ValueKind::Number => value == AnyKind::Number,
        ValueKind::Bool => value == AnyKind::Bool,
        ValueKind::Name | ValueKind::Text => matches!(value, AnyKind::Text(_)),
        ValueKind::Points => value == AnyKind::Buffer,
        ValueKind::Texts => value == AnyKind::Texts,
        ValueKind::Object => value == AnyKind::Map,
    }
}
