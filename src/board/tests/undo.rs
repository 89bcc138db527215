//! Undo beside what others did meanwhile, and steps of more than one record.

use super::files::bury;
use super::*;

fn add_page(page: &str) -> Op {
    Op::PageAdd {
        page: id(page),
        title: None,
        after: None,
        background: None,
    }
}

fn create_on(page: &str, name: &str) -> Op {
    let Op::ElementCreate { mut element, after } = create(name) else {
        panic!("not a creation")
    };
    element.properties.set(Property::Page, page.into());
    Op::ElementCreate { element, after }
}

impl Node {
    fn has_page(&self, page: &str) -> bool {
        let entry = self.board.read().get(&(EntryKind::Page, page.into()));
        entry.is_some_and(|entry| entry.get(Property::Deleted).is_none())
    }

    /// A raw update that belongs to a gesture.
    fn merge_in(&mut self, who: &str, gesture: Uuid, update: &[u8]) {
        self.now += 10;
        let Ok(Checked::New(admission)) = self.board.check(update, &plain(&user(who))) else {
            panic!("refused")
        };
        let editor = editor(who, Role::Editor, self.now);
        let applied = self.board.merge(update, &admission, &editor).unwrap();
        self.log(who, RecordKind::Update, Some(gesture), &applied);
    }

    /// What another node and a rebuilt one have after the same records.
    fn assert_stacks_alike(&mut self) {
        let replayed = Board::open((1 << 32) + 9, None, &self.log, &BTreeSet::new()).unwrap();
        assert_eq!(replayed.stacks(), self.board.stacks());
        let at = self.log.last().unwrap().position;
        let keyframe = self.board.keyframe(at, Timestamp(self.now));
        let opened = Board::open((1 << 32) + 8, Some(&keyframe), &[], &BTreeSet::new()).unwrap();
        assert_eq!(opened.stacks(), self.board.stacks());
    }
}

//
#[test]
fn a_page_stays_while_others_have_something_on_it() {
    let mut node = Node::new();
    node.op("a", add_page("p1"));
    node.op("b", create_on("p1", "X"));
    let undone = node.undo("a");
    assert_eq!((undone.changed, undone.skipped, node.has_page("p1")), (0, 1, true));

    node.op("a", add_page("p2"));
    node.op("a", create_on("p2", "own"));
    node.op("b", create_on("p2", "gone"));
    node.delete("b", "gone");
    node.undo("a");
    node.undo("a");
    assert!(!node.has_page("p2"), "nothing of others lives on it");
    node.redo("a");
    assert!(node.has_page("p2"));
    node.op("b", create_on("p2", "Y"));
    node.undo("a");
    assert!(node.has_page("p2"));
}

//
#[test]
fn a_delete_of_a_page_is_not_done_again_over_what_others_drew() {
    let mut node = Node::new();
    node.op("c", add_page("p"));
    node.op("a", Op::PageDelete { page: id("p") });
    node.undo("a");
    node.op("b", create_on("p", "X"));
    assert_eq!(node.redo("a").changed, 0);
    assert!(node.has_page("p"));
}

#[test]
fn what_lies_on_a_page_that_is_gone_is_purged() {
    let mut node = Node::new();
    node.op("a", add_page("p"));
    node.op("b", create_on("p", "X"));
    node.create("c", "Y");
    node.set("c", "Y", Property::Page, Some("p".into()));
    node.op("a", Op::PageDelete { page: id("p") });
    node.board.purge(Timestamp(node.now + 1), 100);
    assert!(node.lives("X"), "the page may come back by undo");
    bury(&mut node, "a");
    node.board.purge(Timestamp(node.now), 100);
    assert!(!node.lives("X"));
    node.undo("c");
    assert_eq!((node.lives("Y"), node.get("Y", Property::Page)), (true, None));
}

//
#[test]
fn a_step_that_was_left_out_hides_those_below_it() {
    let mut node = Node::new();
    node.create("a", "X");
    node.move_to("a", "X", 5);
    node.undo("a");
    node.now += 10;
    let clear = Op::BoardClear { page: None };
    let teacher = editor("a", Role::Teacher, node.now);
    let applied = node.board.apply(&[clear], &teacher, 1_000).unwrap();
    node.log_as("a", RecordKind::Op, None, &applied, true);
    node.assert_stacks_alike();
    assert_eq!(node.redo("a").steps.len(), 0, "it is an edit like any other");
    let undone = node.undo("a");
    assert_eq!((undone.steps.len(), undone.changed, undone.skipped), (1, 0, 1));
    assert!(!node.lives("X"));
    node.assert_stacks_alike();
    assert_eq!(node.redo("a").steps.len(), 0);
}

//
#[test]
fn a_gesture_goes_on_above_what_was_left_out() {
    let mut node = Node::new();
    let gesture = Uuid::from_u128(1);
    node.op_in("a", Some(gesture), create("X")).unwrap();
    node.now += 10;
    let applied = node
        .board
        .apply(&[create("Y")], &editor("a", Role::Editor, node.now), 9);
    node.log_as("a", RecordKind::Op, Some(gesture), &applied.unwrap(), true);
    node.op_in("a", Some(gesture), create("Z")).unwrap();
    assert_eq!(node.undo("a").changed, 1);
    assert_eq!((node.lives("X"), node.lives("Y"), node.lives("Z")), (true, true, false));
    assert_eq!(node.undo("a").changed, 0);
    assert_eq!(node.undo("a").changed, 1);
    assert_eq!((node.lives("X"), node.lives("Y")), (false, true));
}

#[test]
fn what_a_gesture_creates_and_removes_is_not_in_its_step() {
    let mut node = Node::new();
    let (raw, gesture) = (Raw::new(5), Uuid::from_u128(1));
    node.merge_in("a", gesture, &raw.create("X"));
    node.merge_in("a", gesture, &raw.edit(|txn, elements| _ = elements.remove(txn, "X")));
    assert!(node.get("X", Property::X).is_none());
    assert_eq!(node.undo("a").changed, 0);
    assert!(node.get("X", Property::X).is_none(), "it was not there before");
}

#[test]
fn what_a_gesture_removes_and_creates_was_there_before() {
    for is_touched in [false, true] {
        let mut node = Node::new();
        let (raw, gesture) = (Raw::new(5), Uuid::from_u128(1));
        node.merge("a", Role::Editor, &raw.create("X")).unwrap();
        node.merge_in("a", gesture, &raw.set("X", "x", 7.0));
        node.merge_in("a", gesture, &raw.edit(|txn, elements| _ = elements.remove(txn, "X")));
        node.merge_in("a", gesture, &raw.create("X"));
        node.merge_in("a", gesture, &raw.set("X", "x", 40.0));
        if is_touched {
            node.set("b", "X", Property::Width, Some(Value::Int(3)));
        }
        node.undo("a");
        assert!(node.lives("X"));
        assert_eq!(node.get("X", Property::Width).is_some(), is_touched);
        if !is_touched {
            assert_eq!(node.x("X"), 1);
        }
    }
}

#[test]
fn what_a_gesture_changes_and_removes_comes_back_unchanged() {
    let mut node = Node::new();
    let (raw, gesture) = (Raw::new(5), Uuid::from_u128(1));
    node.merge("a", Role::Editor, &raw.create("X")).unwrap();
    node.merge_in("a", gesture, &raw.set("X", "x", 7.0));
    node.merge_in("a", gesture, &raw.edit(|txn, elements| _ = elements.remove(txn, "X")));
    node.undo("a");
    assert_eq!(node.x("X"), 1);
}
