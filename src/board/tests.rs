//! The board without a room: ops, raw updates, undo on one node.

use std::collections::BTreeSet;

use uuid::Uuid;
use yrs::{Any, Doc, Map, MapPrelim, MapRef, ReadTxn, Transact, Update, updates::decoder::Decode};

use super::*;
use crate::protocol::element::Value;
use crate::protocol::ids::{EditScope, EntryId, RecordId, Role};
use crate::protocol::limits::WINDOW_BYTES_MAX;
use crate::protocol::{Blob, Logged, RecordKind};

mod files;
mod frames;
mod hostile;
mod rights;
mod undo;

/// One node over a log of its own: what is applied comes back at once.
struct Node {
    board: Board,
    log: Vec<Logged>,
    now: u64,
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn plain(user: &UserId) -> CheckContext<'_> {
    CheckContext {
        user,
        is_handover: false,
        may_bind: &|_| true,
        may_relay: &|_| guard::Relay::No,
    }
}

fn editor(name: &str, role: Role, now: u64) -> Editor {
    Editor {
        user: user(name),
        role,
        scope: EditScope::All,
        now: Timestamp(now),
        seed: now,
        imports: false,
    }
}

fn id(name: &str) -> EntryId {
    EntryId::new(name).unwrap()
}

impl Node {
    fn new() -> Self {
        let board = Board::open((1 << 32) + 7, None, &[], &BTreeSet::new()).unwrap();
        Self {
            board,
            log: Vec::new(),
            now: 1_000,
        }
    }

    fn log(&mut self, who: &str, kind: RecordKind, gesture: Option<Uuid>, applied: &Applied) {
        self.log_as(who, kind, gesture, applied, false);
    }

    fn log_as(&mut self, who: &str, kind: RecordKind, gesture: Option<Uuid>, applied: &Applied, is_left_out: bool) {
        let number = self.log.len() as u64 + 1;
        let position = Position(1, number);
        let record = Record {
            id: RecordId(self.board.replica(), number),
            base: Position(1, number - 1),
            author: user(who),
            client: None,
            seq: None,
            refused: Vec::new(),
            kind,
            gesture,
            time: Timestamp(self.now),
            owner: None,
            steps: applied
                .undone
                .as_ref()
                .map(|undone| undone.steps.clone())
                .unwrap_or_default(),
            changes: if is_left_out {
                Vec::new()
            } else {
                applied.changes.clone()
            },
            changes_left_out: is_left_out,
            relayed: applied.relayed.clone(),
            update: Blob(applied.update.clone().unwrap_or_else(|| vec![0, 0].into())),
        };
        self.board.note(&record, position);
        self.log.push(Logged {
            position,
            record: Arc::new(record),
        });
    }

    fn op_in(&mut self, who: &str, gesture: Option<Uuid>, op: Op) -> Result<(), ApplyError> {
        self.now += 10;
        let applied = self.board.apply(&[op], &editor(who, Role::Editor, self.now), 1_000)?;
        self.log(who, RecordKind::Op, gesture, &applied);
        Ok(())
    }

    fn op(&mut self, who: &str, op: Op) {
        self.op_in(who, None, op).unwrap();
    }

    fn create(&mut self, who: &str, name: &str) {
        self.op(who, create(name));
    }

    fn set(&mut self, who: &str, name: &str, property: Property, value: Option<Value>) {
        self.op(
            who,
            Op::ElementUpdate {
                target: id(name),
                set: [(property, value)].into_iter().collect(),
            },
        );
    }

    fn move_to(&mut self, who: &str, name: &str, x: i64) {
        self.set(who, name, Property::X, Some(Value::Int(x)));
    }

    fn delete(&mut self, who: &str, name: &str) {
        self.op(
            who,
            Op::ElementDelete {
                targets: vec![id(name)],
            },
        );
    }

    fn take_back(&mut self, who: &str, direction: Direction) -> Undone {
        self.now += 10;
        let applied = self
            .board
            .undo(
                direction,
                &user(who),
                None,
                &editor(who, Role::Editor, self.now),
                std::iter::empty(),
            )
            .unwrap_or_default();
        let kind = if direction == Direction::Undo {
            RecordKind::Undo
        } else {
            RecordKind::Redo
        };
        let undone = applied.undone.clone().unwrap_or_default();
        if !undone.steps.is_empty() {
            self.log(who, kind, None, &applied);
        }
        undone
    }

    fn undo(&mut self, who: &str) -> Undone {
        self.take_back(who, Direction::Undo)
    }

    fn redo(&mut self, who: &str) -> Undone {
        self.take_back(who, Direction::Redo)
    }

