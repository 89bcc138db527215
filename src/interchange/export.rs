//! From entries of the document to a `.excalidraw` file, or to plain JSON.
//!
//! Elements that our ops made have few properties; the file has all that Excalidraw 0.18 expects, at its defaults.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

use super::keys::{self, BINDINGS, keys_of};
use super::{files, pages};
use crate::protocol::element::{EntryKind, Item, KEPT, Properties, Property as P, Value};
use crate::protocol::points::{self, Stroke};

/// What an export shall hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    /// One page (`""` is the first); `None` = all, with `customData.page` on the elements of further pages.
    pub page: Option<&'a str>,
    /// Whether deleted elements come along, as `isDeleted`.
    pub with_deleted: bool,
}

/// Writes a board as a `.excalidraw` file. `asset` gives media type and content for a SHA-256; images whose content it
/// does not have stay empty.
pub fn export_excalidraw(items: &[Item], scope: &Scope<'_>, asset: &dyn Fn(&str) -> Option<(String, Bytes)>) -> Json {
    let page = |id: &str| {
        items
            .iter()
            .find(|item| item.kind == EntryKind::Page && &*item.id == id)
    };
    let first_page = page("");
    let shown = shown(items, scope);
    let has_pages = items
        .iter()
        .any(|item| item.kind == EntryKind::Page && !item.id.is_empty());
    let mut named = Vec::new();
    let mut list = Vec::with_capacity(shown.len());
    for item in shown {
        let writer = Writer::new(item);
        if let Some(file) = writer.file() {
            named.push(file);
        }
        let mut element = writer.element();
        let on = page_of(item);
        if scope.page.is_none() && !on.is_empty() {
            pages::mark(&mut element, on);
        }
        list.push(Json::Object(element));
    }
    let kept = first_page.and_then(|item| kept(&item.properties));
    let remembered = kept.and_then(|kept| kept.get("files")).map(Json::from);
    let is_whole = scope.page.is_none_or(str::is_empty);
    let of_file = remembered.as_ref().and_then(Json::as_object);
    let files = files::write(of_file.filter(|_| is_whole), &named, asset);
    let background = page(scope.page.unwrap_or_default()).and_then(|item| item.properties.get(P::Background));

    let mut file = around(kept.and_then(|kept| kept.get("file")), background);
    file.insert("elements".to_owned(), Json::Array(list));
    // A file that came without `files` goes without, unless there is something to say.
    if kept.is_none() || remembered.is_some() || !files.is_empty() {
        file.insert("files".to_owned(), Json::Object(files));
    }
    if scope.page.is_none() && has_pages {
        file.insert(KEPT.to_owned(), pages::list(items));
    }
    Json::Object(file)
}

/// All entries as they are: `{schema, entries: [{kind, id, properties}]}`; packed points are base64.
pub fn export_json(items: &[Item]) -> Json {
    let entries: Vec<_> = items
        .iter()
        .map(|item| {
            let properties = item.properties.iter();
            let properties: Map<_, _> = properties
                .map(|(property, value)| (property.name().to_owned(), value.into()))
                .collect();
            json!({ "kind": item.kind, "id": &*item.id, "properties": properties })
        })
        .collect();
    json!({ "schema": 1, "entries": entries })
}

/// The elements of the scope from bottom to top; equal keys of the z-order are in the order of their ids.
#[must_use]
pub fn shown<'a>(items: &'a [Item], scope: &Scope<'_>) -> Vec<&'a Item> {
    let deleted_pages: HashSet<_> = items
        .iter()
        .filter(|item| pages::is_deleted_page(item))
        .map(|item| &*item.id)
        .collect();
    let is_shown = |item: &&Item| {
        let page = page_of(item);
        let is_deleted = item.properties.get(P::Deleted).is_some() || deleted_pages.contains(page);
        item.kind == EntryKind::Element
            && (scope.with_deleted || !is_deleted)
            && scope.page.is_none_or(|wanted| wanted == page)
    };
    let pos = |item: &Item| {
        let pos = item.properties.get(P::Pos).and_then(Value::as_str).unwrap_or_default();
        (pos.to_owned(), Arc::clone(&item.id))
    };
    let mut shown: Vec<_> = items.iter().filter(is_shown).collect();
    shown.sort_by_cached_key(|item| pos(item));
    shown
}

fn page_of(item: &Item) -> &str {
    item.properties.get(P::Page).and_then(Value::as_str).unwrap_or_default()
}

/// The file around its elements: as it came, or as Excalidraw writes a new one.
fn around(file: Option<&Value>, background: Option<&Value>) -> Map<String, Json> {
    let known = file.map(Json::from);
    let mut around = if let Some(Json::Object(around)) = known {
        around
    } else {
        let fresh = json!({
            "type": "excalidraw",
            "version": 2,
            "source": "panseo",
            "appState": {
                "gridSize": 20,
                "gridStep": 5,
                "gridModeEnabled": false,
                "viewBackgroundColor": "#ffffff",
            },
        });
        fresh.as_object().cloned().unwrap_or_default()
    };
    if let Some(background) = background {
        let state = around.entry("appState").or_insert_with(|| json!({}));
        if let Json::Object(state) = state {
            state.insert("viewBackgroundColor".to_owned(), background.into());
        }
    }
    around
}

