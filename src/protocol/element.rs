//! What lies on a board, as plain data: entries of the document and their properties by Excalidraw's names.
//!
//! The same types serve ops, changes in records, export and the read model, so a value is converted once, where the CRDT
//! library hands it over. A property that stands at its default is absent.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ids::EntryId;

mod properties;

pub use properties::{KEPT, Properties, PropertySet};

/// A value of a property. Strings and binaries are shared, so a clone is cheap.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// JSON `null`; never the same as an absent property.
    Null,
    /// Truth value.
    Bool(bool),
    /// Whole number below 2^53, to either side.
    Int(i64),
    /// Any other number; never NaN or infinite when it comes from a client.
    Float(f64),
    /// Text.
    String(Arc<str>),
    /// Binary: packed points. Base64 in JSON.
    Bytes(Arc<[u8]>),
    /// JSON array.
    Array(Arc<[Value]>),
    /// JSON object.
    Map(Arc<BTreeMap<Arc<str>, Value>>),
}

impl Value {
    /// The number, whole or not.
    #[expect(clippy::cast_precision_loss, reason = "coordinates and times stay far below 2^53")]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Null | Self::Bool(_) | Self::String(_) | Self::Bytes(_) | Self::Array(_) | Self::Map(_) => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// The number as an integer if it is whole, so that 50 and 50.0 are one value.
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked right before")]
    pub fn number(number: f64) -> Self {
        if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 {
            Self::Int(number as i64)
        } else {
            Self::Float(number)
        }
    }

    /// A whole number as the document keeps it: from 2^53 on that is a float, whoever wrote it. [R-86]
    #[expect(clippy::cast_precision_loss, reason = "that is what the document does to it")]
    pub fn whole(number: i64) -> Self {
        if number.unsigned_abs() < 1 << 53 {
            Self::Int(number)
        } else {
            Self::Float(number as f64)
        }
    }

    /// Depth of nesting: 1 for a plain value.
    pub fn depth(&self) -> usize {
        match self {
            Self::Array(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Map(map) => 1 + map.values().map(Self::depth).max().unwrap_or(0),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::String(_) | Self::Bytes(_) => 1,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(fact) => Self::Bool(fact),
            serde_json::Value::Number(number) => number
                .as_i64()
                .map_or_else(|| Self::number(number.as_f64().unwrap_or(0.0)), Self::whole),
            serde_json::Value::String(text) => Self::String(text.into()),
            serde_json::Value::Array(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            serde_json::Value::Object(map) => Self::Map(Arc::new(
                map.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            )),
        }
    }
}

impl From<&Value> for serde_json::Value {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(fact) => Self::Bool(*fact),
            Value::Int(number) => Self::from(*number),
            Value::Float(number) => Self::from(*number),
            Value::String(text) => Self::String(text.to_string()),
            Value::Bytes(bytes) => Self::String(BASE64.encode(bytes)),
            Value::Array(items) => Self::Array(items.iter().map(Self::from).collect()),
            Value::Map(map) => Self::Object(map.iter().map(|(key, value)| (key.to_string(), value.into())).collect()),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(fact) => serializer.serialize_bool(*fact),
            Self::Int(number) => serializer.serialize_i64(*number),
            // JSON has no NaN, and a record that holds one could not be read again.
            Self::Float(number) if !number.is_finite() => serializer.serialize_unit(),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::String(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) if serializer.is_human_readable() => serializer.serialize_str(&BASE64.encode(bytes)),
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::Array(items) => serializer.collect_seq(items.iter()),
            Self::Map(map) => serializer.collect_map(map.iter()),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a plain value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, fact: bool) -> Result<Value, E> {
        Ok(Value::Bool(fact))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::whole(number))
    }

    #[expect(clippy::cast_precision_loss, reason = "from 2^53 on a number is a float")]
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::whole))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        if number.is_finite() {
            Ok(Value::number(number))
        } else {
            Err(E::custom("a number must be finite"))
        }
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = access.next_entry::<String, Value>()? {
            map.insert(key.into(), value);
        }
        Ok(Value::Map(Arc::new(map)))
    }
}

impl JsonSchema for Value {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Any JSON value; binaries are base64 in JSON and `bin` in MessagePack."
        })
    }
}

