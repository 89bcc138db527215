//! Bytes as choices: ops of two people on one board. What is refused changes nothing, and the log gives the board again.

use std::collections::BTreeSet;
use std::sync::Arc;

use panseo::board::rights::Editor;
use panseo::board::undo::Direction;
use panseo::board::{Applied, Board};
use panseo::protocol::ids::{EditScope, Position, RecordId, Role, Timestamp, UserId};
use panseo::protocol::op::{Op, StepName};
use panseo::protocol::{Blob, Logged, Record, RecordKind};
use schemars::schema_for;
use serde_json::{Map, Value, json};

const REPLICA: u64 = (1 << 32) + 9;

/// A byte for every choice; zero once they are used up.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()].clone()
    }
}

/// Every key an op may have, with the values that are tried. Those an op does not know are ignored by it.
fn fields() -> Vec<(&'static str, Vec<Value>)> {
    let ids = || vec![json!("a"), json!("b"), json!("c"), json!("")];
    let targets = || vec![json!(["a"]), json!(["b", "a"]), json!(["c", "c"]), json!([])];
    let number = || vec![json!(0), json!(-7.3), json!(1e9), json!("x")];
    let text = || vec![json!("text"), json!(""), json!(7), json!("\u{0}")];
    let elements = ["a", "b", "c"].iter().flat_map(|id| {
        let label = json!({"id": id, "type": "text", "x": 1, "y": 2, "text": "t", "containerId": "a"});
        let arrow = json!({"id": id, "type": "arrow", "x": 1.5, "y": 2, "bindings": {"start": {"elementId": "b"}}});
        [
            label,
            arrow,
            json!({"id": id, "type": "rectangle", "x": 0, "y": 0, "locked": true}),
        ]
    });
    vec![
        ("element", elements.collect()),
        (
            "set",
            vec![
                json!({"x": 5}),
                json!({"locked": true}),
                json!({"strokeColor": null, "angle": 0.5}),
                json!({"pos": "V"}),
                json!({"type": "line"}),
                json!({"points": "AAEA"}),
            ],
        ),
        ("target", ids()),
        ("targets", targets()),
        ("comment", ids()),
        ("page", ids()),
        ("sha256", ids()),
        ("after", ids()),
        ("before", ids()),
        ("parent", ids()),
        ("text", text()),
        ("title", text()),
        ("dx", number()),
        ("dy", number()),
        ("resolved", vec![json!(true), json!(false)]),
        ("on", vec![json!(true), json!(false)]),
        ("user", vec![json!("anna"), json!("bert")]),
    ]
}

/// The names of all ops, from their schema.
fn names() -> Vec<String> {
    let schema = schema_for!(Op);
    let variants = schema.get("oneOf").and_then(Value::as_array).expect("a closed list");
    let name = |variant: &Value| variant["properties"]["op"]["const"].as_str().map(str::to_owned);
    variants.iter().filter_map(name).collect()
}

fn op(choices: &mut Choices<'_>, names: &[String], fields: &[(&'static str, Vec<Value>)]) -> Option<Op> {
    let mut object = Map::new();
    object.insert("op".into(), choices.one(names).into());
    for (key, values) in fields {
        // One in eight is left out.
        let byte = choices.byte();
        if byte >= 32 {
            object.insert((*key).into(), values[usize::from(byte) % values.len()].clone());
        }
    }
    serde_json::from_value(Value::Object(object)).ok()
}

/// What the op came to; `None` where it was refused.
fn apply(board: &mut Board, op: Op, editor: &Editor) -> Option<(RecordKind, Applied)> {
    let undo = |board: &mut Board, direction, user: Option<UserId>, step: Option<StepName>| {
        let whose = user.unwrap_or_else(|| editor.user.clone());
        board.undo(direction, &whose, step, editor, std::iter::empty()).ok()
    };
    match op {
        Op::Undo { step, user } => Some((RecordKind::Undo, undo(board, Direction::Undo, user, step)?)),
        Op::Redo { step, user } => Some((RecordKind::Redo, undo(board, Direction::Redo, user, step)?)),
        op if op.stands_alone() => None,
        op => Some((RecordKind::Op, board.apply(&[op], editor, 3).ok()?)),
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let (names, fields) = (names(), fields());
    let mut choices = Choices(bytes);
    let mut board = Board::open(REPLICA, None, &[], &BTreeSet::new()).expect("an empty board opens");
    let mut log: Vec<Logged> = Vec::new();
    while !choices.0.is_empty() {
        let number = log.len() as u64 + 1;
        let editor = Editor {
            user: UserId::new(choices.one(&["anna", "bert"])).expect("a name"),
            role: choices.one(&[Role::Editor, Role::Teacher]),
            scope: choices.one(&[EditScope::All, EditScope::Own]),
            now: Timestamp(1_000 * number),
            seed: number,
            imports: false,
        };
        let Some(op) = op(&mut choices, &names, &fields) else {
            continue;
        };
        let before = board.items();
        let Some((kind, applied)) = apply(&mut board, op, &editor) else {
            assert_eq!(board.items(), before, "what is refused changes nothing");
            continue;
        };
        let Some(update) = applied.update else { continue };
        let record = Record {
            id: RecordId(REPLICA, number),
            base: Position(1, number - 1),
            author: editor.user,
            client: None,
            seq: None,
            refused: Vec::new(),
            kind,
            gesture: None,
            time: editor.now,
            owner: None,
            steps: applied.undone.map(|undone| undone.steps).unwrap_or_default(),
            changes: applied.changes,
            changes_left_out: false,
            relayed: Vec::new(),
            update: Blob(update),
        };
        let position = Position(1, number);
        board.note(&record, position);
        log.push(Logged {
            position,
            record: Arc::new(record),
        });
    }
    let again = Board::open(REPLICA + 1, None, &log, &BTreeSet::new()).expect("the log opens");
    assert_eq!(again.items(), board.items());
    assert_eq!(again.stacks(), board.stacks());
}
