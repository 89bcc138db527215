//! From tldraw's records to Excalidraw's elements.
//!
//! Known shapes become the nearest element, other ones a dashed box of the same size. The whole record, less what is drawn
//! or written in full, stays in `customData.tldraw`, so nothing is lost that a later reader could use. Turned lines and
//! strokes are turned point by point; boxes keep their angle. Views, selections and cursors are not part of a board.

mod shapes;

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value as Json, json};

use self::shapes::{Bound, Shape, page_point};
use super::excalidraw::{Parts, Reader, bad_part, page_entry};
use super::files::Files;
use super::{FreshIds, Import, ImportError, ImportOptions};
use crate::protocol::element::{Entry, Properties, Property as P, Value};
use crate::protocol::order;

/// Shapes inside of shapes: deeper ones are not drawn by tldraw either.
const NESTING_MAX: usize = 32;

/// Where a shape is on its page: corner in px and angle in radians.
#[derive(Clone, Copy, Default)]
struct Place {
    corner: [f64; 2],
    angle: f64,
}

impl Place {
    /// A point of the shape on the page.
    fn point(self, [x, y]: [f64; 2]) -> [f64; 2] {
        let (sin, cos) = self.angle.sin_cos();
        [self.corner[0] + x * cos - y * sin, self.corner[1] + x * sin + y * cos]
    }

    fn inside(self, record: &Json) -> Self {
        Self {
            corner: self.point([number(record, "x"), number(record, "y")]),
            angle: self.angle + number(record, "rotation"),
        }
    }
}

/// Imports a `.tldr` file.
pub(super) fn import(
    mut file: Map<String, Json>,
    options: &ImportOptions<'_>,
    fresh: FreshIds<'_>,
) -> Result<Import, ImportError> {
    let Some(Json::Array(records)) = file.shift_remove("records") else {
        return Err(bad_part("records", "a list"));
    };
    let mut store = Store {
        document: &Json::Null,
        shapes: HashMap::new(),
        children: HashMap::new(),
        assets: BTreeMap::new(),
        bindings: HashMap::new(),
    };
    for record in &records {
        store.take(record);
    }
    for list in store.children.values_mut() {
        list.sort_by_key(|record| text(record, "index"));
    }
    let mut notes = Vec::new();
    let files = Files::read(store.files(), &mut notes);
    let pages = store.children("").to_vec();
    let page_keys = order::sequence(None, None, pages.len(), options.seed);
    let mut reader = Reader::new(options, fresh, files, notes);
    let mut further = Vec::new();
    let mut first = Properties::new();
    let mut visited = HashSet::new();
    let mut reached = 0;
    for (index, (page, pos)) in pages.into_iter().zip(page_keys).enumerate() {
        let mut walk = Walk {
            store: &store,
            visited: std::mem::take(&mut visited),
            elements: Vec::new(),
            notes: Vec::new(),
            reached: 0,
        };
        walk.children_of(text(page, "id"), Place::default(), &mut Vec::new(), None, 0)?;
        visited = std::mem::take(&mut walk.visited);
        reached += walk.reached;
        let (elements, notes) = walk.finish();
        reader.notes.extend(notes);
        let start = reader.add(elements, [0.0, 0.0])?;
        let title = Value::from(text(page, "name"));
        let properties = Properties::from_iter([(P::Title, title), (P::Pos, Value::String(pos.into()))]);
        if index == 0 {
            first = properties;
            continue;
        }
        let id = reader.fresh_id();
        reader.put_on_page(start, &id);
        further.push(Entry { id, properties });
    }
    if reached < store.shapes.len() {
        let count = store.shapes.len() - reached;
        reader
            .notes
            .push(format!("{count} shapes lie on no page and were left out"));
    }
    let (mut import, files) = reader.finish();
    import.title = Some(text(store.document, "name").to_owned()).filter(|title| !title.is_empty());
    import.page_entry = page_entry(
        None,
        Parts::from([
            ("files".into(), files),
            ("tldraw".into(), Value::from(Json::Object(file))),
        ]),
    )?;
    for (property, value) in first.iter().filter(|_| !further.is_empty()) {
        import.page_entry.set(property, value.clone());
    }
    import.pages = further;
    Ok(import)
}

