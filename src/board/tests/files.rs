//! What came in a file: what was deleted there and what is deleted here, and texts that change.

use super::*;

/// An element that was deleted in its file at this time, and came at `now`.
fn came_deleted(node: &mut Node, name: &str, deleted: i64) {
    let mark: Value = serde_json::json!({ "panseo": { "deleted": deleted } }).into();
    let properties = [
        (Property::Type, "rectangle".into()),
        (Property::X, Value::Int(0)),
        (Property::Y, Value::Int(0)),
        (Property::Deleted, Value::Int(deleted)),
        (Property::Extra, mark),
    ];
    let element = Entry {
        id: id(name),
        properties: properties.into_iter().collect(),
    };
    let editor = Editor {
        imports: true,
        ..editor("a", Role::Editor, node.now)
    };
    let applied = node.board.import(&[element], &[], &editor, 1_000).unwrap();
    node.log("a", RecordKind::Op, None, &applied);
}

fn is_of_the_file(node: &Node, name: &str) -> bool {
    let entry = node.board.read().get(&(EntryKind::Element, name.into()));
    entry.is_some_and(Properties::came_deleted)
}

/// As many other edits as let an old step of undo go.
pub(super) fn bury(node: &mut Node, who: &str) {
    for _ in 0..100 {
        node.create(who, &Uuid::now_v7().to_string());
    }
}

#[test]
fn a_clock_that_is_ahead_keeps_nothing_from_the_purge() {
    let mut node = Node::new();
    let raw = Raw::new(5);
    let ahead = 3_000.0;
    let update = raw.edit(|txn, elements| {
        let map = elements.insert(txn, "X", MapPrelim::default());
        for (key, value) in [
            ("type", Any::from("text")),
            ("pos", "a0".into()),
            ("created", ahead.into()),
        ] {
            map.insert(txn, key, value);
        }
        map.insert(txn, "x", 1.0);
        map.insert(txn, "y", 2.0);
    });
    node.merge("a", Role::Editor, &update).unwrap();
    node.undo("a");
    assert!(node.get("X", Property::Deleted).unwrap().as_f64() < Some(ahead));
    bury(&mut node, "a");
    node.board.purge(Timestamp(node.now + 1), 100);
    assert_eq!(node.get("X", Property::X), None);
}

#[test]
fn what_came_deleted_stays_until_it_is_deleted_here() {
    let mut node = Node::new();
    let now = i64::try_from(node.now).unwrap();
    came_deleted(&mut node, "same-time", now);
    came_deleted(&mut node, "later", now + 1_000_000);
    node.set("b", "later", Property::Deleted, None);
    assert!(node.lives("later"));
    node.undo("b");
    assert!(is_of_the_file(&node, "later"), "it is what it was");
    node.redo("b");
    node.delete("b", "later");
    assert!(!is_of_the_file(&node, "later"), "it is deleted here");
    bury(&mut node, "b");
    node.board.purge(Timestamp(node.now + 1), 100);
    assert!(is_of_the_file(&node, "same-time"));
    assert_eq!(node.get("later", Property::X), None);
}

#[test]
fn an_import_that_is_taken_back_leaves_nothing_of_its_file() {
    let mut node = Node::new();
    came_deleted(&mut node, "X", 5);
    node.undo("a");
    assert!(!node.lives("X") && !is_of_the_file(&node, "X"));
    node.redo("a");
    assert!(is_of_the_file(&node, "X"), "the import is done again");
    let applied = node.board.restore(&[], Timestamp(node.now), usize::MAX).unwrap();
    node.log("t", RecordKind::Op, None, &applied);
    assert!(!node.lives("X") && !is_of_the_file(&node, "X"), "it came later");
    node.undo("t");
    assert!(is_of_the_file(&node, "X"), "the restore is taken back");
    node.undo("a");
    node.board.purge(Timestamp(node.now + 1), 100);
    assert_eq!(node.get("X", Property::X), None);
}

#[test]
fn a_new_text_takes_the_unwrapped_one_away_and_undo_brings_both_back() {
    let mut node = Node::new();
    node.create("a", "X");
    let extra: Value = serde_json::json!({ "originalText": "one two", "lineHeight": 2 }).into();
    node.set("a", "X", Property::Extra, Some(extra.clone()));
    node.set("a", "X", Property::Text, Some("one\ntwo".into()));
    assert_eq!(
        node.get("X", Property::Extra),
        Some(serde_json::json!({ "lineHeight": 2 }).into())
    );
    node.undo("a");
    assert_eq!(
        (node.get("X", Property::Text), node.get("X", Property::Extra)),
        (None, Some(extra))
    );
}

#[test]
fn an_editor_orders_the_pages_of_an_empty_board_where_each_changes_their_own() {
    let mut node = Node::new();
    let editor = Editor {
        scope: EditScope::Own,
        ..editor("a", Role::Editor, node.now)
    };
    let add = Op::PageAdd {
        page: id("two"),
        title: None,
        after: None,
        background: None,
    };
    let behind = Op::PageUpdate {
        page: String::new(),
        title: None,
        background: None,
        after: Some("two".to_owned()),
    };
    let applied = node.board.apply(&[add, behind], &editor, 1_000).unwrap();
    node.log("a", RecordKind::Op, None, &applied);
    let background = [(Property::Background, "#fff".into())].into_iter().collect();
    node.board
        .import(&[], &[("".into(), background)], &editor, 1_000)
        .unwrap();
    let first = node.board.read().entry(EntryKind::Page, "").unwrap();
    assert!(first.get(Property::Pos).is_some() && first.get(Property::Background).is_some());
}
