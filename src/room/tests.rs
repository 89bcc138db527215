//! Rooms by themselves: what they answer, remember and try again. Effects are looked at, not carried out.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it looks for and passes over the rest"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::board::Board;
use crate::protocol::codec::{Format, decode_server};
use crate::protocol::element::{Property, Value};
use crate::protocol::ids::{EditScope, Position, Role, SessionId, Timestamp, UserId};
use crate::protocol::limits::Limits;
use crate::protocol::op::Op;
use crate::protocol::{ClientFrame, ErrorCode, Record, ServerFrame};

use super::session::{Door, Joining};
use super::yjs::YjsMessage;
use super::{AppendFault, Effect, Import, Input, Opened, Room};

const HOUR_MS: u64 = 60 * 60 * 1000;

struct Tester {
    room: Room,
    now: u64,
    sessions: u64,
    records: Vec<Arc<Record>>,
}

fn own(client: u128) -> Door {
    Door::Own {
        format: Format::MsgPack,
        document: false,
        client: uuid::Uuid::from_u128(client),
    }
}

fn request(client: u128) -> Door {
    let client = Some(uuid::Uuid::from_u128(client));
    Door::Request { client }
}

fn ops(json: &serde_json::Value) -> Vec<Op> {
    serde_json::from_value(serde_json::json!([json])).unwrap()
}

fn create() -> Vec<Op> {
    let element = serde_json::json!({ "id": "e", "type": "rectangle", "x": 0, "y": 0, "width": 1, "height": 1 });
    ops(&serde_json::json!({ "op": "element.create", "element": element }))
}

fn move_to(x: u32) -> Vec<Op> {
    ops(&serde_json::json!({ "op": "element.update", "target": "e", "set": { "x": x } }))
}

impl Tester {
    fn new() -> Self {
        let opened = Opened {
            board: Board::open(1 << 32, None, &[], &BTreeSet::new()).unwrap(),
            position: Position(7, 0),
            tail_bytes: 0,
            title: "".into(),
            scope: EditScope::All,
        };
        Self {
            room: Room::new(opened, Limits::default()),
            now: 10 * HOUR_MS,
            sessions: 0,
            records: Vec::new(),
        }
    }

    fn input(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.room.handle(Timestamp(self.now), input);
        let appended = effects.iter().filter_map(|effect| match effect {
            Effect::Append(record) => Some(Arc::clone(record)),
            _ => None,
        });
        self.records.extend(appended);
        effects
    }

    fn join(&mut self, name: &str, role: Role, door: Door) -> SessionId {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        self.input(Input::Join(Joining {
            session,
            user: UserId::new(name).unwrap(),
            name: None,
            role,
            is_level: true,
            door,
            vector: None,
            route: None,
        }));
        session
    }

    fn edit(&mut self, session: SessionId, seq: u64, ops: Vec<Op>) -> Vec<Effect> {
        // Else what overwrites the edit before it would wait for the tick.
        self.now += 100;
        let gesture = None;
        self.input(Input::Frame(session, ClientFrame::Op { seq, gesture, ops }))
    }

    /// The log takes all that it was given.
    fn save(&mut self) -> Vec<Effect> {
        let records = std::mem::take(&mut self.records);
        let appended = |record: Arc<Record>| self.input(Input::Appended(record.id.1, Position(7, record.id.1)));
        records.into_iter().flat_map(appended).collect()
    }

    fn x(&self) -> Option<f64> {
        let items = self.room.board().items();
        items[0].properties.get(Property::X).and_then(Value::as_f64)
    }
}

fn acked(effects: &[Effect], session: SessionId) -> Vec<u64> {
    let frames = effects.iter().filter_map(|effect| match effect {
        Effect::Send(to, bytes) if *to == session => decode_server(Format::MsgPack, bytes).ok(),
        _ => None,
    });
    let seqs = frames.filter_map(|frame| match frame {
        ServerFrame::Ack { seq, .. } => Some(seq),
        _ => None,
    });
    seqs.collect()
}

fn answered(effects: &[Effect], session: SessionId) -> bool {
    let is_it = |effect: &Effect| matches!(effect, Effect::Answer(of, Ok(_)) if *of == session);
    effects.iter().any(is_it)
}

#[test]
fn an_import_that_changes_nothing_is_answered() {
    let mut tester = Tester::new();
    let anna = tester.join("anna", Role::Editor, own(1));
    tester.edit(anna, 1, create());
    let door = Door::Request { client: None };
    let waits = tester.join("ben", Role::Editor, door);
    let effects = tester.input(Input::Import(waits, Import::default()));
    assert!(!answered(&effects, waits), "what it found may be lost yet");
    assert!(answered(&tester.save(), waits));
    let second = tester.join("ben", Role::Editor, door);
    let effects = tester.input(Input::Import(second, Import::default()));
    assert!(answered(&effects, second));
}