    fn get(&self, name: &str, property: Property) -> Option<Value> {
        self.board
            .read()
            .get(&(EntryKind::Element, name.into()))?
            .get(property)
            .cloned()
    }

    fn lives(&self, name: &str) -> bool {
        let entry = self.board.read().get(&(EntryKind::Element, name.into()));
        entry.is_some_and(|entry| entry.get(Property::Deleted).is_none())
    }

    fn x(&self, name: &str) -> i64 {
        match self.get(name, Property::X) {
            Some(Value::Int(x)) => x,
            other => panic!("x is {other:?}"),
        }
    }

    fn merge(&mut self, who: &str, role: Role, update: &[u8]) -> Result<Applied, MergeError> {
        self.now += 10;
        let Checked::New(admission) = self.board.check(update, &plain(&user(who)))? else {
            return Ok(Applied::default());
        };
        let applied = self.board.merge(update, &admission, &editor(who, role, self.now))?;
        self.log(who, RecordKind::Update, None, &applied);
        Ok(applied)
    }
}

fn create(name: &str) -> Op {
    let properties = [
        (Property::Type, "rectangle".into()),
        (Property::X, Value::Int(0)),
        (Property::Y, Value::Int(0)),
        (Property::StrokeColor, "red".into()),
    ];
    Op::ElementCreate {
        element: crate::protocol::element::Entry {
            id: id(name),
            properties: properties.into_iter().collect(),
        },
        after: None,
    }
}

/// An unmodified Yjs client.
struct Raw {
    doc: Doc,
    elements: MapRef,
}

impl Raw {
    fn new(client: u64) -> Self {
        let doc = Doc::with_client_id(client);
        let elements = doc.get_or_insert_map("board:elements");
        Self { doc, elements }
    }

    fn sync(&self, node: &Node) {
        let update = Update::decode_v1(&node.board.diff([])).unwrap();
        self.doc.transact_mut().apply_update(update).unwrap();
    }

