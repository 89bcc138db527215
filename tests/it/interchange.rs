//! Boards as files: what comes in goes out again, equal but for the differences that are stated.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use panseo::interchange::{
    Import, ImportError, ImportOptions, Scope, export_excalidraw, export_json, import, with_fresh_ids,
};
use panseo::protocol::element::{Entry, EntryKind, Item, Property as P, Value};
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
pub(super) enum Tolerance {
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

pub(super) fn read(bytes: &[u8]) -> Result<Import, ImportError> {
    import(bytes, &OPTIONS, &mut fresh())
}

fn read_json(json: &Json) -> Result<Import, ImportError> {
    read(json.to_string().as_bytes())
}

/// The board as a document that holds nothing but the import would give it.
pub(super) fn items(import: &Import) -> Vec<Item> {
    let item = |kind, id: &str, properties: &_| Item {
        kind,
        id: id.into(),
        properties: Clone::clone(properties),
    };
    let mut items = vec![item(EntryKind::Page, "", &import.page_entry)];
    items.extend(
        import
            .pages
            .iter()
            .map(|page| item(EntryKind::Page, page.id.as_str(), &page.properties)),
    );
    items.extend(
        import
            .elements
            .iter()
            .map(|entry| item(EntryKind::Element, entry.id.as_str(), &entry.properties)),
    );
    // A document has no order of its own.
    items.reverse();
    items
}

fn write(import: &Import) -> Json {
    let contents: HashMap<_, _> = import
        .assets
        .iter()
        .map(|asset| {
            (
                asset.sha256.to_string(),
                (asset.mime_type.clone(), Bytes::from(asset.bytes.clone())),
            )
        })
        .collect();
    let scope = Scope {
        page: None,
        with_deleted: true,
    };
    export_excalidraw(&items(import), &scope, &|sha256| contents.get(sha256).cloned())
}

/// The first place where two files differ by more than they may.
pub(super) fn difference(path: &str, before: &Json, after: &Json, tolerance: Tolerance) -> Option<String> {
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
            if (before - after).abs() <= allowed {
                None
            } else {
                differs()
            }
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
                let inside = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
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
    assert!(
        import.elements.is_sorted_by(
            |a, b| a.properties.get(P::Pos).unwrap().as_str() < b.properties.get(P::Pos).unwrap().as_str()
        )
    );
    let found = difference("", &before, &write(&import), Tolerance::None);
    assert_eq!(found, None, "{name}");
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A folder of more boards, if one is named.
fn shared_data() -> Option<PathBuf> {
    std::env::var_os("PANSEO_SHARED_DATA").map(PathBuf::from)
}

fn files(folder: &Path, extension: &str) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

/// The fixtures, and more boards where a folder of them is named.
pub(super) fn all_files(folder: &str, extension: &str) -> Vec<(String, Vec<u8>)> {
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
    let mut lessons = vec![fixtures().join("history")];
    if let Some(data) = shared_data() {
        let folders = std::fs::read_dir(data.join("history")).unwrap();
        lessons.extend(folders.map(|folder| folder.unwrap().path()));
    }
    for lesson in lessons {
        let states = files(&lesson, "excalidraw");
        assert!(states.len() > 1, "no lesson in {}", lesson.display());
        for (name, bytes) in states {
            assert_comes_back(&name, &bytes);
        }
    }
}

#[test]
fn a_library_lies_side_by_side_with_all_its_content() {
    for (name, bytes) in all_files("excalidrawlib", "excalidrawlib") {
        let library: Json = serde_json::from_slice(&bytes).unwrap();
        let list = library.get("libraryItems").or_else(|| library.get("library")).unwrap();
        let lists: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item.get("elements").unwrap_or(item))
            .collect();
        let import = read(&bytes).unwrap();
        let written = write(&import);
        let mut written = written["elements"].as_array().unwrap().iter();
        let mut boxes: Vec<[f64; 4]> = Vec::new();
        for elements in lists {
            let mut bounds = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
            for before in elements.as_array().unwrap() {
                let after = written.next().unwrap();
                let [mut before, mut after_alike] = [before.clone(), after.clone()];
                // Items are moved, and copies of one element get ids of their own.
                for key in [
                    "id",
                    "x",
                    "y",
                    "containerId",
                    "boundElements",
                    "startBinding",
                    "endBinding",
                    "boundElementIds",
                ] {
                    for element in [&mut before, &mut after_alike] {
                        element.as_object_mut().unwrap().shift_remove(key);
                    }
                }
                assert_eq!(
                    difference("elements[0]", &before, &after_alike, Tolerance::None),
                    None,
                    "{name}"
                );
                let side = |key: &str| after[key].as_f64().unwrap();
                bounds = [
                    bounds[0].min(side("x")),
                    bounds[1].min(side("y")),
                    bounds[2].max(side("x") + side("width")),
                    bounds[3].max(side("y") + side("height")),
                ];
            }
            boxes.push(bounds);
        }
        assert!(written.next().is_none(), "{name}: more elements than in the library");
        for (index, a) in boxes.iter().enumerate() {
            for b in &boxes[index + 1..] {
                let apart = a[2] < b[0] || b[2] < a[0] || a[3] < b[1] || b[3] < a[1];
                assert!(apart, "{name}: {a:?} and {b:?} overlap");
            }
        }
    }
}

#[test]
fn every_shape_of_tldraw_becomes_an_element() {
    for (name, bytes) in all_files("tldr", "tldr") {
        let file: Json = serde_json::from_slice(&bytes).unwrap();
        let import = read(&bytes).unwrap();
        assert_eq!(import.notes, Vec::<String>::new(), "{name}");
        let shapes = file["records"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|record| record["typeName"] == "shape");
        let written = write(&import);
        for shape in shapes {
            let id = shape["id"].as_str().unwrap().trim_start_matches("shape:");
            let elements = written["elements"].as_array().unwrap();
            let element = elements.iter().find(|element| element["id"] == id).unwrap();
            let kind = match shape["type"].as_str().unwrap() {
                "geo" => shape["props"]["geo"].as_str().unwrap(),
                other => other,
            };
            assert_eq!(element["type"], kind, "{name}: {id}");
            let words = shape["props"]["text"].as_str().unwrap();
            let label = elements.iter().find(|element| element["containerId"] == id);
            let shown = label
                .unwrap_or(element)
                .get("text")
                .and_then(Json::as_str)
                .unwrap_or_default();
            assert_eq!(shown, words, "{name}: {id}");
        }
    }
}

fn shape(id: &str, kind: &str, parent: &str, props: &Json) -> Json {
    json!({"id": format!("shape:{id}"), "typeName": "shape", "type": kind, "x": 10, "y": 20, "rotation": 0.5, "index": "a1",
        "parentId": parent, "isLocked": false, "opacity": 0.5, "props": props, "meta": {}})
}

#[test]
fn shapes_of_every_kind_are_drawn_or_noted() {
    let records = json!([
        {"id": "page:a", "typeName": "page", "name": "One", "index": "a1"},
        {"id": "page:b", "typeName": "page", "name": "Two", "index": "a2"},
        {"id": "asset:i", "typeName": "asset", "type": "image", "props": {"src": "data:image/png;base64,AQID", "mimeType": "image/png", "name": "i"}},
        shape("frame", "frame", "page:a", &json!({"w": 500, "h": 400, "name": "Frame"})),
        shape("group", "group", "shape:frame", &json!({})),
        shape("draw", "draw", "shape:group", &json!({"isPen": true, "segments": [{"type": "free", "points": [{"x": 0, "y": 0, "z": 0.5}, {"x": 5, "y": 5, "z": 1}]}]})),
        shape("star", "geo", "page:a", &json!({"geo": "star", "w": 100, "h": 80, "text": "hi"})),
        shape("line", "line", "page:a", &json!({"spline": "cubic", "points": {"a1": {"index": "a1", "x": 0, "y": 0}, "a2": {"index": "a2", "x": 9, "y": 9}}})),
        shape("note", "note", "page:b", &json!({"richText": {"type": "doc", "content": [
            {"type": "paragraph", "content": [{"type": "text", "text": "칠판"}]}, {"type": "paragraph", "content": [{"type": "text", "text": "b"}]}]}})),
        shape("image", "image", "page:b", &json!({"w": 40, "h": 30, "assetId": "asset:i"})),
        shape("thing", "counter", "page:b", &json!({"w": 40, "h": 30, "count": 3})),
        shape("arrow", "arrow", "page:b", &json!({"start": {"type": "binding", "boundShapeId": "shape:note", "normalizedAnchor": {"x": 0.5, "y": 0.5}},
            "end": {"x": 300, "y": 0}, "bend": 20, "arrowheadEnd": "arrow"})),
        shape("lost", "geo", "shape:nowhere", &json!({"geo": "rectangle", "w": 1, "h": 1})),
        shape("loop", "geo", "shape:loop", &json!({"geo": "rectangle", "w": 1, "h": 1})),
    ]);
    let import = read_json(&json!({"tldrawFileFormatVersion": 1, "schema": {}, "records": records})).unwrap();
    let find = |id: &str| {
        let mut entries = import.elements.iter();
        &entries.find(|entry| entry.id.as_str() == id).unwrap().properties
    };
    let text = |id: &str, property| find(id).get(property).and_then(Value::as_str).unwrap().to_owned();
    assert_eq!(text("draw", P::FrameId), "frame");
    assert_eq!(
        find("draw").get(P::GroupIds).unwrap(),
        &Value::Array(vec!["group".into()].into())
    );
    assert_eq!(find("draw").get(P::Opacity), Some(&Value::Int(50)));
    assert_eq!(text("star", P::Type), "line");
    assert_eq!(text("star-label", P::Text), "hi");
    assert_eq!(text("note-label", P::Text), "칠판\nb");
    assert_eq!(text("image", P::FileId), import.assets[0].sha256.as_str());
    assert_eq!(import.pages.len(), 1);
    assert_eq!(text("note", P::Page), import.pages[0].id.as_str());
    let tied = serde_json::to_value(find("arrow").get(P::Bindings).unwrap()).unwrap();
    assert_eq!(tied["start"]["elementId"], "note");
    let thing = serde_json::to_value(find("thing").get(P::Extra).unwrap()).unwrap();
    assert_eq!(thing["customData"]["tldraw"]["props"]["count"], 3);
    assert_eq!(import.notes.len(), 2, "{:?}", import.notes);
    let again = read_json(&write(&import)).unwrap();
    assert_eq!(again.pages, import.pages);
    let page_of = |entry: &Entry| entry.properties.get(P::Page).cloned();
    let pages = |import: &Import| import.elements.iter().map(page_of).collect::<Vec<_>>();
    assert_eq!(pages(&again), pages(&import));
}

fn rectangle(more: &Json) -> Json {
    let mut element = json!({"id": "a", "type": "rectangle", "x": 1, "y": 2, "width": 3, "height": 4});
    element
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!({"type": "excalidraw", "elements": [element]})
}

#[test]
fn odd_elements_come_back_as_they_were() {
    for more in [
        json!({"strokeColor": "#1e1e1e", "angle": 0, "panseo": {"x": 1}, "author": "me", "pos": 7, "page": "p", "deleted": true, "extra": {}}),
        json!({"link": 5, "locked": null, "groupIds": [1], "opacity": "50", "boundElements": null, "startBinding": null}),
        json!({"type": "line", "points": [[0, 0, 0.5], [1, 1]], "pressures": [0.5]}),
        json!({"type": "freedraw", "points": [[0, 0], [1, 1]], "pressures": [0.5], "simulatePressure": false}),
        json!({"type": "freedraw", "points": [[0, 0], [1, 1]], "pressures": [0.5, 2], "simulatePressure": true}),
        json!({"type": "freedraw", "points": [[0, 0], [1e12, 1]], "pressures": [0.5, 1]}),
        json!({"type": "freedraw", "points": [], "pressures": [], "isDeleted": true, "updated": 5}),
        json!({"type": "text", "text": "a b", "originalText": "a\nb", "customData": {"deep": [[[{"x": 0.1}]]]}}),
        json!({"type": "hologram", "points": "none", "fileId": null, "pressures": 3}),
    ] {
        let mut before = rectangle(&more);
        let mut after = write(&read_json(&before).unwrap());
        for file in [&mut before, &mut after] {
            let element = file["elements"][0].as_object_mut().unwrap();
            element.shift_remove("version");
            element.shift_remove("versionNonce");
        }
        assert_eq!(difference("", &before, &after, Tolerance::None), None);
    }
}

#[test]
fn images_keep_their_names_and_words() {
    let svg = "data:image/svg+xml;charset=utf-8,%3Csvg%2F%3E";
    let file = json!({"type": "excalidraw", "version": 2, "appState": {}, "elements": [
        {"id": "a", "type": "image", "x": 0, "y": 0, "fileId": "one", "version": 1, "versionNonce": 1},
        {"id": "b", "type": "image", "x": 0, "y": 0, "fileId": "gone", "version": 1, "versionNonce": 1}],
        "files": {"one": {"id": "one", "mimeType": "image/png", "dataURL": "data:image/png;base64,AQID", "created": 5},
            "svg": {"id": "svg", "mimeType": "image/svg+xml", "dataURL": svg}, "far": {"dataURL": "https://example.org/a.png"}}});
    let import = read_json(&file).unwrap();
    assert_eq!(difference("", &file, &write(&import), Tolerance::None), None);
    assert_eq!(import.assets.len(), 2);
    assert_eq!(import.assets[1].bytes, b"<svg/>");
    assert_eq!(import.notes.len(), 1, "{:?}", import.notes);
}

#[test]
fn bad_files_say_what_is_wrong() {
    let nested = "[".repeat(40) + &"]".repeat(40);
    let cases = [
        ("no json".to_owned(), "not JSON"),
        ("[]".to_owned(), "not an object"),
        (
            r#"{"name": "package", "version": "1"}"#.to_owned(),
            r#"["name", "version"]"#,
        ),
        (r#"{"type": "excalidraw", "elements": {}}"#.to_owned(), "`elements`"),
        (
            r#"{"type": "excalidraw", "elements": [{"type": "text"}]}"#.to_owned(),
            "has no id",
        ),
        (
            r#"{"type": "excalidraw", "elements": [{"id": "a"}]}"#.to_owned(),
            "has no type",
        ),
        (
            r#"{"type": "excalidraw", "elements": [7]}"#.to_owned(),
            "is not an object",
        ),
        (rectangle(&json!({"x": 1e15})).to_string(), "out of range"),
        (
            rectangle(&json!({})).to_string().replace("\"x\":1", "\"x\":1e999"),
            "number out of range",
        ),
        (
            rectangle(&json!({}))
                .to_string()
                .replace("\"x\":1", &format!("\"deep\":{nested}")),
            "nested deeper",
        ),
        (
            r#"{"type": "excalidrawlib", "libraryItems": [1]}"#.to_owned(),
            "`libraryItems`",
        ),
        (r#"{"schema": {}, "records": {}}"#.to_owned(), "`records`"),
    ];
    for (file, expected) in cases {
        let message = read(file.as_bytes()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} for {file}");
    }
}

#[test]
fn more_values_than_a_full_board_has_are_not_read() {
    let file = |values: usize| {
        format!(
            r#"{{"type":"excalidraw","elements":[],"x":[{}0]}}"#,
            "0,".repeat(values)
        )
    };
    assert!(matches!(
        read(file(8_000_000).as_bytes()),
        Err(ImportError::TooManyValues)
    ));
    // Commas in a text are none.
    let text = ",".repeat(8_000_001);
    assert!(read(format!(r#"{{"type":"excalidraw","elements":[],"x":"{text}"}}"#).as_bytes()).is_ok());
}

#[test]
fn a_taken_id_gives_way_and_references_stay_whole() {
    let file = json!({"type": "excalidraw", "elements": [
        {"id": "a", "type": "rectangle", "x": 0, "y": 0, "boundElements": [{"id": "t", "type": "text"}], "groupIds": ["g"]},
        {"id": "a", "type": "ellipse", "x": 0, "y": 0},
        {"id": "t", "type": "text", "x": 0, "y": 0, "text": "hi", "containerId": "a", "groupIds": ["g"]},
        {"id": "l", "type": "arrow", "x": 0, "y": 0, "points": [[0, 0], [1, 1]], "startBinding": {"elementId": "a", "focus": 0.1, "gap": 1}}]});
    let import = read_json(&file).unwrap();
    assert_eq!(import.notes.len(), 1);
    assert_eq!(import.elements[1].id.as_str(), "fresh-1");
    let renamed = with_fresh_ids(import.clone(), &mut fresh());
    let written = write(&renamed);
    let [a, _, t, l] = written["elements"].as_array().unwrap().as_slice() else {
        panic!()
    };
    assert!(
        renamed
            .elements
            .iter()
            .all(|entry| entry.id.as_str().starts_with("fresh-"))
    );
    assert_eq!(t["containerId"], a["id"]);
    assert_eq!(l["startBinding"]["elementId"], a["id"]);
    assert_eq!(a["boundElements"][0]["id"], t["id"]);
    assert_eq!(a["groupIds"], t["groupIds"]);
    assert_ne!(a["groupIds"][0], "g");
}

#[test]
fn what_our_ops_make_has_all_that_excalidraw_needs() {
    let stroke = points::Stroke {
        points: vec![[0.0, 0.0], [8.0, 4.0]],
        pressures: Some(vec![0.2, 1.0]),
        times: None,
    };
    let packed = Value::Bytes(points::pack(&stroke).unwrap().into());
    let element = |id: &str, kind: &str, more: Vec<(P, Value)>| Item {
        kind: EntryKind::Element,
        id: id.into(),
        properties: [
            (P::Type, kind.into()),
            (P::X, Value::Int(5)),
            (P::Y, Value::Int(6)),
            (P::Pos, id.into()),
        ]
        .into_iter()
        .chain(more)
        .collect(),
    };
    let items = [
        element("a", "freedraw", vec![(P::Points, packed)]),
        element("b", "text", vec![(P::Text, "안녕".into())]),
        element("c", "arrow", vec![]),
        element("d", "rectangle", vec![(P::Deleted, Value::Int(9))]),
        element("e", "ellipse", vec![(P::Page, "two".into())]),
        Item {
            kind: EntryKind::Page,
            id: Arc::from("two"),
            properties: [(P::Title, "Two".into())].into_iter().collect(),
        },
    ];
    let file = export_excalidraw(&items, &Scope::default(), &|_| None);
    let elements = file["elements"].as_array().unwrap();
    assert_eq!(elements.len(), 4);
    for element in elements {
        for key in [
            "id",
            "type",
            "x",
            "y",
            "width",
            "height",
            "angle",
            "strokeColor",
            "seed",
            "version",
            "versionNonce",
            "groupIds",
            "boundElements",
            "isDeleted",
            "updated",
        ] {
            assert!(!element[key].is_null(), "{key} of {element}");
        }
    }
    assert_eq!(elements[0]["simulatePressure"], false);
    assert_eq!(elements[0]["width"], 8);
    assert_eq!(elements[1]["originalText"], "안녕");
    assert_eq!(elements[2]["points"].as_array().unwrap().len(), 2);
    assert_eq!(elements[3]["customData"]["page"], "two");
    let first = export_excalidraw(
        &items,
        &Scope {
            page: Some(""),
            with_deleted: true,
        },
        &|_| None,
    );
    assert_eq!(first["elements"].as_array().unwrap().len(), 4);
    assert_eq!(export_json(&items)["entries"].as_array().unwrap().len(), 6);
}

/// Prints what recorded strokes take, and holds it to the goal of 2 to 3 bytes a point.
#[test]
fn recorded_strokes_take_few_bytes_a_point() {
    let folder = shared_data().map_or_else(fixtures, |data| data.join("excalidraw"));
    let (mut count, mut bytes) = (0, 0);
    for (_, file) in files(&folder, "excalidraw") {
        for entry in read(&file).unwrap().elements {
            if let (Some("freedraw"), Some(Value::Bytes(packed))) = (
                entry.properties.get(P::Type).and_then(Value::as_str),
                entry.properties.get(P::Points),
            ) {
                let stroke = points::unpack(packed).unwrap();
                count += stroke.points.len();
                bytes += packed.len() - stroke.pressures.map_or(0, |pressures| pressures.len());
            }
        }
    }
    eprintln!("{count} points of strokes take {bytes} bytes without pressures");
    assert!(bytes < count * 4);
}