type Parts = BTreeMap<Arc<str>, Value>;

fn part<'a>(value: Option<&'a Value>, key: &str) -> Option<&'a Value> {
    if let Some(Value::Map(map)) = value {
        map.get(key)
    } else {
        None
    }
}

fn map(value: Option<&Value>) -> Option<&Parts> {
    if let Some(Value::Map(map)) = value {
        Some(map)
    } else {
        None
    }
}

fn kept(properties: &Properties) -> Option<&Parts> {
    map(part(properties.get(P::Extra), KEPT))
}

/// Writes one element.
struct Writer<'a> {
    id: &'a str,
    properties: &'a Properties,
    extra: Option<&'a Parts>,
    kept: Option<&'a Parts>,
    stroke: Option<Stroke>,
}

impl<'a> Writer<'a> {
    fn new(item: &'a Item) -> Self {
        let properties = &item.properties;
        let stroke = if let Some(Value::Bytes(bytes)) = properties.get(P::Points) {
            points::unpack(bytes).ok()
        } else {
            None
        };
        Self {
            id: &item.id,
            properties,
            extra: map(properties.get(P::Extra)),
            kept: kept(properties),
            stroke,
        }
    }

    fn element(&self) -> Map<String, Json> {
        let mut element = Map::new();
        let kind = self.properties.get(P::Type).and_then(Value::as_str).unwrap_or_default();
        let missing = self.kept.and_then(|kept| kept.get("missing"));
        let missing: Vec<_> = super::texts(missing).collect();
        for (key, absent) in keys_of(kind) {
            let extra = || self.extra(key).map(Json::from);
            let value = self.present(key).or_else(extra).or_else(|| {
                let is_missing = missing.iter().any(|known| &***known == key);
                (!is_missing).then(|| keys::value_of(key, absent, self.id, self.properties))
            });
            if let Some(value) = value {
                element.insert(key.to_owned(), value);
            }
        }
        // What this kind does not need but the element has nevertheless.
        let specials = ["points", "pressures", "fileId"].into_iter();
        let specials = specials.chain(BINDINGS.iter().map(|(key, _)| *key));
        for key in specials.chain(keys::plain_properties().map(P::name)) {
            if !element.contains_key(key)
                && let Some(value) = self.present(key)
            {
                element.insert(key.to_owned(), value);
            }
        }
        for key in self.extra.into_iter().flat_map(Parts::keys) {
            if &**key != KEPT
                && !element.contains_key(&**key)
                && let Some(value) = self.extra(key)
            {
                element.insert(key.to_string(), value.into());
            }
        }
        if let Some(own) = self.kept.and_then(|kept| kept.get("own")) {
            element.insert(KEPT.to_owned(), own.into());
        }
        element
    }

    /// The value of a key that no property says. An older text's `originalText` is none: it would be shown again.
    fn extra(&self, key: &str) -> Option<&'a Value> {
        let value = self.extra?.get(key)?;
        let came_with_it = || {
            let text = self.kept.and_then(|kept| kept.get("text"));
            text == Some(&keys::print_of_text(self.properties))
        };
        let is_meant = key != keys::ORIGINAL_TEXT || keys::is_unwrapped(value, self.properties) || came_with_it();
        is_meant.then_some(value)
    }

    /// The value of a key, where a property says it.
    fn present(&self, key: &str) -> Option<Json> {
        if let Some((_, name)) = BINDINGS.iter().find(|(known, _)| *known == key) {
            return part(self.properties.get(P::Bindings), name).map(Json::from);
        }
        match key {
            "isDeleted" => self.properties.get(P::Deleted).map(|_| Json::Bool(true)),
            "fileId" => self.file_id().map(Json::from),
            "points" => {
                let points = &self.stroke.as_ref()?.points;
                let number = |px: f64| Json::from(&Value::number(px));
                Some(
                    points
                        .iter()
                        .map(|[x, y]| Json::from(vec![number(*x), number(*y)]))
                        .collect(),
                )
            }
            "pressures" => {
                let pressures = self.stroke.as_ref()?.pressures.as_ref()?;
                Some(
                    pressures
                        .iter()
                        .map(|pressure| Json::from(&Value::number(*pressure)))
                        .collect(),
                )
            }
            _ => {
                let property = keys::plain_properties().find(|property| property.name() == key)?;
                self.properties.get(property).map(Json::from)
            }
        }
    }

    /// The name of the image: as the file had it, as long as the content is the same.
    fn file_id(&self) -> Option<&'a str> {
        let sha256 = self.properties.get(P::FileId)?.as_str()?;
        let file = self.kept.and_then(|kept| kept.get("file"));
        let name = part(file, "id")
            .filter(|_| part(file, "sha256").and_then(Value::as_str) == Some(sha256))
            .and_then(Value::as_str);
        Some(name.unwrap_or(sha256))
    }

    /// File id, SHA-256 and time of the image.
    fn file(&self) -> Option<(String, String, Option<Json>)> {
        let sha256 = self.properties.get(P::FileId)?.as_str()?;
        let created = self.properties.get(P::Created).map(Json::from);
        Some((self.file_id()?.to_owned(), sha256.to_owned(), created))
    }
}
