//! From Excalidraw's JSON to entries of the document. The other formats come through here too, as Excalidraw elements.
//!
//! What an export needs and the document has no place for is kept in `extra` under [`KEPT`]:
//! - of an element: `missing` (keys the file left out although Excalidraw expects them), `file` (`{id, sha256}`: the name
//!   its image had), `deleted` (when it was deleted, see [`Properties::came_deleted`]), `text` (a print of the text that
//!   an odd `originalText` came with), `own` (the file's own key of that name);
//! - of the page `""`: `file` (the file without elements and contents) and `files` (what it said of each content).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::files::Files;
use super::keys::{self, BINDINGS, LENGTHS, keys_of, plain_property};
use super::{FreshIds, Import, ImportError, ImportOptions, pages, rename_references};
use crate::protocol::element::{Entry, KEPT, Properties, Property as P, Value};
use crate::protocol::ids::EntryId;
use crate::protocol::limits::VALUE_DEPTH_MAX;
use crate::protocol::order;
use crate::protocol::points::{self, COORDINATE_MAX, Stroke};

/// Counters of Excalidraw's own merging: they mean nothing beside a CRDT.
const COUNTERS: [&str; 2] = ["version", "versionNonce"];

/// A map of the document in the making.
pub(super) type Parts = BTreeMap<Arc<str>, Value>;

/// Imports a `.excalidraw` file.
pub(super) fn import(
    mut file: Map<String, Json>,
    options: &ImportOptions<'_>,
    fresh: FreshIds<'_>,
) -> Result<Import, ImportError> {
    let Some(Json::Array(elements)) = file.shift_remove("elements") else {
        return Err(bad_part("elements", "a list"));
    };
    let mut notes = Vec::new();
    let has_files = file.contains_key("files");
    let files = match file.shift_remove("files") {
        None | Some(Json::Null) => Files::default(),
        Some(Json::Object(files)) => Files::read(files, &mut notes),
        Some(_) => return Err(bad_part("files", "an object")),
    };
    let pages = pages::take(&mut file);
    let mut reader = Reader::new(options, fresh, files, notes);
    reader.remembers_missing = true;
    reader.add(elements, [0.0, 0.0])?;
    let (mut import, files) = reader.finish();
    let title = file
        .get("appState")
        .and_then(|state| state.get("name"))
        .and_then(Json::as_str);
    import.title = title.filter(|title| !title.is_empty()).map(str::to_owned);
    let background = background(&mut file);
    let mut kept = Parts::new();
    kept.insert("file".into(), Value::from(Json::Object(file)));
    if has_files {
        kept.insert("files".into(), files);
    }
    import.page_entry = page_entry(background, kept)?;
    pages::put(&mut import, pages);
    Ok(import)
}

/// Takes the background out of the state of the application, if it is a plain text.
fn background(file: &mut Map<String, Json>) -> Option<Value> {
    let state = file.get_mut("appState")?.as_object_mut()?;
    let colour = state.get("viewBackgroundColor")?.as_str().map(Value::from)?;
    state.shift_remove("viewBackgroundColor");
    Some(colour)
}

/// The entry of the page `""`, with what is kept for an export.
pub(super) fn page_entry(background: Option<Value>, kept: Parts) -> Result<Properties, ImportError> {
    let extra = Value::Map(Arc::new([(KEPT.into(), Value::Map(Arc::new(kept)))].into()));
    if extra.depth() > VALUE_DEPTH_MAX {
        return Err(ImportError::TooDeep {
            place: "the file around its elements".to_owned(),
        });
    }
    let mut entry = Properties::new();
    entry.put(P::Background, background);
    entry.set(P::Extra, extra);
    Ok(entry)
}

pub(super) fn bad_part(key: &'static str, expected: &'static str) -> ImportError {
    ImportError::BadPart { key, expected }
}

