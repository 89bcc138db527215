//! The keys of an Excalidraw element: which ones each kind has, and what an absent one stands for.
//!
//! One table for both directions: a value that stands here is not kept on import, and is written on export. A key that a
//! file leaves out although it stands here is remembered by name, see [`super::excalidraw`].

use serde_json::{Value as Json, json};

use crate::protocol::element::{Properties, Property as P, Value};
use crate::protocol::extent::size;
use crate::protocol::points;

/// What an absent key stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Absent {
    Null,
    No,
    Yes,
    Number(f64),
    Text(&'static str),
    EmptyList,
    /// Worked out from the element by [`derived`].
    Derived,
}

use Absent::{Derived, EmptyList, No, Null, Number, Text, Yes};

type Keys = &'static [(&'static str, Absent)];

const COMMON: Keys = &[
    ("id", Derived),
    ("type", Derived),
    ("x", Number(0.0)),
    ("y", Number(0.0)),
    ("width", Derived),
    ("height", Derived),
    ("angle", Number(0.0)),
    ("strokeColor", Text("#1e1e1e")),
    ("backgroundColor", Text("transparent")),
    ("fillStyle", Text("solid")),
    ("strokeWidth", Number(2.0)),
    ("strokeStyle", Text("solid")),
    ("roughness", Number(1.0)),
    ("opacity", Number(100.0)),
    ("groupIds", EmptyList),
    ("frameId", Null),
    ("roundness", Null),
    ("seed", Derived),
    ("version", Derived),
    ("versionNonce", Derived),
    ("isDeleted", No),
    ("boundElements", EmptyList),
    ("updated", Derived),
    ("link", Null),
    ("locked", No),
];
const TEXT: Keys = &[
    ("text", Text("")),
    ("fontSize", Number(20.0)),
    ("fontFamily", Number(5.0)),
    ("textAlign", Text("left")),
    ("verticalAlign", Text("top")),
    ("containerId", Null),
    (ORIGINAL_TEXT, Derived),
    ("autoResize", Yes),
    ("lineHeight", Number(1.25)),
];
const LINE: Keys = &[
    ("points", Derived),
    ("lastCommittedPoint", Null),
    ("startBinding", Null),
    ("endBinding", Null),
    ("startArrowhead", Null),
    ("endArrowhead", Null),
];
const ARROW: Keys = &[
    ("points", Derived),
    ("lastCommittedPoint", Null),
    ("startBinding", Null),
    ("endBinding", Null),
    ("startArrowhead", Null),
    ("endArrowhead", Text("arrow")),
    ("elbowed", No),
];
const FREEDRAW: Keys = &[
    ("points", Derived),
    ("pressures", EmptyList),
    ("simulatePressure", Derived),
    ("lastCommittedPoint", Null),
];
const IMAGE: Keys = &[
    ("fileId", Null),
    ("status", Text("saved")),
    ("scale", Derived),
    ("crop", Null),
];
const FRAME: Keys = &[("name", Null)];

/// Properties that carry a value as it stands in the file, with the shape it must have. What has another shape is kept
/// in `extra`, so that readers of the document can trust the shape.
const PLAIN: &[(P, Shape)] = &[
    (P::Angle, Shape::Number),
    (P::StrokeColor, Shape::Text),
    (P::BackgroundColor, Shape::Text),
    (P::FillStyle, Shape::Text),
    (P::StrokeWidth, Shape::Number),
    (P::StrokeStyle, Shape::Text),
    (P::Roughness, Shape::Number),
    (P::Opacity, Shape::Number),
    (P::Text, Shape::Text),
    (P::FontSize, Shape::Number),
    (P::FontFamily, Shape::Number),
    (P::TextAlign, Shape::Text),
    (P::ContainerId, Shape::Text),
    (P::Locked, Shape::Truth),
    (P::Link, Shape::Text),
    (P::FrameId, Shape::Text),
    (P::GroupIds, Shape::Texts),
];

/// The text before it was broken into lines.
pub(super) const ORIGINAL_TEXT: &str = "originalText";

/// Keys of a place or size in px.
pub(super) const LENGTHS: [P; 4] = [P::X, P::Y, P::Width, P::Height];

/// Keys of the document's `bindings` with their names in a file.
pub(super) const BINDINGS: [(&str, &str); 3] = [
    ("startBinding", "start"),
    ("endBinding", "end"),
    ("boundElements", "bound"),
];

#[derive(Clone, Copy)]
enum Shape {
    Number,
    Text,
    Texts,
    Truth,
}