/// The collections of the document that hold entries; each is a root named `board:<name>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// `board:elements`: a thing on the canvas.
    Element,
    /// `board:pages`: a page; the page `""` always exists.
    Page,
    /// `board:assets`: an uploaded file, keyed by its SHA-256.
    Asset,
    /// `board:comments`: a remark at an element or a place.
    Comment,
    /// `board:likes`: `<target>:<user>` -> time.
    Like,
}

/// What the value of a property must be, from whichever door it comes. [R-85]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Number of px, rounded to 1/16.
    Px,
    /// Any other finite number.
    Number,
    /// Truth value.
    Bool,
    /// Short text: the name of something.
    Name,
    /// Text.
    Text,
    /// Packed points, see `protocol::points`.
    Points,
    /// List of texts.
    Texts,
    /// JSON object.
    Object,
}

macro_rules! properties {
    ($($(#[$doc:meta])* $name:ident: $value:ident = $text:literal,)*) => {
        /// Name of a property. The list is closed: whatever else a file or client has goes into [`Property::Extra`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[repr(u8)]
        pub enum Property {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Property {
            /// All properties, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The key in the document, in Excalidraw's spelling.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What its value must be.
            pub const fn value_kind(self) -> ValueKind {
                match self { $(Self::$name => ValueKind::$value,)* }
            }

            /// The property of that key.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

properties! {
    /// Excalidraw's name of the kind; unknown ones are carried untouched.
    Type: Name = "type",
    /// Page the element lies on; absent = the page `""`.
    Page: Name = "page",
    /// Fractional index: z-order of elements, order of pages.
    Pos: Name = "pos",
    /// Left edge in px, rounded to 1/16.
    X: Px = "x",
    /// Top edge in px, rounded to 1/16.
    Y: Px = "y",
    /// Width in px, rounded to 1/16.
    Width: Px = "width",
    /// Height in px, rounded to 1/16.
    Height: Px = "height",
    /// Rotation in radians.
    Angle: Number = "angle",
    /// CSS colour of the outline.
    StrokeColor: Text = "strokeColor",
    /// CSS colour of the inside.
    BackgroundColor: Text = "backgroundColor",
    /// Excalidraw's fill: `solid`, `hachure`, ...
    FillStyle: Text = "fillStyle",
    /// Line width in px.
    StrokeWidth: Number = "strokeWidth",
    /// `solid`, `dashed` or `dotted`.
    StrokeStyle: Text = "strokeStyle",
    /// 0 architect, 1 artist, 2 cartoonist.
    Roughness: Number = "roughness",
    /// 0 to 100.
    Opacity: Number = "opacity",
    /// Content of a text element.
    Text: Text = "text",
    /// In px.
    FontSize: Number = "fontSize",
    /// Excalidraw's number of the font.
    FontFamily: Number = "fontFamily",
    /// `left`, `center` or `right`.
    TextAlign: Text = "textAlign",
    /// Element this text is bound to.
    ContainerId: Name = "containerId",
    /// Packed points, see `protocol::points`.
    Points: Points = "points",
    /// SHA-256 or file id of an image.
    FileId: Name = "fileId",
    /// Set by a teacher: others may not touch the element.
    Locked: Bool = "locked",
    /// Address the element leads to.
    Link: Text = "link",
    /// Frame the element lies in.
    FrameId: Name = "frameId",
    /// Groups, innermost first.
    GroupIds: Texts = "groupIds",
    /// `{start, end, bound}`: what an arrow is tied to, and what is tied to the element.
    Bindings: Object = "bindings",
    /// User who made the entry.
    Author: Name = "author",
    /// When the entry was made, in ms since 1970.
    Created: Number = "created",
    /// When it was deleted; absent = alive.
    Deleted: Number = "deleted",
    /// One JSON object for whatever else the file or client had.
    Extra: Object = "extra",
    /// Title of a page.
    Title: Text = "title",
    /// Background colour of a page.
    Background: Text = "background",
    /// Media type of an asset.
    MimeType: Text = "mimeType",
    /// Size of an asset in bytes.
    Bytes: Number = "bytes",
    /// When a comment was written, in ms since 1970.
    At: Number = "at",
    /// Element a comment is about.
    Element: Name = "element",
    /// Comment this one answers.
    Parent: Name = "parent",
    /// Whether the thread is settled.
    Resolved: Bool = "resolved",
}

impl Property {
    /// The kinds of entry that may have this property.
    pub fn fits(self, kind: EntryKind) -> bool {
        use Property as P;
        match kind {
            EntryKind::Element => (self as u8) <= (P::Extra as u8),
            EntryKind::Page => matches!(self, P::Title | P::Pos | P::Background | P::Deleted | P::Extra),
            EntryKind::Asset => matches!(self, P::MimeType | P::Bytes | P::Width | P::Height | P::Created),
            EntryKind::Comment => matches!(
                self,
                P::Author | P::At | P::Text | P::Element | P::X | P::Y | P::Page | P::Parent | P::Resolved | P::Deleted
            ),
            EntryKind::Like => self == P::Created,
        }
    }
}

/// Reads what an op sets: as [`Properties`], but `null` removes.
pub(super) fn deserialize_set<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<Property, Option<Value>>, D::Error> {
    BTreeMap::<Property, Option<Value>>::deserialize(deserializer)?
        .into_iter()
        .map(|(property, value)| {
            let value = value.map(|value| with_bytes(property, value)).transpose()?;
            Ok((property, value))
        })
        .collect::<Result<_, &str>>()
        .map_err(serde::de::Error::custom)
}

/// Points are the one binary property: JSON carries them as base64.
fn with_bytes(property: Property, value: Value) -> Result<Value, &'static str> {
    match (property, value) {
        (Property::Points, Value::String(text)) => BASE64
            .decode(text.as_bytes())
            .map(|bytes| Value::Bytes(bytes.into()))
            .map_err(|_malformed| "`points` must be base64"),
        (_, value) => Ok(value),
    }
}

/// An element with its key, as ops carry it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = allow_id)]
pub struct Entry {
    /// Its key.
    pub id: EntryId,
    /// Everything known of it.
    #[serde(flatten)]
    pub properties: Properties,
}

/// The list of names comes from [`Properties`], which is flattened into the entry and has no `id`.
fn allow_id(schema: &mut schemars::Schema) {
    let names = schema
        .get_mut("propertyNames")
        .and_then(|names| names.get_mut("enum"))
        .and_then(|names| names.as_array_mut());
    if let Some(names) = names {
        names.insert(0, "id".into());
    }
}

/// Where an entry is: its collection and its key there.
pub type Target = (EntryKind, Arc<str>);

/// An entry of the document, wherever it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    /// Its collection.
    pub kind: EntryKind,
    /// Its key there; the page `""` may be meant, so this is plain text.
    #[schemars(with = "String")]
    pub id: Arc<str>,
    /// Everything known of it.
    pub properties: Properties,
}

// [R-54]
/// What an update did to one entry, read from the document.
///
/// `before` and `after` hold only the properties that differ: a property that appears is missing in `before`, one that
/// goes is missing in `after`. A created entry has no `before` at all, a removed one no `after`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Collection of the entry.
    pub kind: EntryKind,
    /// Key of the entry; the page `""` may be meant, so this is plain text.
    #[schemars(with = "String")]
    pub id: Arc<str>,
    /// Values it had; the whole entry where it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Properties>,
    /// Values it has now; the whole entry where it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Properties>,
    /// Print of the whole entry afterwards, where the change decides about its life (created, or `deleted` changed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub print: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_points_survive_both_formats() {
        let properties: Properties = [
            (Property::X, Value::Int(3)),
            (Property::Points, Value::Bytes(vec![1, 2, 255].into())),
        ]
        .into_iter()
        .collect();
        let json = serde_json::to_string(&properties).unwrap();
        assert_eq!(json, r#"{"x":3,"points":"AQL/"}"#);
        assert_eq!(serde_json::from_str::<Properties>(&json).unwrap(), properties);
        let packed = rmp_serde::to_vec_named(&properties).unwrap();
        assert_eq!(rmp_serde::from_slice::<Properties>(&packed).unwrap(), properties);
    }

    #[test]
    fn fifty_and_fifty_point_zero_are_one_value() {
        assert_eq!(serde_json::from_str::<Value>("50.0").unwrap(), Value::Int(50));
    }

    #[test]
    fn each_property_has_one_name() {
        for property in Property::ALL {
            assert_eq!(Property::from_name(property.name()), Some(*property));
        }
    }
}
