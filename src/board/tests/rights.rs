//! Rights per element and comment, by ops and by raw updates.

use super::*;

#[test]
fn what_an_editor_may_not_touch_is_put_back_at_once() {
    let mut node = Node::new();
    node.create("t", "X");
    let applied = node.board.apply(
        &[Op::ElementUpdate {
            target: id("X"),
            set: [(Property::Locked, Some(Value::Bool(true)))].into_iter().collect(),
        }],
        &editor("t", Role::Teacher, 5),
        1_000,
    );
    node.log("t", RecordKind::Op, None, &applied.unwrap());
    let raw = Raw::new(5);
    raw.sync(&node);
    let applied = node.merge("a", Role::Editor, &raw.set("X", "x", 40.0)).unwrap();
    assert_eq!((applied.put_back, applied.changes.len(), node.x("X")), (1, 0, 0));
    let answer = Update::decode_v1(applied.update.as_ref().unwrap()).unwrap();
    raw.doc.transact_mut().apply_update(answer).unwrap();
    let Some(yrs::Out::YMap(map)) = raw.elements.get(&raw.doc.transact(), "X") else {
        panic!("X is gone")
    };
    assert_eq!(map.get(&raw.doc.transact(), "x"), Some(yrs::Out::Any(0.into())));
    let refused = node.op_in("a", None, Op::ElementDelete { targets: vec![id("X")] });
    assert_eq!(refused, Err(ApplyError::Forbidden("X".into())));
}

#[test]
fn what_would_not_fit_a_record_is_refused_and_changes_nothing() {
    let mut node = Node::new();
    let large = |name: &str| Entry {
        id: id(name),
        properties: [
            (Property::Type, "text".into()),
            (Property::X, Value::Int(0)),
            (Property::Y, Value::Int(0)),
            (Property::Text, "x".repeat(250_000).as_str().into()),
        ]
        .into_iter()
        .collect(),
    };
    let teacher = editor("t", Role::Teacher, 5);
    let elements: Vec<_> = (0..40).map(|number| large(&format!("e{number}"))).collect();
    let refused = node.board.import(&elements, &[], &teacher, 1_000);
    assert_eq!(refused.unwrap_err(), ApplyError::TooLarge(TooLarge));
    assert_eq!(node.board.read().len(EntryKind::Element), 0);
    for element in elements.chunks(10) {
        node.board.import(element, &[], &teacher, 1_000).unwrap();
    }
    // Elements of others that a teacher has locked, removed by a client that knows nothing of rights.
    let lock = |element: &Entry| Op::ElementUpdate {
        target: element.id.clone(),
        set: [(Property::Locked, Some(Value::Bool(true)))].into_iter().collect(),
    };
    let locks: Vec<_> = elements.iter().map(lock).collect();
    node.board.apply(&locks, &teacher, 1_000).unwrap();
    let raw = Raw::new(5);
    raw.sync(&node);
    let before = node.board.items();
    let update = raw.edit(|txn, elements| elements.clear(txn));
    let refused = node.merge("a", Role::Editor, &update);
    assert!(matches!(refused, Err(MergeError::TooLarge)));
    assert_eq!(node.board.items(), before);
}

#[test]
fn a_removed_element_of_another_is_put_back_whole() {
    let mut node = Node::new();
    node.create("t", "X");
    let raw = Raw::new(5);
    raw.sync(&node);
    let update = raw.edit(|txn, elements| _ = elements.remove(txn, "X"));
    let Ok(Checked::New(admission)) = node.board.check(&update, &plain(&user("a"))) else {
        panic!("refused")
    };
    let own = Editor {
        scope: EditScope::Own,
        ..editor("a", Role::Editor, 7)
    };
    let before = node.board.items();
    let applied = node.board.merge(&update, &admission, &own).unwrap();
    assert_eq!((applied.put_back, node.board.items()), (1, before));
}

#[test]
fn a_false_author_is_put_right() {
    let mut node = Node::new();
    let raw = Raw::new(5);
    raw.create("X");
    raw.set("X", "author", "b");
    let all = raw.doc.transact().encode_state_as_update_v1(&StateVector::default());
    node.merge("a", Role::Editor, &all).unwrap();
    assert_eq!(node.get("X", Property::Author), Some("a".into()));
    assert_eq!(node.x("X"), 1);
}

