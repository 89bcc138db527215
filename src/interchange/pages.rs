//! Pages in a format that has none: a list at the top of the file, and `customData.page` of each element.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::Import;
use crate::protocol::element::{Entry, EntryKind, Item, KEPT, Properties, Property as P, Value};
use crate::protocol::ids::EntryId;

const PAGES: &str = "pages";
const CUSTOM_DATA: &str = "customData";
const PAGE: &str = "page";
const PROPERTIES: [P; 3] = [P::Title, P::Pos, P::Background];

/// Takes the list of pages out of a file that an export of ours has written: key -> properties.
pub(super) fn take(file: &mut Map<String, Json>) -> Vec<(String, Properties)> {
    let Some(Json::Array(list)) = file.get(KEPT).and_then(|kept| kept.get(PAGES)) else {
        return Vec::new();
    };
    let page = |json: &Json| {
        let id = json.get("id")?.as_str()?.to_owned();
        let texts = PROPERTIES
            .into_iter()
            .filter_map(|property| Some((property, Value::from(json.get(property.name())?.as_str()?))));
        Some((id, texts.collect()))
    };
    let pages = list.iter().filter_map(page).collect();
    file.shift_remove(KEPT);
    pages
}

/// Makes the pages in their order, and puts the elements on them.
pub(super) fn put(import: &mut Import, mut pages: Vec<(String, Properties)>) {
    if pages.is_empty() {
        return;
    }
    pages.sort_by_cached_key(|(id, page)| (page.get(P::Pos).and_then(Value::as_str).map(str::to_owned), id.clone()));
    for (id, properties) in pages {
        if id.is_empty() {
            for property in [P::Title, P::Pos] {
                import.page_entry.put(property, properties.get(property).cloned());
            }
        } else if let Ok(id) = EntryId::new(id) {
            import.pages.push(Entry { id, properties });
        }
    }
    let known: HashSet<_> = import.pages.iter().map(|page| page.id.as_str()).collect();
    for entry in &mut import.elements {
        let Some(Value::Map(extra)) = entry.properties.get(P::Extra) else {
            continue;
        };
        let Some(Value::Map(custom)) = extra.get(CUSTOM_DATA) else {
            continue;
        };
        let Some(Value::String(page)) = custom.get(PAGE).cloned() else {
            continue;
        };
        if !known.contains(&*page) {
            continue;
        }
        let (mut extra, mut custom) = ((**extra).clone(), (**custom).clone());
        custom.remove(PAGE);
        if custom.is_empty() {
            extra.remove(CUSTOM_DATA);
        } else {
            extra.insert(CUSTOM_DATA.into(), Value::Map(Arc::new(custom)));
        }
        let extra = (!extra.is_empty()).then(|| Value::Map(Arc::new(extra)));
        entry.properties.put(P::Extra, extra);
        entry.properties.set(P::Page, Value::String(page));
    }
}

/// Whether it is a page that was deleted; the first one always stays.
pub fn is_deleted_page(item: &Item) -> bool {
    item.kind == EntryKind::Page && !item.id.is_empty() && item.properties.get(P::Deleted).is_some()
}

/// The list of pages for the top of a file.
pub(super) fn list(items: &[Item]) -> Json {
    let pages = items.iter().filter(|item| item.kind == EntryKind::Page);
    let page = |item: &Item| {
        let mut page = Map::new();
        page.insert("id".to_owned(), (*item.id).into());
        for property in PROPERTIES {
            if let Some(value) = item.properties.get(property) {
                page.insert(property.name().to_owned(), value.into());
            }
        }
        Json::Object(page)
    };
    json!({ PAGES: pages.map(page).collect::<Vec<_>>() })
}

/// Says on an element of a file which page it is on.
pub(super) fn mark(element: &mut Map<String, Json>, page: &str) {
    let custom = element.entry(CUSTOM_DATA).or_insert_with(|| json!({}));
    if custom.is_null() {
        *custom = json!({});
    }
    if let Json::Object(custom) = custom {
        custom.insert(PAGE.to_owned(), page.into());
    }
}
