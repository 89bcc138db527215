//! What value a property may have when it comes from an op. Raw updates pass the same rules in `board/guard.rs`.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::protocol::element::{EntryKind, Properties, Property, Value, ValueKind};
use crate::protocol::ids::ID_BYTES_MAX;
use crate::protocol::limits::{ITEM_BYTES_MAX, POS_BYTES_MAX, VALUE_DEPTH_MAX};
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
        ValueKind::Name if property == Property::Pos => (
            value.as_str().is_some_and(|text| text.len() <= POS_BYTES_MAX),
            "a text of at most 1,024 bytes",
        ),
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

/// Ids of the elements that an element is bound to: its container, and where its bindings lead.
pub fn bound_ids(entry: &Properties) -> impl Iterator<Item = &Arc<str>> {
    let container = entry.get(Property::ContainerId).and_then(id);
    let bindings = entry.get(Property::Bindings).into_iter().flat_map(leads_to);
    container.into_iter().chain(bindings)
}

/// The bindings `{start, end, bound}` of an arrow or shape without those that lead to the elements `gone`; `None` if none
/// does.
pub fn freed(bindings: &Value, gone: &HashSet<Arc<str>, impl BuildHasher>) -> Option<Option<Value>> {
    let Value::Map(map) = bindings else { return None };
    // Looked at first: a copy costs far more, and nearly all bindings lead elsewhere.
    if !leads_to(bindings).any(|id| gone.contains(id)) {
        return None;
    }
    let leads_away = |end: &Value, key| end_id(end, key).is_some_and(|id| gone.contains(id));
    let mut kept = (**map).clone();
    for end in ["start", "end"] {
        if map.get(end).is_some_and(|end| leads_away(end, "elementId")) {
            kept.remove(end);
        }
    }
    if let Some(Value::Array(bound)) = map.get("bound") {
        let left: Vec<Value> = bound.iter().filter(|item| !leads_away(item, "id")).cloned().collect();
        if left.is_empty() {
            kept.remove("bound");
        } else {
            kept.insert("bound".into(), Value::Array(left.into()));
        }
    }
    Some((!kept.is_empty()).then(|| Value::Map(Arc::new(kept))))
}

/// Where bindings lead.
fn leads_to(bindings: &Value) -> impl Iterator<Item = &Arc<str>> {
    let part = |name| {
        let Value::Map(map) = bindings else { return None };
        map.get(name)
    };
    let ends = ["start", "end"]
        .into_iter()
        .filter_map(move |end| end_id(part(end)?, "elementId"));
    let bound: &[Value] = if let Some(Value::Array(items)) = part("bound") {
        items
    } else {
        &[]
    };
    ends.chain(bound.iter().filter_map(|item| end_id(item, "id")))
}

fn end_id<'a>(end: &'a Value, key: &str) -> Option<&'a Arc<str>> {
    let Value::Map(end) = end else { return None };
    id(end.get(key)?)
}

fn id(value: &Value) -> Option<&Arc<str>> {
    if let Value::String(id) = value { Some(id) } else { None }
}