/// The keys that Excalidraw expects on an element of this kind.
pub(super) fn keys_of(kind: &str) -> impl Iterator<Item = (&'static str, Absent)> {
    let own: Keys = match kind {
        "text" => TEXT,
        "line" => LINE,
        "arrow" => ARROW,
        "freedraw" => FREEDRAW,
        "image" => IMAGE,
        "frame" | "magicframe" => FRAME,
        _ => &[],
    };
    COMMON.iter().chain(own).copied()
}

/// Whether a key at this value says no more than an absent one.
pub(super) fn is_default(kind: &str, key: &str, value: &Value) -> bool {
    let Some((_, absent)) = keys_of(kind).find(|(known, _)| *known == key) else {
        return false;
    };
    match (absent, value) {
        (Null, Value::Null) | (No, Value::Bool(false)) | (Yes, Value::Bool(true)) => true,
        (Number(number), value) => *value == Value::number(number),
        (Text(text), Value::String(found)) => text == &**found,
        (EmptyList, Value::Array(items)) => items.is_empty(),
        (Null | No | Yes | Text(_) | EmptyList | Derived, _) => false,
    }
}

/// The property that carries this key as it stands, if it has one and the value has its shape.
pub(super) fn plain_property(key: &str, value: &Value) -> Option<P> {
    let (property, shape) = PLAIN.iter().find(|(property, _)| property.name() == key)?;
    let fits = match shape {
        Shape::Number => value.as_f64().is_some(),
        Shape::Text => value.as_str().is_some(),
        Shape::Truth => matches!(value, Value::Bool(_)),
        Shape::Texts => matches!(value, Value::Array(items) if items.iter().all(|item| item.as_str().is_some())),
    };
    fits.then_some(*property)
}

/// All properties that carry a value of a file as it stands.
pub(super) fn plain_properties() -> impl Iterator<Item = P> {
    LENGTHS.into_iter().chain(PLAIN.iter().map(|(property, _)| *property))
}

/// The value of a key that the element does not have.
pub(super) fn value_of(key: &str, absent: Absent, id: &str, properties: &Properties) -> Json {
    match absent {
        Null => Json::Null,
        No => Json::Bool(false),
        Yes => Json::Bool(true),
        Number(number) => Json::from(&Value::number(number)),
        Text(text) => text.into(),
        EmptyList => json!([]),
        Derived => derived(key, id, properties),
    }
}

/// What a key of an element made by our ops must be for Excalidraw to show it as meant.
fn derived(key: &str, id: &str, properties: &Properties) -> Json {
    match key {
        "id" => id.into(),
        "type" => properties.get(P::Type).map_or(Json::Null, Json::from),
        "width" => (&Value::number(size(properties)[0])).into(),
        "height" => (&Value::number(size(properties)[1])).into(),
        ORIGINAL_TEXT => text_of(properties).into(),
        "simulatePressure" => (!has_pressures(properties)).into(),
        "scale" => json!([1, 1]),
        "points" => match properties.get(P::Type).and_then(Value::as_str) {
            Some("line" | "arrow") => {
                let side = |property| properties.get(property).map_or_else(|| json!(100), Json::from);
                json!([[0, 0], [side(P::Width), side(P::Height)]])
            }
            _ => json!([]),
        },
        "updated" => properties.get(P::Created).map_or_else(|| json!(1), Json::from),
        "version" => json!(1),
        // Excalidraw draws its wobbly lines from the seed: the same id must look the same after every export.
        _ => number_from(id).into(),
    }
}

/// Whether this `originalText` is the text of the element, but for where its lines end.
pub(super) fn is_unwrapped(original: &Value, properties: &Properties) -> bool {
    fn letters(text: &str) -> impl Iterator<Item = char> {
        text.chars().filter(|letter| !letter.is_whitespace())
    }
    let original = original.as_str();
    original.is_some_and(|original| letters(original).eq(letters(text_of(properties))))
}

/// Tells whether the text of an element is another one by now.
pub(super) fn print_of_text(properties: &Properties) -> Value {
    Value::Int(number_from(text_of(properties)).into())
}

fn text_of(properties: &Properties) -> &str {
    properties.get(P::Text).and_then(Value::as_str).unwrap_or_default()
}

/// Whether the packed points carry the pressure of a pen.
pub(super) fn has_pressures(properties: &Properties) -> bool {
    matches!(properties.get(P::Points), Some(Value::Bytes(bytes)) if bytes.first().is_some_and(|flags| flags & points::PRESSURES != 0))
}

/// FNV-1a, cut to the 31 bits that Excalidraw uses.
fn number_from(id: &str) -> u32 {
    id.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    }) >> 1
}