/// Collects elements of one file, keeping their ids apart.
pub(super) struct Reader<'a> {
    options: &'a ImportOptions<'a>,
    fresh: FreshIds<'a>,
    files: Files,
    taken: HashSet<Arc<str>>,
    elements: Vec<Entry>,
    pub(super) notes: Vec<String>,
    /// Whether keys that an element lacks are remembered, so that an export lacks them too.
    pub(super) remembers_missing: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(options: &'a ImportOptions<'a>, fresh: FreshIds<'a>, files: Files, notes: Vec<String>) -> Self {
        Self {
            options,
            fresh,
            files,
            taken: HashSet::new(),
            elements: Vec::new(),
            notes,
            remembers_missing: false,
        }
    }

    /// Adds elements that refer to each other, moved by a distance in px. Ids that are taken or no ids of ours are
    /// renamed, with the references among these elements. Answers with the number of elements before them.
    pub(super) fn add(&mut self, elements: Vec<Json>, shift: [f64; 2]) -> Result<usize, ImportError> {
        let start = self.elements.len();
        let mut seen = HashSet::new();
        let mut names = HashMap::new();
        for (index, element) in elements.into_iter().enumerate() {
            let index = start + index;
            let (id, mut properties) = self.element(index, element)?;
            for (property, distance) in [(P::X, shift[0]), (P::Y, shift[1])] {
                let place = properties.get(property).and_then(Value::as_f64).unwrap_or(0.0);
                properties.set(property, Value::number(points::round_px(place + distance)));
            }
            let id: Arc<str> = id.into();
            let is_first = seen.insert(Arc::clone(&id));
            let known = EntryId::new(Arc::clone(&id)).ok().filter(|_| !self.taken.contains(&id));
            let key = match known {
                Some(key) => key,
                None => self.renamed(index, &id, is_first, &mut names),
            };
            self.taken.insert(key.shared());
            self.elements.push(Entry { id: key, properties });
        }
        if !names.is_empty() {
            let groups = HashMap::new();
            for entry in &mut self.elements[start..] {
                rename_references(&mut entry.properties, &names, &groups);
            }
        }
        Ok(start)
    }

    /// Puts the elements from this one on onto a page.
    pub(super) fn put_on_page(&mut self, start: usize, page: &EntryId) {
        for entry in &mut self.elements[start..] {
            entry.properties.set(P::Page, Value::String(page.shared()));
        }
    }

    /// An id that is not in use.
    pub(super) fn fresh_id(&mut self) -> EntryId {
        (self.fresh)()
    }

    /// A new id for an element. References among the elements mean the first one of that name.
    fn renamed(
        &mut self,
        index: usize,
        id: &Arc<str>,
        is_first: bool,
        names: &mut HashMap<Arc<str>, Arc<str>>,
    ) -> EntryId {
        let key = (self.fresh)();
        if is_first {
            names.insert(Arc::clone(id), key.shared());
        }
        let shown: String = id.chars().take(64).collect();
        self.notes.push(format!(
            "element {index}: the id {shown:?} is taken or not usable, it is {key} now"
        ));
        key
    }

    /// All elements with their keys of the z-order, and what is remembered of the contents.
    pub(super) fn finish(self) -> (Import, Value) {
        let order = order::sequence(self.options.above, None, self.elements.len(), self.options.seed);
        let mut elements = self.elements;
        for (entry, pos) in elements.iter_mut().zip(order) {
            entry.properties.set(P::Pos, Value::String(pos.into()));
        }
        let import = Import {
            elements,
            assets: self.files.assets,
            notes: self.notes,
            ..Import::default()
        };
        (import, Value::from(Json::Object(self.files.remembered)))
    }

    fn element(&mut self, index: usize, element: Json) -> Result<(String, Properties), ImportError> {
        let text = |key: &str| element.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let (id, kind) = (text("id"), text("type"));
        let bad = |fault| ImportError::BadElement {
            index,
            id: id.chars().take(64).collect(),
            fault,
        };
        let Json::Object(map) = element else {
            return Err(bad("is not an object"));
        };
        if id.is_empty() {
            return Err(bad("has no id"));
        }
        if kind.is_empty() {
            return Err(bad("has no type"));
        }
        let mut draft = Draft::new(&kind);
        if self.remembers_missing {
            draft.remember_missing(&map);
        }
        let updated = map.get("updated").and_then(Json::as_u64).unwrap_or(self.options.now.0);
        for (key, value) in map {
            draft.take(&key, value, &self.files, updated).map_err(bad)?;
        }
        for property in [P::X, P::Y] {
            if draft.properties.get(property).is_none() {
                let key = property.name();
                self.notes
                    .push(format!("element {index} ({id:?}): no number for {key}, it is 0 now"));
            }
        }
        let properties = draft.finish();
        if properties.iter().any(|(_, value)| value.depth() > VALUE_DEPTH_MAX) {
            return Err(ImportError::TooDeep {
                place: format!("element {index} ({id:?})"),
            });
        }
        Ok((id, properties))
    }
}