//
#[test]
fn a_frame_that_changed_nothing_is_a_repeat_when_it_comes_again() {
    let mut tester = Tester::new();
    let anna = tester.join("anna", Role::Editor, own(1));
    tester.edit(anna, 1, create());
    tester.save();
    let first = tester.join("bot", Role::Editor, request(2));
    let effects = tester.edit(first, 1, move_to(0));
    assert!(answered(&effects, first) && tester.records.is_empty());
    tester.edit(anna, 2, move_to(50));
    tester.save();
    let again = tester.join("bot", Role::Editor, request(2));
    let effects = tester.edit(again, 1, move_to(0));
    assert!(answered(&effects, again));
    assert_eq!(tester.x(), Some(50.0));

    let joining = tester.join("bot", Role::Editor, own(2));
    let welcome = tester.room.taken(uuid::Uuid::from_u128(2));
    assert_eq!(welcome, 1);
    // Its next record says as much to all nodes, so nothing is left to remember.
    tester.edit(joining, 2, move_to(60));
    assert_eq!(tester.room.board().outboxes().seq(uuid::Uuid::from_u128(2)), 2);
}

#[test]
fn what_waits_behind_a_record_has_a_bound_and_the_newest_is_acknowledged() {
    let mut tester = Tester::new();
    let anna = tester.join("anna", Role::Editor, own(1));
    tester.edit(anna, 1, create());
    for seq in 2..=5_000 {
        tester.edit(anna, seq, move_to(0));
        tester.edit(anna, seq, move_to(0));
    }
    let acked = acked(&tester.save(), anna);
    assert!((256..=1_100).contains(&acked.len()), "{}", acked.len());
    assert_eq!(acked.last(), Some(&5_000));
}

//
#[test]
fn who_is_sent_away_is_seen_no_more_though_their_socket_has_not_noticed() {
    let mut tester = Tester::new();
    tester.join("anna", Role::Editor, own(1));
    let ben = tester.join("ben", Role::Editor, own(2));
    tester.input(Input::Tick);
    tester.input(Input::Grant(UserId::new("ben").unwrap(), None));
    tester.now += 100;
    let shown = tester.input(Input::Tick).into_iter().find_map(|effect| match effect {
        Effect::FanOut(frame) => frame.bytes.into_iter().flatten().next(),
        _ => None,
    });
    let Ok(ServerFrame::Ephemeral { states }) = decode_server(Format::MsgPack, &shown.unwrap()) else {
        panic!("nothing was told of presence");
    };
    assert_eq!(states.len(), 1);
    assert_eq!((states[0].session, states[0].kind.as_str()), (ben, "leave"));
}

#[test]
fn a_failed_append_is_tried_again_though_the_clock_was_set_back() {
    let mut tester = Tester::new();
    let anna = tester.join("anna", Role::Editor, own(1));
    tester.edit(anna, 1, create());
    for record in std::mem::take(&mut tester.records) {
        tester.input(Input::AppendFailed(record.id.1, AppendFault::TryAgain));
    }
    tester.now -= HOUR_MS;
    for _ in 0..2 {
        tester.now += 600;
        tester.input(Input::Tick);
    }
    assert!(!tester.records.is_empty());
    assert_eq!(acked(&tester.save(), anna), [1]);
}

//
#[test]
fn a_yjs_client_that_may_edit_now_is_asked_for_what_was_not_read() {
    let mut tester = Tester::new();
    let ben = tester.join("ben", Role::Viewer, Door::Yjs);
    let mut asked = |role| {
        let effects = tester.input(Input::Grant(UserId::new("ben").unwrap(), Some(role)));
        let sent = effects.into_iter().filter_map(|effect| match effect {
            Effect::Send(to, bytes) if to == ben => YjsMessage::parse(&bytes),
            _ => None,
        });
        sent.filter(|message| matches!(message, YjsMessage::Step1(_))).count()
    };
    assert_eq!([Role::Editor, Role::Teacher, Role::Viewer].map(&mut asked), [1, 0, 0]);
}

#[test]
fn who_may_only_look_hears_that_before_what_else_is_wrong() {
    let mut tester = Tester::new();
    let mut code = |role| {
        let session = tester.join("mina", role, own(u128::from(tester.sessions)));
        let refused = Input::Refused(session, 1, ErrorCode::NotFound, "no such image".into());
        let frames = tester.input(refused).into_iter().filter_map(|effect| match effect {
            Effect::Send(_, bytes) => decode_server(Format::MsgPack, &bytes).ok(),
            _ => None,
        });
        let mut codes = frames.filter_map(|frame| match frame {
            ServerFrame::Error { code, .. } => Some(code),
            _ => None,
        });
        codes.next()
    };
    assert_eq!(code(Role::Viewer), Some(ErrorCode::Forbidden));
    assert_eq!(code(Role::Editor), Some(ErrorCode::NotFound));
}
