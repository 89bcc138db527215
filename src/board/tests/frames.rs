//! Frames of many ops, and places in the z-order.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::protocol::codec;
use crate::protocol::limits::POS_BYTES_MAX;

fn element_of(op: Op) -> Entry {
    let Op::ElementCreate { element, .. } = op else {
        panic!("not a creation")
    };
    element
}

fn create_with(name: &str, property: Property, value: Value) -> Op {
    let mut element = element_of(create(name));
    element.properties.set(property, value);
    Op::ElementCreate { element, after: None }
}

fn tied_to(box_id: &str) -> Value {
    serde_json::json!({ "end": { "elementId": box_id } }).into()
}

#[expect(clippy::disallowed_methods, reason = "the test is about time")]
fn time_of(board: &mut Board, ops: &[Op]) -> Duration {
    let begin = std::time::Instant::now();
    let applied = board.apply(ops, &editor("t", Role::Teacher, 5), usize::MAX).unwrap();
    let took = begin.elapsed();
    assert!(!applied.changes.is_empty());
    took
}

/// Four times the ops take about four times as long: sixteen times would be the square. Of several tries the fastest
/// counts, for the machine may be busy.
fn assert_grows_in_line(what: &str, frame: impl Fn(usize) -> (Vec<Op>, Vec<Op>)) {
    const OPS: usize = 1_500;
    let fastest = |count: usize| {
        let (before, ops) = frame(count);
        let tries = (0..5).map(|_| {
            let mut board = Node::new().board;
            time_of(&mut board, &before);
            time_of(&mut board, &ops)
        });
        tries.min().unwrap()
    };
    let (few, many) = (fastest(OPS), fastest(4 * OPS));
    assert!(
        many < few * 10,
        "{what}: {few:?} for {OPS}, {many:?} for four times as many"
    );
}

fn names(prefix: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{prefix}{number}"))
}

#[test]
fn a_frame_of_many_ops_takes_time_in_line_with_their_number() {
    let page = |name: String| Op::PageAdd {
        page: id(&name),
        title: None,
        after: None,
        background: None,
    };
    let start = || vec![create("first"), page("first".into())];
    assert_grows_in_line("page.add", |count| (start(), names("p", count).map(page).collect()));
    assert_grows_in_line("element.create", |count| {
        (start(), names("e", count).map(|name| create(&name)).collect())
    });
    assert_grows_in_line("element.delete", |count| {
        let arrow = |name: String| create_with(&format!("to-{name}"), Property::Bindings, tied_to(&name));
        let boxes = names("e", count).map(|name| create(&name));
        let before = boxes.chain(names("e", count).map(arrow)).collect();
        let delete = |name: String| Op::ElementDelete {
            targets: vec![id(&name)],
        };
        (before, names("e", count).map(delete).collect())
    });
    assert_grows_in_line("board.clear", |count| {
        let before = names("e", count).map(|name| create_with(&name, Property::Page, name.as_str().into()));
        let clear = |name| Op::BoardClear { page: Some(name) };
        (before.collect(), names("e", count).map(clear).collect())
    });
}