/// The records of a file by what they are.
struct Store<'a> {
    document: &'a Json,
    shapes: HashMap<&'a str, &'a Json>,
    /// Parent -> shapes by their index; the pages are the children of `""`.
    children: HashMap<&'a str, Vec<&'a Json>>,
    assets: BTreeMap<&'a str, &'a Json>,
    /// Arrow -> its ties.
    bindings: HashMap<&'a str, Vec<&'a Json>>,
}

impl<'a> Store<'a> {
    fn take(&mut self, record: &'a Json) {
        let id = text(record, "id");
        match text(record, "typeName") {
            "document" => self.document = record,
            "page" => self.add_child("", record),
            "asset" => {
                self.assets.insert(id, record);
            }
            "binding" => self.bindings.entry(text(record, "fromId")).or_default().push(record),
            "shape" => {
                self.shapes.insert(id, record);
                self.add_child(text(record, "parentId"), record);
            }
            _ => {}
        }
    }

    fn add_child(&mut self, parent: &'a str, record: &'a Json) {
        self.children.entry(parent).or_default().push(record);
    }

    fn children(&self, parent: &str) -> &[&'a Json] {
        self.children.get(parent).map_or(&[], Vec::as_slice)
    }

    /// The contents of images as a `.excalidraw` file has them.
    fn files(&self) -> Map<String, Json> {
        let files = self.assets.iter().filter_map(|(id, asset)| {
            let props = &asset["props"];
            let url = props["src"].as_str().filter(|url| url.starts_with("data:"))?;
            let mime_type = props["mimeType"].as_str().unwrap_or("application/octet-stream");
            let file = json!({ "id": id, "mimeType": mime_type, "dataURL": url, "name": props["name"] });
            Some(((*id).to_owned(), file))
        });
        files.collect()
    }

    /// Where a shape is on its page, by way of its parents.
    fn place(&self, shape: &Json) -> Place {
        let mut chain = vec![shape];
        while let Some(parent) = chain.last().and_then(|shape| self.shapes.get(text(shape, "parentId")))
            && chain.len() < NESTING_MAX
        {
            chain.push(parent);
        }
        chain
            .iter()
            .rev()
            .fold(Place::default(), |place, shape| place.inside(shape))
    }

    /// What an end of an arrow is tied to: the shape, and the spot on it as a part of its sides.
    fn tie(&self, arrow: &'a Json, end: &str) -> Option<(&'a Json, [f64; 2])> {
        let bindings = self.bindings.get(text(arrow, "id")).map_or(&[][..], Vec::as_slice);
        let record = bindings.iter().find(|binding| binding["props"]["terminal"] == end);
        // Files of before 2024 have the tie in the arrow itself.
        let (target, props) = match record {
            Some(record) => (text(record, "toId"), &record["props"]),
            None => (text(&arrow["props"][end], "boundShapeId"), &arrow["props"][end]),
        };
        let anchor = if props["isPrecise"] == false {
            [0.5, 0.5]
        } else {
            pair(&props["normalizedAnchor"])
        };
        self.shapes.get(target).map(|shape| (*shape, anchor))
    }
}

/// One page while its shapes are turned into elements.
struct Walk<'a> {
    store: &'a Store<'a>,
    /// Parents that were walked: a file may hang a shape below itself.
    visited: HashSet<&'a str>,
    elements: Vec<Map<String, Json>>,
    notes: Vec<String>,
    /// Shapes on this page.
    reached: usize,
}

impl<'a> Walk<'a> {
    fn children_of(
        &mut self,
        parent: &'a str,
        place: Place,
        groups: &mut Vec<String>,
        frame: Option<&str>,
        depth: usize,
    ) -> Result<(), ImportError> {
        if depth > NESTING_MAX {
            return Err(ImportError::TooDeep {
                place: format!("shape {parent:?}"),
            });
        }
        if !self.visited.insert(parent) {
            return Ok(());
        }
        let store = self.store;
        for record in store.children(parent) {
            let id = text(record, "id");
            self.reached += 1;
            let inside = place.inside(record);
            let start = self.elements.len();
            match text(record, "type") {
                "group" => {
                    groups.insert(0, element_id(id).to_owned());
                    self.children_of(id, inside, groups, frame, depth + 1)?;
                    groups.remove(0);
                    self.keep_group(start, record);
                    continue;
                }
                // What lies in a frame comes below it in Excalidraw's order.
                "frame" => self.children_of(id, inside, groups, Some(element_id(id)), depth + 1)?,
                _ => self.children_of(id, inside, groups, frame, depth + 1)?,
            }
            let start = self.elements.len();
            self.shape(record, inside);
            for element in &mut self.elements[start..] {
                element.insert("groupIds".to_owned(), json!(groups));
                element.insert("frameId".to_owned(), json!(frame));
                element.insert("locked".to_owned(), json!(record["isLocked"] == true));
                let opacity = record["opacity"].as_f64().unwrap_or(1.0) * 100.0;
                let own = element.get("opacity").and_then(Json::as_f64).unwrap_or(100.0);
                element.insert("opacity".to_owned(), json!((opacity * own / 100.0).round()));
            }
        }
        Ok(())
    }

