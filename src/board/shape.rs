//! What value a property may have when it comes from an op. Raw updates pass the same rules in `board/guard.rs`.

use std::sync::Arc;

use crate::protocol::element::{EntryKind, Properties, Property, Target, Value};
use crate::protocol::ids::ID_BYTES_MAX;
use crate::protocol::limits::{ITEM_BYTES_MAX, VALUE_DEPTH_MAX};
use crate::protocol::points::{self, round_px};

/// The value as the document keeps it, or what is wrong with it.
pub fn fit(kind: EntryKind, property: Property, value: &Value) -> Result<Value, String> {
    use Property as P;
    let name = property.name();
    if !property.fits(kind) {
        return Err(format!("`{name}` does not belong to this kind of entry"));
    }
    let fault = |expected: &str| Err(format!("`{name}` must be {expected}"));
    let fits = match property {
        P::X | P::Y | P::Width | P::Height => {
            return match value.as_f64() {
                Some(px) if px.abs() <= COORDINATE_MAX => Ok(Value::number(round_px(px))),
                _ => fault("a number of px within ±10,000,000"),
            };
        }
        P::Angle
        | P::StrokeWidth
        | P::Roughness
        | P::Opacity
        | P::FontSize
        | P::FontFamily
        | P::Created
        | P::Deleted
        | P::Bytes
        | P::At => value.as_f64().is_some_and(f64::is_finite),
        P::Locked | P::Resolved => matches!(value, Value::Bool(_)),
        P::Points => {
            let is_packed = matches!(value, Value::Bytes(bytes) if points::unpack(bytes).is_ok());
            return if is_packed {
                Ok(value.clone())
            } else {
                fault("packed points")
            };
        }
        P::GroupIds => matches!(value, Value::Array(ids) if ids.iter().all(|id| id.as_str().is_some())),
        P::Bindings | P::Extra => matches!(value, Value::Map(_)) && value.depth() < VALUE_DEPTH_MAX,
        P::Type | P::Pos | P::ContainerId | P::FileId | P::FrameId | P::Author | P::Element | P::Parent | P::Page => {
            value.as_str().is_some_and(|text| text.len() <= 2 * ID_BYTES_MAX)
        }
        P::StrokeColor
        | P::BackgroundColor
        | P::FillStyle
        | P::StrokeStyle
        | P::Text
        | P::TextAlign
        | P::Link
        | P::Title
        | P::Background
        | P::MimeType => value.as_str().is_some(),
    };
    if !fits {
        return fault(expected(property));
    }
    if size(value) > ITEM_BYTES_MAX {
        return fault("at most 256 KiB");
    }
    Ok(value.clone())
}

/// Farthest place from the origin, in px: beyond it 1/16 px is no longer exact on the wire.
const COORDINATE_MAX: f64 = 10_000_000.0;

fn expected(property: Property) -> &'static str {
    use Property as P;
    match property {
        P::Locked | P::Resolved => "true or false",
        P::GroupIds => "a list of strings",
        P::Bindings | P::Extra => "an object, nested less than 32 deep",
        P::Angle
        | P::StrokeWidth
        | P::Roughness
        | P::Opacity
        | P::FontSize
        | P::FontFamily
        | P::Created
        | P::Deleted
        | P::Bytes
        | P::At => "a finite number",
        P::Type | P::Pos | P::ContainerId | P::FileId | P::FrameId | P::Author | P::Element | P::Parent | P::Page => {
            "a text of at most 128 bytes"
        }
        P::X
        | P::Y
        | P::Width
        | P::Height
        | P::Points
        | P::StrokeColor
        | P::BackgroundColor
        | P::FillStyle
        | P::StrokeStyle
        | P::Text
        | P::TextAlign
        | P::Link
        | P::Title
        | P::Background
        | P::MimeType => "a text",
    }
}

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

/// The bindings `{start, end, bound}` of an arrow or shape without those that lead to `gone`; `None` if none does.
pub fn freed(bindings: &Value, gone: &[Target]) -> Option<Option<Value>> {
    let Value::Map(map) = bindings else { return None };
    let leads_away = |end: &Value, key: &str| {
        let Value::Map(end) = end else { return false };
        let id = end.get(key).and_then(Value::as_str);
        id.is_some_and(|id| {
            gone.iter()
                .any(|(kind, known)| *kind == EntryKind::Element && **known == *id)
        })
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