#[test]
fn deletes_of_one_frame_free_and_take_along_together() {
    let mut node = Node::new();
    let ends =
        serde_json::json!({ "start": { "elementId": "1" }, "end": { "elementId": "2" }, "bound": [{ "id": "3" }] });
    let delete = |name: &str| Op::ElementDelete {
        targets: vec![id(name)],
    };
    let frame = [
        create("1"),
        create("2"),
        create("3"),
        create_with("arrow", Property::Bindings, ends.into()),
        create_with("label", Property::ContainerId, "2".into()),
        create_with("kept", Property::ContainerId, "3".into()),
    ];
    let teacher = editor("a", Role::Teacher, 5);
    node.board.apply(&frame, &teacher, 1_000).unwrap();
    node.board.apply(&[delete("1"), delete("2")], &teacher, 1_000).unwrap();
    let left: Value = serde_json::json!({ "bound": [{ "id": "3" }] }).into();
    assert_eq!(node.get("arrow", Property::Bindings), Some(left));
    assert_eq!((node.lives("label"), node.lives("kept")), (false, true));
    // What is bound elsewhere, by op or by a raw client, is found there; what was read anew on opening, too.
    node.set("a", "kept", Property::ContainerId, Some("arrow".into()));
    let keyframe = node.board.keyframe(Position(1, 1), Timestamp(9));
    let mut again = Board::open(1 << 40, Some(&keyframe), &[], &BTreeSet::new()).unwrap();
    for board in [&mut node.board, &mut again] {
        let deleted = |board: &Board| {
            board
                .read()
                .entry(EntryKind::Element, "kept")
                .unwrap()
                .get(Property::Deleted)
                .is_some()
        };
        board.apply(&[delete("3")], &teacher, 1_000).unwrap();
        assert!(!deleted(board));
        board.apply(&[delete("arrow")], &teacher, 1_000).unwrap();
        assert!(deleted(board));
    }
}

#[test]
fn what_the_editor_may_not_touch_does_not_go_along() {
    for scope in [EditScope::All, EditScope::Own] {
        let mut node = Node::new();
        node.create("a", "box");
        let locked = Some(Value::Bool(true)).filter(|_| scope == EditScope::All);
        let frame = [
            create_with("label", Property::ContainerId, "box".into()),
            create_with("arrow", Property::Bindings, tied_to("box")),
        ];
        let teacher = editor("t", Role::Teacher, 5);
        node.board.apply(&frame, &teacher, 1_000).unwrap();
        for name in ["label", "arrow"] {
            let set = [(Property::Locked, locked.clone())].into_iter().collect();
            let lock = Op::ElementUpdate { target: id(name), set };
            node.board.apply(&[lock], &teacher, 1_000).unwrap();
        }
        let delete = Op::ElementDelete {
            targets: vec![id("box")],
        };
        let own = Editor {
            scope,
            ..editor("a", Role::Editor, 9)
        };
        node.board.apply(&[delete], &own, 1_000).unwrap();
        assert_eq!((node.lives("box"), node.lives("label")), (false, true));
        assert_eq!(node.get("arrow", Property::Bindings), Some(tied_to("box")));
    }
}

//
#[test]
fn the_longest_key_keeps_nobody_from_drawing() {
    let mut node = Node::new();
    let raw = Raw::new(5);
    node.create("a", "low");
    node.merge("b", Role::Editor, &raw.create("X")).unwrap();
    let long = |bytes| "z".repeat(bytes);
    let refused = node.merge("b", Role::Editor, &Raw::new(6).create_at("Y", &long(POS_BYTES_MAX + 1)));
    assert!(matches!(refused, Err(MergeError::Refused(guard::Refusal::Shape(_)))));
    node.merge("b", Role::Editor, &raw.set("X", "pos", long(POS_BYTES_MAX)))
        .unwrap();
    let order = |after: Option<&str>, before: Option<&str>| Op::ElementOrder {
        targets: vec![id("low")],
        after: after.map(id),
        before: before.map(id),
    };
    node.op("a", order(None, Some("X")));
    let refused = node.op_in("a", None, order(Some("X"), None));
    assert!(
        matches!(&refused, Err(ApplyError::BadOp(why)) if why.contains("no room next to `X`")),
        "{refused:?}"
    );
    node.create("a", "new");
    let mut file = element_of(create("imported"));
    let above = crate::protocol::order::between(Some(&long(POS_BYTES_MAX)), None, 1);
    file.properties.set(Property::Pos, above.as_str().into());
    let imports = Editor {
        imports: true,
        ..editor("a", Role::Editor, 9)
    };
    node.board.import(&[file], &[], &imports, 1_000).unwrap();
    let set = |pos: String| Op::ElementUpdate {
        target: id("low"),
        set: [(Property::Pos, Some(pos.as_str().into()))].into_iter().collect(),
    };
    node.op("a", set(long(POS_BYTES_MAX)));
    assert!(node.op_in("a", None, set(long(POS_BYTES_MAX + 1))).is_err());
}

