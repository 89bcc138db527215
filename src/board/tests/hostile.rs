//! Updates that no library writes.

use super::*;

/// Content of a block behind its key.
enum Body<'a> {
    Deleted,
    Map,
    Text(&'a str),
    Number(u8),
}

/// Where a block says that it belongs.
enum Place<'a> {
    Root(&'a str),
    Map(u8, u8),
    Behind(u8, u8),
}

/// An update of one client: its blocks, each with place, key and content, and the deleted range of it, in Yjs's encoding v1.
fn update(client: u8, blocks: &[(Place<'_>, &str, Body<'_>)], deleted: Option<[u8; 2]>) -> Vec<u8> {
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text.as_bytes());
    };
    let mut bytes = vec![1, u8::try_from(blocks.len()).unwrap(), client, 0];
    for (place, key, body) in blocks {
        let kind = match body {
            Body::Deleted => 1,
            Body::Map => 7,
            Body::Text(_) | Body::Number(_) => 8,
        };
        match place {
            Place::Behind(client, clock) => bytes.extend([0xa0 | kind, *client, *clock]),
            Place::Root(root) => {
                bytes.extend([0x20 | kind, 1]);
                text(&mut bytes, root);
                text(&mut bytes, key);
            }
            Place::Map(client, clock) => {
                bytes.extend([0x20 | kind, 0, *client, *clock]);
                text(&mut bytes, key);
            }
        }
        match body {
            Body::Deleted | Body::Map => bytes.push(1),
            Body::Text(value) => {
                bytes.extend([1, 119]);
                text(&mut bytes, value);
            }
            Body::Number(value) => bytes.extend([1, 125, *value]),
        }
    }
    match deleted {
        Some([from, len]) => bytes.extend([1, client, 1, from, len]),
        None => bytes.push(0),
    }
    bytes
}

#[test]
fn a_block_that_only_takes_an_entry_along_is_a_removal() {
    for removal in [
        update(99, &[(Place::Root("board:elements"), "X", Body::Deleted)], None),
        update(99, &[(Place::Behind(5, 0), "X", Body::Map)], Some([0, 1])),
    ] {
        let mut node = Node::new();
        node.merge("a", Role::Editor, &Raw::new(5).create("X")).unwrap();
        let lock = Op::ElementUpdate {
            target: id("X"),
            set: [(Property::Locked, Some(Value::Bool(true)))].into_iter().collect(),
        };
        let teacher = editor("t", Role::Teacher, 5);
        node.board.apply(&[lock], &teacher, 1_000).unwrap();
        let applied = node.merge("b", Role::Editor, &removal).unwrap();
        assert!(applied.put_back > 0);
        assert_eq!(
            (node.x("X"), node.get("X", Property::Locked)),
            (1, Some(Value::Bool(true)))
        );
    }
}

#[test]
fn a_new_entry_names_one_author() {
    let comment = |authors: &[&'static str]| {
        let in_it = || Place::Map(9, 0);
        let mut blocks = vec![
            (Place::Root("board:comments"), "c", Body::Map),
            (in_it(), "text", Body::Text("hm")),
            (in_it(), "at", Body::Number(5)),
        ];
        blocks.extend(authors.iter().map(|author| (in_it(), "author", Body::Text(author))));
        update(9, &blocks, None)
    };
    let mut node = Node::new();
    // Of one client's the first would stay, whatever comes behind it.
    let refused = node.merge("bob", Role::Editor, &comment(&["anna", "bob"]));
    assert!(
        matches!(refused, Err(MergeError::Refused(guard::Refusal::Shape(_)))),
        "{refused:?}"
    );
    node.merge("bob", Role::Editor, &comment(&["anna"])).unwrap();
    let comment = node.board.read().get(&(EntryKind::Comment, "c".into())).unwrap();
    assert_eq!(comment.get(Property::Author), Some(&"bob".into()));
}

#[test]
fn the_deepest_value_comes_back_from_a_keyframe() {
    let mut node = Node::new();
    let raw = Raw::new(5);
    node.merge("a", Role::Editor, &raw.create("X")).unwrap();
    let mut deep = Any::from(1);
    for _ in 0..31 {
        deep = Any::from(std::collections::HashMap::from([("k".to_owned(), deep)]));
    }
    node.merge("a", Role::Editor, &raw.set("X", "extra", deep)).unwrap();
    node.merge(
        "a",
        Role::Editor,
        &raw.edit(|txn, elements| _ = elements.remove(txn, "X")),
    )
    .unwrap();
    let keyframe = node.board.keyframe(Position(1, 3), Timestamp(9));
    let again = Board::open(1 << 40, Some(&keyframe), &[], &BTreeSet::new()).unwrap();
    assert_eq!(again.items(), node.board.items());
}