    fn edit(&self, change: impl FnOnce(&mut TransactionMut<'_>, &MapRef)) -> Vec<u8> {
        let mut txn = self.doc.transact_mut();
        change(&mut txn, &self.elements);
        txn.commit();
        txn.encode_update_v1()
    }

    fn create(&self, name: &str) -> Vec<u8> {
        self.create_at(name, "a0")
    }

    fn create_at(&self, name: &str, pos: &str) -> Vec<u8> {
        self.edit(|txn, elements| {
            let map: MapPrelim = [("type", "text"), ("pos", pos)]
                .into_iter()
                .map(|(key, value)| (key, yrs::Any::from(value)))
                .collect();
            let map = elements.insert(txn, name, map);
            map.insert(txn, "x", 1.0);
            map.insert(txn, "y", 2.0);
        })
    }

    fn set(&self, name: &str, key: &str, value: impl Into<yrs::Any>) -> Vec<u8> {
        self.edit(|txn, elements| {
            let Some(yrs::Out::YMap(map)) = elements.get(txn, name) else {
                panic!("no {name}")
            };
            map.insert(txn, key.to_owned(), value.into());
        })
    }
}

#[test]
fn a_move_is_taken_back_only_where_nobody_moved_since() {
    let mut node = Node::new();
    node.create("a", "X");
    node.move_to("a", "X", 5);
    node.move_to("b", "X", 9);
    let undone = node.undo("a");
    assert_eq!((node.x("X"), undone.changed, node.lives("X")), (9, 0, true));
}

#[test]
fn a_colour_comes_back_while_anothers_place_stays() {
    let mut node = Node::new();
    node.create("a", "X");
    let set = [
        (Property::StrokeColor, Some("blue".into())),
        (Property::X, Some(Value::Int(5))),
    ];
    node.op(
        "a",
        Op::ElementUpdate {
            target: id("X"),
            set: set.into_iter().collect(),
        },
    );
    node.move_to("b", "X", 9);
    node.undo("a");
    assert_eq!(
        (node.x("X"), node.get("X", Property::StrokeColor)),
        (9, Some("red".into()))
    );
}

#[test]
fn a_creation_stays_once_somebody_else_edited_it() {
    let mut node = Node::new();
    node.create("a", "X");
    node.move_to("b", "X", 9);
    node.undo("a");
    assert!(node.lives("X"));
    node.create("a", "Y");
    node.undo("a");
    node.redo("a");
    node.move_to("b", "Y", 3);
    node.undo("a");
    assert!(node.lives("Y"));
    node.create("a", "Z");
    node.delete("a", "Z");
    node.undo("a");
    node.move_to("b", "Z", 3);
    node.redo("a");
    assert!(node.lives("Z"));
}

#[test]
fn a_value_set_and_set_back_counts_as_unchanged() {
    let mut node = Node::new();
    node.create("a", "X");
    node.move_to("b", "X", 9);
    node.move_to("b", "X", 0);
    node.undo("a");
    assert!(!node.lives("X"));
}

#[test]
fn who_deleted_brings_back() {
    let mut node = Node::new();
    node.create("a", "X");
    node.delete("b", "X");
    node.undo("a");
    assert!(!node.lives("X"));
    node.undo("b");
    assert!(node.lives("X"));
}

#[test]
fn a_restore_can_be_undone_and_redone() {
    let mut node = Node::new();
    node.create("c", "X");
    node.delete("a", "X");
    node.set("b", "X", Property::Deleted, None);
    assert_eq!(node.undo("a").changed, 0);
    assert!(node.lives("X"));
    node.undo("b");
    assert!(!node.lives("X"));
    node.redo("b");
    assert!(node.lives("X"));
}

#[test]
fn redo_gives_way_to_what_others_did() {
    let mut node = Node::new();
    node.create("c", "X");
    node.move_to("a", "X", 5);
    node.undo("a");
    node.move_to("b", "X", 9);
    node.redo("a");
    assert_eq!(node.x("X"), 9);
    let mut node = Node::new();
    node.create("c", "X");
    node.move_to("a", "X", 5);
    node.undo("a");
    node.set("b", "X", Property::StrokeColor, Some("blue".into()));
    node.redo("a");
    assert_eq!(
        (node.x("X"), node.get("X", Property::StrokeColor)),
        (5, Some("blue".into()))
    );
}

#[test]
fn a_drag_is_one_step_and_exact_each_time() {
    let mut node = Node::new();
    node.create("a", "X");
    let gesture = Some(Uuid::from_u128(1));
    for x in 1..=60 {
        let set = [(Property::X, Some(Value::Int(x)))].into_iter().collect();
        node.op_in("a", gesture, Op::ElementUpdate { target: id("X"), set })
            .unwrap();
    }
    for _ in 0..3 {
        node.undo("a");
        assert_eq!(node.x("X"), 0);
        node.redo("a");
        assert_eq!(node.x("X"), 60);
    }
}

#[test]
fn create_and_resize_in_one_gesture_come_back_at_the_final_size() {
    let mut node = Node::new();
    let gesture = Some(Uuid::from_u128(1));
    node.op_in("a", gesture, create("X")).unwrap();
    let set = [(Property::Width, Some(Value::Int(70)))].into_iter().collect();
    node.op_in("a", gesture, Op::ElementUpdate { target: id("X"), set })
        .unwrap();
    node.undo("a");
    assert!(!node.lives("X"));
    node.redo("a");
    assert!(node.lives("X"));
    assert_eq!(node.get("X", Property::Width), Some(Value::Int(70)));
}

#[test]
fn a_new_op_clears_ones_own_redo_only() {
    let mut node = Node::new();
    node.create("a", "X");
    node.undo("a");
    node.create("b", "Y");
    assert_eq!(node.redo("a").changed, 1);
    node.undo("a");
    node.create("a", "Z");
    assert_eq!(node.redo("a").steps.len(), 0);
}

#[test]
fn the_last_hundred_steps_can_be_undone() {
    let mut node = Node::new();
    node.create("b", "X");
    for x in 1..=130 {
        node.move_to("a", "X", x);
    }
    let mut count = 0;
    while node.undo("a").changed > 0 {
        count += 1;
    }
    assert_eq!((count, node.x("X")), (100, 30));
}

#[test]
fn a_keyframe_and_its_tail_know_what_the_log_knows() {
    let mut node = Node::new();
    node.create("a", "X");
    node.move_to("a", "X", 5);
    let keyframe = node.board.keyframe(Position(1, 2), Timestamp(node.now));
    node.move_to("b", "X", 9);
    node.set("a", "X", Property::StrokeColor, Some("blue".into()));
    let opened = Board::open((1 << 32) + 8, Some(&keyframe), &node.log[2..], &BTreeSet::new()).unwrap();
    let replayed = Board::open((1 << 32) + 9, None, &node.log, &BTreeSet::new()).unwrap();
    assert_eq!(opened.items(), node.board.items());
    assert_eq!(opened.stacks(), node.board.stacks());
    assert_eq!(replayed.stacks(), node.board.stacks());
    assert_eq!(opened.state_vector().len(), node.board.state_vector().len());
}

#[test]
fn large_values_leave_the_window_of_recent_changes_on_all_nodes_alike() {
    let mut node = Node::new();
    node.create("a", "X");
    for turn in 0..40 {
        let text = format!("{turn:02}").repeat(125 * 1024);
        node.set("a", "X", Property::Text, Some(text.as_str().into()));
    }
    let keyframe = node.board.keyframe(Position(1, 41), Timestamp(node.now));
    let weight = node.board.keyframe_bytes();
    assert!(weight < WINDOW_BYTES_MAX + 2 * 1024 * 1024, "{weight} bytes");
    node.move_to("b", "X", 9);
    let opened = Board::open((1 << 32) + 8, Some(&keyframe), &node.log[41..], &BTreeSet::new()).unwrap();
    let replayed = Board::open((1 << 32) + 9, None, &node.log, &BTreeSet::new()).unwrap();
    assert_eq!(opened.stacks(), node.board.stacks());
    assert_eq!(replayed.stacks(), node.board.stacks());
}

#[test]
fn purged_elements_stay_gone() {
    let mut node = Node::new();
    node.create("a", "X");
    node.create("b", "Y");
    node.delete("b", "Y");
    node.undo("a");
    let applied = node.board.purge(Timestamp(node.now + 1), 100);
    assert_eq!(applied.changes.len(), 0, "a step of undo may still bring them back");
    for _ in 0..100 {
        node.move_to("b", "Y", 1);
        node.move_to("b", "Y", 2);
        node.create("a", &Uuid::now_v7().to_string());
    }
    let applied = node.board.purge(Timestamp(node.now + 1), 100);
    node.log("a", RecordKind::Purge, None, &applied);
    assert!(node.get("Y", Property::X).is_none());
    node.undo("b");
    assert!(node.get("Y", Property::X).is_none());
}

#[test]
fn a_raw_client_is_read_from_the_document() {
    let mut node = Node::new();
    let raw = Raw::new(5);
    let applied = node.merge("a", Role::Editor, &raw.create("X")).unwrap();
    assert_eq!(applied.changes.len(), 1);
    assert!(applied.changes[0].before.is_none() && applied.changes[0].print.is_some());
    node.merge("a", Role::Editor, &raw.set("X", "x", 40.0)).unwrap();
    assert_eq!(node.x("X"), 40);
    node.undo("a");
    assert_eq!(node.x("X"), 1);
    node.undo("a");
    assert!(!node.lives("X"));
    raw.sync(&node);
    assert_eq!(
        raw.doc.transact().state_vector(),
        node.board.doc.transact().state_vector()
    );
}

#[test]
fn ops_of_a_frame_are_all_or_none() {
    let mut node = Node::new();
    node.create("a", "X");
    let before = node.board.items();
    let ops = [
        create("Y"),
        Op::ElementMove {
            targets: vec![id("nobody")],
            dx: 1.0,
            dy: 0.0,
        },
    ];
    let refused = node.board.apply(&ops, &editor("a", Role::Editor, 9), 1_000);
    assert!(matches!(refused, Err(ApplyError::NotFound { .. })));
    assert_eq!(node.board.items(), before);
}

#[test]
fn a_deleted_box_takes_its_label_and_frees_its_arrows() {
    let mut node = Node::new();
    for name in ["box", "label", "arrow"] {
        node.create("a", name);
    }
    node.set("a", "label", Property::ContainerId, Some("box".into()));
    let bindings: Value =
        serde_json::json!({ "start": { "elementId": "box", "focus": 0.5 }, "end": { "elementId": "other" } }).into();
    node.set("a", "arrow", Property::Bindings, Some(bindings));
    node.delete("a", "box");
    assert!(!node.lives("box") && !node.lives("label") && node.lives("arrow"));
    let left: Value = serde_json::json!({ "end": { "elementId": "other" } }).into();
    assert_eq!(node.get("arrow", Property::Bindings), Some(left));
    node.undo("a");
    assert!(node.lives("box") && node.lives("label"));
}

#[test]
fn what_was_said_of_the_first_page_goes_with_a_restore() {
    let mut node = Node::new();
    node.create("a", "X");
    let old = node.board.items();
    let update = Op::PageUpdate {
        page: String::new(),
        title: None,
        background: Some("#000".into()),
        after: None,
    };
    node.op("a", update);
    node.board.restore(&old, Timestamp(5_000), 1_000).unwrap();
    let first = node.board.read().get(&(EntryKind::Page, "".into())).unwrap();
    assert!(first.is_empty(), "{first:?}");
}

#[test]
fn elements_keep_their_order_among_themselves() {
    let mut node = Node::new();
    for name in ["1", "2", "3", "4"] {
        node.create("a", name);
    }
    node.op(
        "a",
        Op::ElementOrder {
            targets: vec![id("3"), id("2")],
            after: None,
            before: Some(id("1")),
        },
    );
    let order = node.board.read().order(EntryKind::Element).iter();
    let order: Vec<_> = order.map(|(_, id)| id.to_string()).collect();
    assert_eq!(order, ["2", "3", "1", "4"]);
}
