//! Libraries of items (`.excalidrawlib`): all items side by side on one canvas, in rows, none above another.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::excalidraw::{Parts, Reader, bad_part, page_entry};
use super::files::Files;
use super::{FreshIds, Import, ImportError, ImportOptions};
use crate::protocol::element::Value;

/// Room between two items in px.
const GAP_PX: f64 = 40.0;

struct Item {
    elements: Vec<Json>,
    /// All that the library says of the item but its elements.
    about: Json,
    bounds: Bounds,
}

/// Imports a library: version 1 (`library`: lists of elements) or 2 (`libraryItems`).
pub(super) fn import(
    mut file: Map<String, Json>,
    options: &ImportOptions<'_>,
    fresh: FreshIds<'_>,
) -> Result<Import, ImportError> {
    let (key, list) = if let Some(list) = file.shift_remove("libraryItems") {
        ("libraryItems", list)
    } else {
        ("library", file.shift_remove("library").unwrap_or_default())
    };
    let Json::Array(list) = list else {
        return Err(bad_part(key, "a list"));
    };
    let items: Vec<_> = list
        .into_iter()
        .map(item)
        .collect::<Option<_>>()
        .ok_or_else(|| bad_part(key, "a list of items"))?;
    let mut reader = Reader::new(options, fresh, Files::default(), Vec::new());
    reader.remembers_missing = true;
    let mut about = Vec::with_capacity(items.len());
    let spots = spots(&items);
    for (item, spot) in items.into_iter().zip(spots) {
        // Whole pixels, so that moving an item rounds nothing.
        let shift = [0, 1].map(|axis| (spot[axis] - item.bounds.low[axis]).round());
        reader.add(item.elements, shift)?;
        about.push(Value::from(item.about));
    }
    let (mut import, _) = reader.finish();
    let mut kept = Parts::new();
    kept.insert("library".into(), Value::from(Json::Object(file)));
    kept.insert("items".into(), Value::Array(about.into()));
    import.page_entry = page_entry(None, Parts::from([(Arc::from("library"), Value::Map(Arc::new(kept)))]))?;
    Ok(import)
}

fn item(json: Json) -> Option<Item> {
    let (elements, about) = match json {
        Json::Array(elements) => (elements, Json::Object(Map::new())),
        Json::Object(mut item) => {
            let Some(Json::Array(elements)) = item.shift_remove("elements") else {
                return None;
            };
            (elements, Json::Object(item))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => return None,
    };
    let bounds = elements.iter().fold(Bounds::NONE, Bounds::with);
    Some(Item {
        elements,
        about,
        bounds: if bounds.low[0] > bounds.high[0] {
            Bounds::EMPTY
        } else {
            bounds
        },
    })
}

/// Top left corners of the items: rows about as wide as all of them are high together.
fn spots(items: &[Item]) -> Vec<[f64; 2]> {
    let sizes: Vec<_> = items.iter().map(|item| item.bounds.size()).collect();
    let area: f64 = sizes
        .iter()
        .map(|[width, height]| (width + GAP_PX) * (height + GAP_PX))
        .sum();
    let row_width = area.sqrt();
    let mut next = [0.0, 0.0_f64];
    let mut row_height = 0.0_f64;
    let spot = |[width, height]: [f64; 2]| {
        if next[0] > 0.0 && next[0] + width > row_width {
            next = [0.0, next[1] + row_height + GAP_PX];
            row_height = 0.0;
        }
        let spot = next;
        next[0] += (width + GAP_PX).ceil();
        row_height = row_height.max(height.ceil());
        spot
    };
    sizes.into_iter().map(spot).collect()
}

#[derive(Clone, Copy)]
struct Bounds {
    low: [f64; 2],
    high: [f64; 2],
}

impl Bounds {
    const NONE: Self = Self {
        low: [f64::INFINITY; 2],
        high: [f64::NEG_INFINITY; 2],
    };
    const EMPTY: Self = Self {
        low: [0.0; 2],
        high: [0.0; 2],
    };

    fn size(self) -> [f64; 2] {
        [0, 1].map(|axis| self.high[axis] - self.low[axis])
    }

    fn with(self, element: &Json) -> Self {
        let number = |key: &str| element.get(key).and_then(Json::as_f64).unwrap_or(0.0);
        let corner = [number("x"), number("y")];
        let size = [number("width"), number("height")];
        let mut low = [0, 1].map(|axis| corner[axis].min(corner[axis] + size[axis]));
        let mut high = [0, 1].map(|axis| corner[axis].max(corner[axis] + size[axis]));
        // The points of a line may lie left of or above its own corner.
        for point in element.get("points").and_then(Json::as_array).into_iter().flatten() {
            for axis in [0, 1] {
                let place = corner[axis] + point.get(axis).and_then(Json::as_f64).unwrap_or(0.0);
                low[axis] = low[axis].min(place);
                high[axis] = high[axis].max(place);
            }
        }
        if number("angle") != 0.0 {
            let half = (high[0] - low[0]).hypot(high[1] - low[1]) / 2.0;
            for axis in [0, 1] {
                let middle = f64::midpoint(low[axis], high[axis]);
                low[axis] = middle - half;
                high[axis] = middle + half;
            }
        }
        Self {
            low: [0, 1].map(|axis| self.low[axis].min(low[axis])),
            high: [0, 1].map(|axis| self.high[axis].max(high[axis])),
        }
    }
}
