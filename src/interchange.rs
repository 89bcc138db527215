//! Boards as files: `.excalidraw`, `.excalidrawlib` and `.tldr` in, `.excalidraw` and plain JSON out.
//!
//! Properties bear Excalidraw's names already, so this is renaming: an import followed by an export gives the file back,
//! equal but for the order of keys, 1/16 px in coordinates, 1/255 in pressures, and the version counters. What has no
//! property is kept in `extra`; what an export needs besides is under one key there, [`KEPT`](crate::protocol::element::KEPT). Other formats are turned
//! into Excalidraw's elements first, so there is one road into the board.
//!
//! Pure: no files, no clock, no random source. Time, seed and fresh ids come from the caller, who also looks at limits on
//! numbers of elements and sizes of assets.

mod excalidraw;
mod export;
mod files;
mod keys;
mod library;
mod pages;
mod tldraw;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value as Json;
use thiserror::Error;

pub use export::{Scope, export_excalidraw, export_json, shown};
pub use pages::is_deleted_page;

use crate::protocol::codec;
use crate::protocol::element::{Entry, Properties, Property, Value};
use crate::protocol::ids::{EntryId, Timestamp};
use crate::protocol::limits::VALUE_DEPTH_MAX;

/// Values in a file: a full board of strokes has as many.
const VALUES_MAX: usize = 8_000_000;

/// Source of ids that are not in use on the board: the caller's, since nothing here is random.
pub type FreshIds<'a> = &'a mut dyn FnMut() -> EntryId;

/// What an import must be told.
#[derive(Debug, Clone, Copy)]
pub struct ImportOptions<'a> {
    /// Time that counts as time of deletion where the file has none.
    pub now: Timestamp,
    /// Seed of the keys of the z-order.
    pub seed: u64,
    /// `pos` of the topmost element of the board; the imported ones lie above it.
    pub above: Option<&'a str>,
}

/// A file, ready to be put on a board.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Import {
    /// Title that the file gives, if any.
    pub title: Option<String>,
    /// `background` and `extra` for the page `""` of a new board.
    pub page_entry: Properties,
    /// Further pages: `title`, `pos`, `background`.
    pub pages: Vec<Entry>,
    /// Elements from bottom to top, each complete with `type`, `x`, `y` and `pos`; `author` and `created` are the caller's.
    pub elements: Vec<Entry>,
    /// Contents of images; elements name them by SHA-256.
    pub assets: Vec<ImportedAsset>,
    /// What could not be taken as it was, for people.
    pub notes: Vec<String>,
}

/// A file inside of an imported file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedAsset {
    /// Name it had in the file; the first one if it had several.
    pub file_id: Arc<str>,
    /// SHA-256 of the content in lower-case hex.
    pub sha256: EntryId,
    /// Media type by the file's word; not checked against the content.
    pub mime_type: String,
    /// The content.
    pub bytes: Vec<u8>,
    /// When it was made, in ms since 1970, if the file says.
    pub created: Option<u64>,
}

/// Why a file cannot be imported: always the file's fault.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The bytes are not JSON, or hold a number too large for one.
    #[error("the file is not JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// JSON of another kind.
    #[error(
        "the file is not a board: expected Excalidraw's `elements`, a library's items or tldraw's `records`, found {found}"
    )]
    NotABoard {
        /// What the file is instead.
        found: String,
    },
    /// A part that must be a list or an object is something else.
    #[error("`{key}` of the file is not {expected}")]
    BadPart {
        /// Key at the top of the file.
        key: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// An element that cannot be taken.
    #[error("element {index} ({id:?}) {fault}")]
    BadElement {
        /// Its place in the file, from 0.
        index: usize,
        /// Its id, empty where it has none.
        id: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// More values than are read at once.
    #[error("it holds more than {VALUES_MAX} values: split it")]
    TooManyValues,
    /// Values nested deeper than the document takes.
    #[error("{place} is nested deeper than {VALUE_DEPTH_MAX} levels")]
    TooDeep {
        /// Where in the file.
        place: String,
    },
}

/// Reads a board file of any known format; the content tells which one it is, not the name.
pub fn import(bytes: &[u8], options: &ImportOptions<'_>, fresh: FreshIds<'_>) -> Result<Import, ImportError> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if codec::json_has_more_than(text, VALUES_MAX) {
        return Err(ImportError::TooManyValues);
    }
    let Json::Object(file) = serde_json::from_slice(text)? else {
        return Err(ImportError::NotABoard {
            found: "JSON that is not an object".to_owned(),
        });
    };
    let kind = file.get("type").and_then(Json::as_str);
    if file.contains_key("records") && (file.contains_key("schema") || file.contains_key("tldrawFileFormatVersion")) {
        tldraw::import(file, options, fresh)
    } else if kind == Some("excalidrawlib") || file.contains_key("libraryItems") || file.contains_key("library") {
        library::import(file, options, fresh)
    } else if file.contains_key("elements") && kind.is_none_or(|kind| kind.starts_with("excalidraw")) {
        excalidraw::import(file, options, fresh)
    } else {
        let keys: Vec<_> = file
            .keys()
            .take(8)
            .map(|key| key.chars().take(40).collect::<String>())
            .collect();
        Err(ImportError::NotABoard {
            found: format!("an object with the keys {keys:?}"),
        })
    }
}