    /// A group is no element of its own: its record goes with the first element in it.
    fn keep_group(&mut self, start: usize, record: &Json) {
        match self.elements.get_mut(start) {
            Some(first) => {
                let custom = first.entry("customData").or_insert_with(|| json!({}));
                custom["tldrawGroups"][text(record, "id")] = record.clone();
            }
            None => self
                .notes
                .push(format!("group {:?} is empty and was left out", text(record, "id"))),
        }
    }

    fn shape(&mut self, record: &Json, place: Place) {
        let ends = ["start", "end"].map(|end| self.end(record, end, place));
        let shape = Shape::new(record, place, &self.store.assets);
        let (elements, note) = shape.elements(ends);
        self.elements.extend(elements);
        if let Some(note) = note {
            self.notes
                .push(format!("{} {:?}: {note}", text(record, "type"), text(record, "id")));
        }
    }

    /// An end of an arrow on the page, and the element it is tied to.
    fn end(&self, record: &Json, end: &str, place: Place) -> Option<Bound> {
        if text(record, "type") != "arrow" {
            return None;
        }
        let Some((target, anchor)) = self.store.tie(record, end) else {
            return Some(Bound {
                point: place.point(pair(&record["props"][end])),
                target: None,
                half_size: [0.0; 2],
            });
        };
        let (point, half_size) = page_point(target, self.store.place(target), anchor);
        Some(Bound {
            point,
            target: Some(element_id(text(target, "id")).to_owned()),
            half_size,
        })
    }

    /// The elements with the ties of arrows noted at both ends; a tie to what is no element is dropped.
    fn finish(mut self) -> (Vec<Json>, Vec<String>) {
        let tieable = |kind: &str| {
            matches!(
                kind,
                "rectangle" | "ellipse" | "diamond" | "text" | "image" | "frame" | "embeddable"
            )
        };
        let spots: HashMap<String, usize> = self
            .elements
            .iter()
            .enumerate()
            .filter(|(_, element)| tieable(element["type"].as_str().unwrap_or_default()))
            .map(|(index, element)| (element["id"].as_str().unwrap_or_default().to_owned(), index))
            .collect();
        for index in 0..self.elements.len() {
            for end in ["startBinding", "endBinding"] {
                let Some(target) = self.elements[index]
                    .get(end)
                    .map(|tie| text(tie, "elementId").to_owned())
                else {
                    continue;
                };
                let arrow = json!({ "id": self.elements[index]["id"], "type": "arrow" });
                let Some(spot) = spots.get(&target) else {
                    self.elements[index].shift_remove(end);
                    self.notes
                        .push(format!("arrow {}: the tie to {target:?} was dropped", arrow["id"]));
                    continue;
                };
                let bound = self.elements[*spot].entry("boundElements").or_insert_with(|| json!([]));
                if let Json::Array(bound) = bound
                    && !bound.contains(&arrow)
                {
                    bound.push(arrow);
                }
            }
        }
        (self.elements.into_iter().map(Json::Object).collect(), self.notes)
    }
}

/// The key of the element that stands for a shape.
fn element_id(shape: &str) -> &str {
    shape.strip_prefix("shape:").unwrap_or(shape)
}

fn text<'a>(record: &'a Json, key: &str) -> &'a str {
    record.get(key).and_then(Json::as_str).unwrap_or_default()
}

fn number(record: &Json, key: &str) -> f64 {
    record.get(key).and_then(Json::as_f64).unwrap_or(0.0)
}

fn pair(point: &Json) -> [f64; 2] {
    [number(point, "x"), number(point, "y")]
}
