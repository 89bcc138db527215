//! What an export leaves out.

use serde_json::json;

use super::*;
use crate::protocol::ids::Timestamp;

fn element(id: &str, set: &[(Property, Value)]) -> Item {
    Item {
        kind: EntryKind::Element,
        id: id.into(),
        properties: set.iter().cloned().collect(),
    }
}

fn left(mut items: Vec<Item>) -> Vec<Item> {
    leave_out_deleted(&mut items, false);
    items
}

#[test]
fn what_came_deleted_is_exported_and_what_was_deleted_here_is_not_whatever_the_clocks_say() {
    let options = ImportOptions {
        now: Timestamp(1_000),
        seed: 1,
        above: None,
    };
    let file = json!({ "type": "excalidraw", "elements": [
        { "id": "same-time", "type": "text", "x": 0, "y": 0, "isDeleted": true, "updated": 1_000 },
        { "id": "unknown-time", "type": "text", "x": 0, "y": 0, "isDeleted": true },
        { "id": "future", "type": "text", "x": 0, "y": 0, "isDeleted": true, "updated": 9_000 },
    ] });
    let import = read_file(file.to_string().as_bytes(), &options, &mut fresh_id).unwrap();
    let mut items: Vec<_> = import
        .elements
        .iter()
        .map(|entry| Item {
            properties: entry.properties.clone(),
            ..element(entry.id.as_str(), &[])
        })
        .collect();
    for item in &mut items {
        item.properties.set(Property::Created, Value::Int(1_000));
    }
    assert_eq!(left(items.clone()).len(), 3);
    for item in &mut items {
        item.properties.set(Property::Deleted, Value::Int(1_001));
    }
    // A device that was ahead drew it, the server's time took it back.
    let times = [
        (Property::Created, Value::Int(3_000)),
        (Property::Deleted, Value::Int(1_000)),
    ];
    items.push(element("drawn", &times));
    assert_eq!(left(items), []);
}

#[test]
fn what_is_exported_is_bound_to_nothing_that_is_left_out() {
    let bindings: Value =
        json!({ "bound": [{ "id": "gone", "type": "arrow" }, { "id": "of-the-file", "type": "arrow" }],
        "end": { "elementId": "gone" } })
        .into();
    let left = left(vec![
        element("here", &[(Property::Bindings, bindings)]),
        element("gone", &[(Property::Deleted, Value::Int(1))]),
    ]);
    let kept: Value = json!({ "bound": [{ "id": "of-the-file", "type": "arrow" }] }).into();
    assert_eq!(left, [element("here", &[(Property::Bindings, kept)])]);
}