/// Renames all elements, groups and pages, and whatever refers to them: for an import into a board where ids are taken.
#[must_use]
pub fn with_fresh_ids(mut import: Import, fresh: FreshIds<'_>) -> Import {
    let mut elements = HashMap::with_capacity(import.elements.len());
    let mut pages = HashMap::with_capacity(import.pages.len());
    for page in &mut import.pages {
        let id = fresh();
        pages.insert(page.id.shared(), id.shared());
        page.id = id;
    }
    let mut groups = HashMap::new();
    for entry in &import.elements {
        elements.insert(entry.id.shared(), fresh().shared());
        for group in texts(entry.properties.get(Property::GroupIds)) {
            groups.entry(Arc::clone(group)).or_insert_with(|| fresh().shared());
        }
    }
    for entry in &mut import.elements {
        rename(entry, &elements, &groups);
        if let Some(page) = entry.properties.remove(Property::Page) {
            entry.properties.set(Property::Page, renamed(&page, &pages));
        }
    }
    import
}

type Names = HashMap<Arc<str>, Arc<str>>;

/// Renames an element and its references by these maps; names that are not in them stay.
fn rename(entry: &mut Entry, elements: &Names, groups: &Names) {
    if let Some(id) = elements.get(entry.id.as_str()) {
        entry.id = EntryId::new(Arc::clone(id)).expect("fresh ids are ids");
    }
    rename_references(&mut entry.properties, elements, groups);
}

fn rename_references(properties: &mut Properties, elements: &Names, groups: &Names) {
    for property in [Property::ContainerId, Property::FrameId] {
        if let Some(value) = properties.remove(property) {
            properties.set(property, renamed(&value, elements));
        }
    }
    if let Some(list) = properties.remove(Property::GroupIds) {
        properties.set(Property::GroupIds, renamed(&list, groups));
    }
    if let Some(Value::Map(bindings)) = properties.remove(Property::Bindings) {
        let bindings = bindings
            .iter()
            .map(|(key, value)| (Arc::clone(key), rebound(value, elements)));
        properties.set(Property::Bindings, Value::Map(Arc::new(bindings.collect())));
    }
    // Files of before 2021 name bound elements this way.
    if let Some(Value::Map(extra)) = properties.get(Property::Extra)
        && let Some(old) = extra.get("boundElementIds")
    {
        let mut extra = (**extra).clone();
        extra.insert("boundElementIds".into(), renamed(old, elements));
        properties.set(Property::Extra, Value::Map(Arc::new(extra)));
    }
}

/// The text under its new name, or a list of such texts.
fn renamed(value: &Value, names: &Names) -> Value {
    match value {
        Value::String(name) => Value::String(Arc::clone(names.get(name).unwrap_or(name))),
        Value::Array(items) => Value::Array(items.iter().map(|item| renamed(item, names)).collect()),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Bytes(_) | Value::Map(_) => {
            value.clone()
        }
    }
}

/// A binding `{elementId, ...}`, or a list of `{id, type}`, with its elements under their new names.
fn rebound(value: &Value, names: &Names) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(|item| rebound(item, names)).collect()),
        Value::Map(map) => {
            let parts = map.iter().map(|(key, part)| {
                let is_name = matches!(&**key, "id" | "elementId");
                (
                    Arc::clone(key),
                    if is_name { renamed(part, names) } else { part.clone() },
                )
            });
            Value::Map(Arc::new(parts.collect()))
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Bytes(_) | Value::String(_) => {
            value.clone()
        }
    }
}

/// The texts of a list of texts.
fn texts(value: Option<&Value>) -> impl Iterator<Item = &Arc<str>> {
    let items = if let Some(Value::Array(items)) = value {
        &**items
    } else {
        &[]
    };
    items.iter().filter_map(|item| {
        if let Value::String(text) = item {
            Some(text)
        } else {
            None
        }
    })
}
