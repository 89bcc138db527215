//! Boards as files: what comes in goes out again, equal but for the differences that are stated.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use panseo::interchange::{Import, ImportError, ImportOptions, Scope, export_excalidraw, export_json, import, with_fresh_ids};
use panseo::protocol::element::{EntryKind, Item, Property as P, Value};
use panseo::protocol::ids::{EntryId, Timestamp};
use panseo::protocol::points;
use serde_json::{Value as Json, json};

const OPTIONS: ImportOptions<'static> = ImportOptions {
    now: Timestamp(1_000),
    seed: 7,
    above: None,
};
const HALF_A_STEP_PX: f64 = 1.0 / 32.0;
const HALF_A_STEP_OF_PRESSURE: f64 = 1.0 / 510.0 + 1e-9;

#[derive(Clone, Copy, PartialEq)]
enum Tolerance {
    None,
    Px,
    Pressure,
    Any,
}

fn fresh() -> impl FnMut() -> EntryId {
    let mut count = 0;
    move || {
        count += 1;
        EntryId::new(format!("fresh-{count}")).unwrap()
    }
}

fn read(bytes: &[u8]) -> Result<Import, ImportError> {
    import(bytes, &OPTIONS, &mut fresh())
}

fn read_json(json: &Json) -> Result<Import, ImportError> {
    read(json.to_string().as_bytes())
}

/// The board as a document that holds nothing but the import would give it.
fn items(import: &Import) -> Vec<Item> {
    let item = |kind, id: &str, properties: &_| Item {
        kind,
        id: id.into(),
        properties: Clone::clone(properties),
    };
    let mut items = vec![item(EntryKind::Page, "", &import.page_entry)];
    items.extend(import.pages.iter().map(|page| item(EntryKind::Page, page.id.as_str(), &page.properties)));
    items.extend(import.elements.iter().map(|entry| item(EntryKind::Element, entry.id.as_str(), &entry.properties)));
    // A document has no order of its own.
    items.reverse();
    items
}

fn write(import: &Import) -> Json {
    let contents: HashMap<_, _> = import
        .assets
        .iter()
        .map(|asset| (asset.sha256.to_string(), (asset.mime_type.clone(), Bytes::from(asset.bytes.clone()))))
        .collect();
    let scope = Scope { page: None, with_deleted: true };
    export_excalidraw(&items(import), &scope, &|sha256| contents.get(sha256).cloned())
}

/// The first place where two files differ by more than they may.
fn difference(path: &str, before: &Json, after: &Json, tolerance: Tolerance) -> Option<String> {
    let differs = || Some(format!("{path}: {before} became {after}"));
    match (before, after) {
        _ if tolerance == Tolerance::Any => None,
        (Json::Number(before), Json::Number(after)) => {
            let (before, after) = (before.as_f64().unwrap(), after.as_f64().unwrap());
            let allowed = match tolerance {
                Tolerance::None | Tolerance::Any => 0.0,
                Tolerance::Px => HALF_A_STEP_PX,
                Tolerance::Pressure => HALF_A_STEP_OF_PRESSURE,
            };
            if (before - after).abs() <= allowed { None } else { differs() }
        }
        (Json::Array(before), Json::Array(after)) if before.len() == after.len() => before
            .iter()
            .zip(after)
            .enumerate()
            .find_map(|(index, (before, after))| difference(&format!("{path}[{index}]"), before, after, tolerance)),
        (Json::Object(before), Json::Object(after)) => {
            let is_element = path.starts_with("elements[") && path.ends_with(']') && !path.contains('.');
            if let Some(key) = after.keys().find(|key| !before.contains_key(*key)) {
                return Some(format!("{path}: {key} appeared"));
            }
            before.iter().find_map(|(key, before)| {
                let tolerance = match key.as_str() {
                    "x" | "y" | "width" | "height" | "points" if is_element => Tolerance::Px,
                    "pressures" if is_element => Tolerance::Pressure,
                    "version" | "versionNonce" if is_element => Tolerance::Any,
                    _ => tolerance,
                };
                let inside = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match after.get(key) {
                    Some(after) => difference(&inside, before, after, tolerance),
                    None => Some(format!("{inside} was lost")),
                }
            })
        }
        _ if before == after => None,
        _ => differs(),
    }
}

fn assert_comes_back(name: &str, bytes: &[u8]) {
    let before: Json = serde_json::from_slice(bytes).unwrap();
    let import = read(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(import.elements.is_sorted_by(|a, b| a.properties.get(P::Pos).unwrap().as_str() < b.properties.get(P::Pos).unwrap().as_str()));
    let found = difference("", &before, &write(&import), Tolerance::None);
    assert_eq!(found, None, "{name}");
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The folder of real boards, if this machine has it.
fn shared_data() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("PANSEO_SHARED_DATA").map_or_else(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

fn files(folder: &Path, extension: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// The fixtures, and the real boards where they are at hand.
fn all_files(folder: &str, extension: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = files(&fixtures(), extension);
    assert!(!found.is_empty(), "no fixture .{extension}");
    match shared_data() {
        Some(data) => found.extend(files(&data.join(folder), extension)),
        None => eprintln!("no shared data: used the fixtures .{extension} only"),
    }
    found
}

#[test]
fn a_board_comes_back_as_it_was() {
    let files = all_files("excalidraw", "excalidraw");
    for (name, bytes) in &files {
        assert_comes_back(name, bytes);
    }
    eprintln!("{} boards came back", files.len());
}

#[test]
fn a_lesson_comes_back_in_all_its_states() {
    let Some(data) = shared_data() else {
        eprintln!("no shared data: skipped");
        return;
    };
    for folder in std::fs::read_dir(data.join("history")).unwrap() {
        for (name, bytes) in files(&folder.unwrap().path(), "excalidraw") {
            assert_comes_back(&name, &bytes);
        }
    }
}