//
#[test]
fn elements_put_at_one_spot_stay_in_order_until_there_is_no_room() {
    let mut node = Node::new();
    for name in ["low", "X", "Y"] {
        node.create("a", name);
    }
    let pos = |node: &Node, name| node.get(name, Property::Pos).unwrap().as_str().unwrap().to_owned();
    let mut names = ["X", "Y"];
    let mut longest = 0;
    for seed in 0..20_000 {
        let order = Op::ElementOrder {
            targets: vec![id(names[0])],
            after: Some(id("low")),
            before: None,
        };
        let applied = node.board.apply(&[order], &editor("a", Role::Editor, seed), 9);
        if let Err(refused) = applied {
            assert!(matches!(refused, ApplyError::BadOp(_)) && longest > POS_BYTES_MAX / 2);
            return;
        }
        let keys = ["low", names[0], names[1]].map(|name| pos(&node, name));
        assert!(keys.is_sorted_by(|low, high| low < high), "{keys:?}");
        longest = keys[1].len();
        assert!(longest <= POS_BYTES_MAX);
        names.reverse();
    }
    panic!("keys of {longest} bytes, and room all the same");
}

#[test]
fn a_restore_keeps_to_the_limit_of_elements() {
    let mut node = Node::new();
    node.create("a", "X");
    let old = node.board.items();
    let nothing = Node::new().board;
    let mut full = nothing;
    for name in ["1", "2"] {
        full.apply(&[create(name)], &editor("a", Role::Editor, 5), 2).unwrap();
    }
    let refused = full.restore(&old, Timestamp(9), 2);
    assert_eq!(refused.unwrap_err(), ApplyError::BoardFull(2));
    assert!(full.restore(&old, Timestamp(9), 3).is_ok());
    assert!(full.restore(&old, Timestamp(9), 1).is_ok(), "it brings nothing new");
}

#[test]
fn a_comment_with_a_taken_id_is_a_conflict_unless_it_is_the_same() {
    let mut node = Node::new();
    node.create("a", "X");
    let comment = |element: Option<&str>, x: Option<f64>| Op::CommentAdd {
        comment: id("c"),
        text: "good".into(),
        element: element.map(id),
        x,
        y: None,
        page: None,
        parent: None,
    };
    let taken = Err(ApplyError::Conflict("c".into()));
    node.op("a", comment(Some("X"), Some(1.01)));
    assert_eq!(node.op_in("a", None, comment(Some("X"), Some(1.01))), Ok(()));
    assert_eq!(node.op_in("b", None, comment(Some("X"), Some(1.01))), taken);
    assert_eq!(node.op_in("a", None, comment(None, Some(1.01))), taken);
    assert_eq!(node.op_in("a", None, comment(Some("X"), Some(2.0))), taken);
}

proptest! {
    //
    #[test]
    fn whole_numbers_are_the_same_on_all_nodes(any in any::<i64>(), near in -2..=2_i64, is_below in any::<bool>()) {
        let edge = if is_below { -(1 << 53) } else { 1 << 53 };
        for number in [any, edge + near] {
            let mut node = Node::new();
            let extra: Value = serde_json::json!({ "n": number }).into();
            node.op("a", create_with("X", Property::Extra, extra));
            node.set("a", "X", Property::Angle, Some(serde_json::json!(number).into()));
            for item in node.board.items() {
                let again: Item = codec::unpack(&codec::pack(&item)).unwrap();
                prop_assert_eq!(again, item);
            }
            let replayed = Board::open((1 << 32) + 9, None, &node.log, &BTreeSet::new()).unwrap();
            prop_assert_eq!(replayed.items(), node.board.items());
            prop_assert_eq!(replayed.stacks(), node.board.stacks());
        }
    }
}
