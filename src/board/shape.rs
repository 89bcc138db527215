//! What value a property may have when it comes from an op. Raw updates pass the same rules in `board/guard.rs`.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::protocol::element::{EntryKind, Properties, Property, Value, ValueKind};
use crate::protocol::ids::ID_BYTES_MAX;
use crate::protocol::limits::{ITEM_BYTES_MAX, VALUE_DEPTH_MAX};
use crate::protocol::points::{self, round_px};

/// The value as the document keeps it, or what is wrong with it.
pub fn fit(kind: EntryKind, property: Property, value: &Value) -> Result<Value, String> {
    let name = property.name();
    if !property.fits(kind) {
        return Err(format!("`{name}` does not belong to this kind of entry"));
    }
    let expected = |what: &str| format!("`{name}` must be {what}");
    let (fits, what) = match property.value_kind() {
        ValueKind::Px => {
            let px = value.as_f64().filter(|px| px.abs() <= COORDINATE_MAX);
            return px
                .map(|px| Value::number(round_px(px)))
                .ok_or_else(|| expected("a number of px within ±10,000,000"));
        }
        ValueKind::Number => (value.as_f64().is_some_and(f64::is_finite), "a finite number"),
        ValueKind::Bool => (matches!(value, Value::Bool(_)), "true or false"),
        ValueKind::Name => (
            value.as_str().is_some_and(|text| text.len() <= 2 * ID_BYTES_MAX),
            "a text of at most 128 bytes",
        ),
        ValueKind::Text => (value.as_str().is_some(), "a text"),
        ValueKind::Points => (
            matches!(value, Value::Bytes(bytes) if points::unpack(bytes).is_ok()),
            "packed points",
        ),
        ValueKind::Texts => (
            matches!(value, Value::Array(ids) if ids.iter().all(|id| id.as_str().is_some())),
            "a list of strings",
        ),
        ValueKind::Object => (
            matches!(value, Value::Map(_)) && value.depth() < VALUE_DEPTH_MAX,
            "an object, nested less than 32 deep",
        ),
    };
    if !fits {
        return Err(expected(what));
    }
    if size(value) > ITEM_BYTES_MAX {
        return Err(expected("at most 256 KiB"));
    }
    Ok(value.clone())
}

/// Farthest place from the origin, in px: beyond it 1/16 px is no longer exact on the wire.
const COORDINATE_MAX: f64 = 10_000_000.0;

fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 8,
        Value::String(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Map(map) => map.iter().map(|(key, value)| key.len() + size(value)).sum(),
    }
}

/// The text of a property, if it has one.
pub fn text(entry: &Properties, property: Property) -> Option<String> {
    entry.get(property).and_then(Value::as_str).map(str::to_owned)
}

/// The bindings `{start, end, bound}` of an arrow or shape without those that lead to the elements `gone`; `None` if none
/// does.
pub fn freed(bindings: &Value, gone: &HashSet<Arc<str>, impl BuildHasher>) -> Option<Option<Value>> {
    let Value::Map(map) = bindings else { return None };
    let leads_away = |end: &Value, key: &str| {
        let Value::Map(end) = end else { return false };
        let id = end.get(key).and_then(Value::as_str);
        id.is_some_and(|id| gone.contains(id))
    };
    let mut kept = (**map).clone();
    for end in ["start", "end"] {
        if kept.get(end).is_some_and(|end| leads_away(end, "elementId")) {
            kept.remove(end);
        }
    }
    if let Some(Value::Array(bound)) = kept.get("bound").cloned() {
        let left: Vec<Value> = bound.iter().filter(|item| !leads_away(item, "id")).cloned().collect();
        if left.is_empty() {
            kept.remove("bound");
        } else {
            kept.insert("bound".into(), Value::Array(left.into()));
        }
    }
    if kept == **map {
        return None;
    }
    Some((!kept.is_empty()).then(|| Value::Map(Arc::new(kept))))
}