/// An element while its keys are sorted into properties and `extra`.
struct Draft<'a> {
    kind: &'a str,
    properties: Properties,
    extra: Parts,
    kept: Parts,
    bindings: Parts,
    points: Option<Json>,
    pressures: Option<Json>,
}

impl<'a> Draft<'a> {
    fn new(kind: &'a str) -> Self {
        Self {
            kind,
            properties: [(P::Type, Value::from(kind))].into_iter().collect(),
            extra: Parts::new(),
            kept: Parts::new(),
            bindings: Parts::new(),
            points: None,
            pressures: None,
        }
    }

    fn remember_missing(&mut self, map: &Map<String, Json>) {
        let missing: Vec<_> = keys_of(self.kind)
            .filter(|(key, _)| !map.contains_key(*key) && !COUNTERS.contains(key))
            .map(|(key, _)| Value::from(key))
            .collect();
        if !missing.is_empty() {
            self.kept.insert("missing".into(), Value::Array(missing.into()));
        }
    }

    fn take(&mut self, key: &str, json: Json, files: &Files, updated: u64) -> Result<(), &'static str> {
        match (key, &json) {
            ("id" | "type", _) | ("isDeleted", Json::Bool(false)) => {}
            (counter, _) if COUNTERS.contains(&counter) => {}
            ("isDeleted", Json::Bool(true)) => {
                let updated = i64::try_from(updated).map_err(|_too_large| "has no usable time in `updated`")?;
                self.properties.set(P::Deleted, Value::Int(updated));
                self.kept.insert(P::Deleted.name().into(), Value::Int(updated));
            }
            ("points", _) => self.points = Some(json),
            ("pressures", _) => self.pressures = Some(json),
            ("fileId", Json::String(file_id)) => self.take_file(file_id, files),
            (KEPT, _) => {
                self.kept.insert("own".into(), json.into());
            }
            ("startBinding" | "endBinding", Json::Object(_)) | ("boundElements", Json::Array(_)) => {
                self.take_binding(key, json);
            }
            ("x" | "y" | "width" | "height", Json::Number(number)) => {
                let px = number.as_f64().unwrap_or(f64::INFINITY);
                if px.abs() > COORDINATE_MAX {
                    return Err("has a coordinate or size that is out of range");
                }
                let property = LENGTHS.into_iter().find(|property| property.name() == key);
                let property = property.expect("the keys of this arm are the lengths");
                self.properties.set(property, Value::number(points::round_px(px)));
            }
            _ => self.take_plain(key, json.into()),
        }
        Ok(())
    }

    fn take_plain(&mut self, key: &str, value: Value) {
        if keys::is_default(self.kind, key, &value) {
            return;
        }
        if let Some(property) = plain_property(key, &value) {
            self.properties.set(property, value);
        } else {
            self.extra.insert(key.into(), value);
        }
    }

    fn take_binding(&mut self, key: &str, json: Json) {
        let value = Value::from(json);
        if let Some((_, name)) = BINDINGS.iter().find(|(known, _)| *known == key)
            && !keys::is_default(self.kind, key, &value)
        {
            self.bindings.insert((*name).into(), value);
        }
    }

    fn take_file(&mut self, file_id: &str, files: &Files) {
        if let Some(sha256) = files.sha256(file_id) {
            if &*sha256 != file_id {
                let names = [
                    ("id", Value::from(file_id)),
                    ("sha256", Value::String(Arc::clone(&sha256))),
                ];
                let names = names.map(|(key, value)| (key.into(), value));
                self.kept.insert("file".into(), Value::Map(Arc::new(names.into())));
            }
            self.properties.set(P::FileId, Value::String(sha256));
        } else {
            self.properties.set(P::FileId, Value::from(file_id));
        }
    }

    fn finish(mut self) -> Properties {
        self.pack_points();
        // The text an element was given before it was wrapped is mostly the text itself.
        let derived = [
            (
                keys::ORIGINAL_TEXT,
                self.properties.get(P::Text).cloned().unwrap_or_else(|| "".into()),
            ),
            ("simulatePressure", Value::Bool(!keys::has_pressures(&self.properties))),
        ];
        for (key, value) in derived {
            if self.extra.get(key) == Some(&value) && keys_of(self.kind).any(|(known, _)| known == key) {
                self.extra.remove(key);
            }
        }
        if let Some(original) = self.extra.get(keys::ORIGINAL_TEXT)
            && !keys::is_unwrapped(original, &self.properties)
        {
            self.kept.insert("text".into(), keys::print_of_text(&self.properties));
        }
        if !self.kept.is_empty() {
            self.extra.insert(KEPT.into(), Value::Map(Arc::new(self.kept)));
        }
        if !self.bindings.is_empty() {
            self.properties.set(P::Bindings, Value::Map(Arc::new(self.bindings)));
        }
        if !self.extra.is_empty() {
            self.properties.set(P::Extra, Value::Map(Arc::new(self.extra)));
        }
        for property in [P::X, P::Y] {
            if self.properties.get(property).is_none() {
                self.properties.set(property, Value::Int(0));
            }
        }
        self.properties
    }

    /// Packs points and pressures; what is not a list of pairs within range stays in `extra` as it was.
    fn pack_points(&mut self) {
        let mut pressures = self.pressures.take();
        let points = self.points.as_ref().and_then(pairs);
        let is_list = points.is_some();
        let mut stroke = Stroke {
            points: points.unwrap_or_default(),
            pressures: pressures.as_ref().and_then(fractions),
            times: None,
        };
        let mut packed = points::pack(&stroke);
        if packed.is_ok() && stroke.pressures.is_some() {
            pressures = None;
        } else if packed.is_err() {
            stroke.pressures = None;
            packed = points::pack(&stroke);
        }
        let mut points = self.points.take();
        if let Ok(bytes) = packed
            && is_list
        {
            self.properties.set(P::Points, Value::Bytes(bytes.into()));
            points = None;
        }
        for (key, json) in [("points", points), ("pressures", pressures)] {
            if let Some(json) = json {
                self.take_plain(key, json.into());
            }
        }
    }
}

fn pairs(json: &Json) -> Option<Vec<[f64; 2]>> {
    let pair = |point: &Json| match point.as_array()?.as_slice() {
        [x, y] => Some([x.as_f64()?, y.as_f64()?]),
        _ => None,
    };
    json.as_array()?.iter().map(pair).collect()
}

fn fractions(json: &Json) -> Option<Vec<f64>> {
    let list: Vec<f64> = json.as_array()?.iter().map(Json::as_f64).collect::<Option<_>>()?;
    (!list.is_empty()).then_some(list)
}