#[test]
fn another_map_under_the_key_of_an_entry_is_still_its_authors() {
    let mut node = Node::new();
    for (who, name) in [("a", "A"), ("b", "B")] {
        node.create(who, name);
    }
    let raw = Raw::new(5);
    raw.sync(&node);
    let replace = |name: &str, author: Option<&str>, is_locked: bool| {
        let pairs = [
            ("type", Any::from("rectangle")),
            ("x", 7.into()),
            ("y", 7.into()),
            ("pos", "a0".into()),
        ];
        let author = author.map(|author| ("author", Any::from(author)));
        let locked = ("locked", Any::from(is_locked));
        let map: MapPrelim = pairs.into_iter().chain(author).chain([locked]).collect();
        raw.edit(|txn, elements| _ = elements.insert(txn, name, map))
    };
    for (name, author, is_locked, put_back) in [
        ("A", Some("b"), false, 1),
        ("A", Some("a"), true, 1),
        ("A", Some("c"), true, 2),
        ("B", Some("a"), false, 1),
        ("B", Some("b"), false, 0),
    ] {
        let applied = node
            .merge("b", Role::Editor, &replace(name, author, is_locked))
            .unwrap();
        raw.sync(&node);
        assert_eq!(applied.put_back, put_back, "{name} {author:?} {is_locked}");
        let owner = name.to_lowercase();
        assert_eq!(node.get(name, Property::Author), Some(owner.as_str().into()));
        assert_ne!(node.get(name, Property::Locked), Some(Value::Bool(true)));
        assert_eq!(node.x(name), 7);
    }
    let own = node.merge("b", Role::Editor, &replace("B", None, false)).unwrap();
    assert_eq!(own.put_back, 0, "the client id says who made it");
    let silent = node.merge("b", Role::Editor, &replace("A", None, false)).unwrap();
    assert_eq!(
        (silent.put_back, node.get("A", Property::Author)),
        (1, Some("a".into()))
    );
}

#[test]
fn what_is_put_back_stays_its_makers_where_it_names_no_author() {
    let mut node = Node::new();
    let (anna, bob) = (Raw::new(5), Raw::new(6));
    node.merge("anna", Role::Editor, &anna.create("X")).unwrap();
    node.merge("anna", Role::Editor, &anna.create("Y")).unwrap();
    bob.sync(&node);
    let own = Editor {
        scope: EditScope::Own,
        ..editor("bob", Role::Editor, 7)
    };
    for update in [bob.edit(|txn, elements| _ = elements.remove(txn, "X")), bob.create("Y")] {
        let Ok(Checked::New(admission)) = node.board.check(&update, &plain(&user("bob"))) else {
            panic!("refused")
        };
        node.board.merge(&update, &admission, &own).unwrap();
    }
    for name in ["X", "Y"] {
        assert_eq!(node.get(name, Property::Author), Some("anna".into()), "{name}");
        assert_eq!(node.x(name), 1);
    }
}

#[test]
fn comments_and_likes_are_their_authors() {
    let mut node = Node::new();
    node.create("a", "X");
    let comment = Op::CommentAdd {
        comment: id("c"),
        text: "good".into(),
        element: Some(id("X")),
        x: None,
        y: None,
        page: None,
        parent: None,
    };
    node.op("a", comment);
    let refused = node.op_in(
        "b",
        None,
        Op::CommentEdit {
            comment: id("c"),
            text: "bad".into(),
        },
    );
    assert_eq!(refused, Err(ApplyError::Forbidden("c".into())));
    node.op(
        "b",
        Op::CommentResolve {
            comment: id("c"),
            resolved: true,
        },
    );
    for on in [true, true, false, true] {
        node.op("b", Op::LikeSet { target: id("c"), on });
    }
    assert_eq!(node.board.read().len(EntryKind::Like), 1);
    assert_eq!(node.undo("b").steps.len(), 0, "comments and likes are not in undo");
}
