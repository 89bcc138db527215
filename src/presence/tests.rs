use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

mod others;

const BASE: u64 = 1 << 32;
const ALICE: SessionId = SessionId(1);
const BOB: SessionId = SessionId(2);
const CAROL: SessionId = SessionId(3);
const ALICE_CLIENT: u64 = 71;

fn presence() -> Presence {
    Presence::new(BASE, PresenceLimits::from(&Limits::default()))
}

fn person(session: SessionId, user: &str) -> Person {
    Person {
        session,
        user: UserId::new(user).unwrap(),
        name: None,
    }
}

/// Alice at the Yjs door, Bob at our own.
fn class() -> Presence {
    let mut presence = presence();
    presence.join(at(0), person(ALICE, "alice"), Door::Yjs);
    presence.join(at(0), person(BOB, "bob"), Door::Own);
    presence
}

fn at(millis: u64) -> Timestamp {
    Timestamp(1_000_000 + millis)
}

fn shows(presence: &mut Presence, session: SessionId, client: u64, clock: u32, text: &str) -> Counted {
    presence.awareness(at(0), session, [(client, clock, text)], |_| true)
}

fn ephemeral(kind: &str, gesture: Option<u128>, data: Json) -> Ephemeral {
    Ephemeral {
        kind: kind.into(),
        gesture: gesture.map(GestureId::from_u128),
        data: data.into(),
    }
}

/// States of a frame as `(session, kind, data)`.
fn told(frame: Option<ServerFrame>) -> Vec<(u64, String, Json)> {
    let Some(ServerFrame::Ephemeral { states }) = frame else {
        return Vec::new();
    };
    let plain = |state: EphemeralState| (state.session.0, state.kind, (&state.data).into());
    states.into_iter().map(plain).collect()
}

fn kinds(frame: Option<ServerFrame>) -> Vec<(u64, String)> {
    told(frame)
        .into_iter()
        .map(|(session, kind, _)| (session, kind))
        .collect()
}

/// Reads awareness messages the way y-protocols does.
#[derive(Default)]
struct Reader {
    clocks: BTreeMap<u64, u64>,
    states: BTreeMap<u64, Json>,
    /// Entries of the last message.
    heard: Vec<(u64, u64)>,
}

impl Reader {
    fn read(&mut self, message: Option<Bytes>) {
        self.heard.clear();
        let Some(message) = message else { return };
        let mut rest = &message[..];
        assert_eq!(varint(&mut rest), 1);
        assert_eq!(varint(&mut rest), rest.len() as u64);
        for _ in 0..varint(&mut rest) {
            let (client, clock) = (varint(&mut rest), varint(&mut rest));
            let length = usize::try_from(varint(&mut rest)).unwrap();
            let (text, tail) = rest.split_at(length);
            rest = tail;
            self.take(client, clock, serde_json::from_slice(text).unwrap());
        }
        assert!(rest.is_empty());
    }

    fn take(&mut self, client: u64, clock: u64, state: Json) {
        self.heard.push((client, clock));
        let known = self.clocks.get(&client).copied().unwrap_or(0);
        let ends = known == clock && state.is_null() && self.states.contains_key(&client);
        if known < clock || ends {
            self.clocks.insert(client, clock);
            if state.is_null() {
                self.states.remove(&client);
            } else {
                self.states.insert(client, state);
            }
        }
    }
}

fn varint(rest: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = rest[0];
        *rest = &rest[1..];
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return number;
        }
    }
}

// [R-74]
#[test]
fn a_join_at_our_door_is_told_at_both() {
    let mut presence = presence();
    let bob = Person {
        name: Some("Bob \"B\"".into()),
        ..person(BOB, "bob")
    };
    presence.join(at(0), bob, Door::Own);
    let tick = presence.tick(at(33));
    let told = told(tick.ephemeral);
    assert_eq!((told[0].0, told[0].1.as_str()), (2, "join"));
    let color = told[0].2["color"].clone();
    assert_eq!(told[0].2, json!({"name": "Bob \"B\"", "color": color}));
    assert!(color.as_str().is_some_and(|hex| hex.len() == 7 && hex.starts_with('#')));
    let mut reader = Reader::default();
    reader.read(tick.awareness);
    let user = json!({"id": "bob", "name": "Bob \"B\"", "color": color});
    assert_eq!(reader.states, BTreeMap::from([(BASE, json!({ "user": user }))]));
    assert_eq!(presence.tick(at(66)), Tick::default());
}

// [R-75]
#[test]
fn a_pointer_becomes_an_awareness_state() {
    let mut presence = class();
    let mut reader = Reader::default();
    reader.read(presence.tick(at(0)).awareness);
    for x in 0..3 {
        let frame = ephemeral("pointer", None, json!({"x": x, "y": 2.5}));
        presence.ephemeral(at(1), BOB, frame).unwrap();
    }
    let tick = presence.tick(at(33));
    reader.read(tick.awareness);
    assert_eq!(reader.states[&BASE]["pointer"], json!({"x": 2, "y": 2.5}));
    assert_eq!(reader.heard.len(), 1, "only the newest counts");
    let pointer = (2, "pointer".to_owned(), json!({"x": 2, "y": 2.5}));
    assert_eq!(told(tick.ephemeral), [pointer]);
    presence
        .ephemeral(at(40), BOB, ephemeral("pointer", None, Json::Null))
        .unwrap();
    reader.read(presence.tick(at(66)).awareness);
    assert_eq!(reader.states[&BASE].get("pointer"), None);
}

// [R-76]
#[test]
fn the_server_writes_the_identity() {
    let mut presence = class();
    let carol = Person {
        name: Some("Carol".into()),
        ..person(CAROL, "carol")
    };
    presence.join(at(0), carol, Door::Yjs);
    let lie = r##"{"user":{"id":"teacher","name":"Al","color":"#123456"},"cursor":null}"##;
    assert_eq!(shows(&mut presence, ALICE, ALICE_CLIENT, 1, lie).taken, 1);
    assert_eq!(shows(&mut presence, CAROL, 73, 1, r#"{"user":"teacher"}"#).taken, 1);
    let mut reader = Reader::default();
    let tick = presence.tick(at(33));
    reader.read(tick.awareness);
    let alice = json!({"user": {"id": "alice", "name": "Al", "color": "#123456"}, "cursor": null});
    assert_eq!(reader.states[&ALICE_CLIENT], alice);
    assert_eq!(reader.states[&73], json!({"user": {"id": "carol", "name": "Carol"}}));
    let shown = told(tick.ephemeral);
    assert!(shown.contains(&(1, "awareness".into(), alice)));
}

#[test]
fn echoes_and_claims_of_others_are_dropped() {
    let mut presence = class();
    presence.join(at(0), person(CAROL, "carol"), Door::Yjs);
    assert_eq!(shows(&mut presence, ALICE, ALICE_CLIENT, 1, "{}").taken, 1);
    assert_eq!(shows(&mut presence, CAROL, ALICE_CLIENT, 9, "{}").foreign, 1, "echo");
    assert_eq!(
        shows(&mut presence, CAROL, ALICE_CLIENT, 9, "null").foreign,
        1,
        "removal"
    );
    assert_eq!(
        shows(&mut presence, CAROL, BASE, 9, "{}").foreign,
        1,
        "the server's own id"
    );
    assert_eq!(shows(&mut presence, ALICE, 99, 1, "{}").foreign, 1, "no place left");
    let bound = presence.awareness(at(0), CAROL, [(5, 1, "{}")], |client| client != 5);
    assert_eq!(bound.foreign, 1, "bound to another user");
    assert_eq!(
        shows(&mut presence, CAROL, 5, 1, "null").foreign,
        1,
        "null for nobody's id"
    );
    assert_eq!(shows(&mut presence, BOB, 6, 1, "{}").foreign, 1, "not a Yjs client");
    let mut reader = Reader::default();
    reader.read(presence.snapshot_awareness());
    assert!(reader.states.keys().eq([&ALICE_CLIENT, &BASE]));
}

#[test]
fn malformed_entries_are_dropped() {
    let mut presence = class();
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(8 * 1024));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(40), "]".repeat(40));
    for text in ["", "{", "[]", "3", "\"x\"", &long, &deep] {
        assert_eq!(
            shows(&mut presence, ALICE, ALICE_CLIENT, 1, text).malformed,
            1,
            "{text}"
        );
    }
    assert_eq!(shows(&mut presence, ALICE, CLIENT_ID_MAX, 1, "{}").malformed, 1);
    assert_eq!(shows(&mut presence, ALICE, 1, u32::MAX, "{}").malformed, 1);
}

#[test]
fn only_a_newer_clock_counts() {
    let mut presence = class();
    assert_eq!(shows(&mut presence, ALICE, ALICE_CLIENT, 5, r#"{"a":1}"#).taken, 1);
    assert_eq!(shows(&mut presence, ALICE, ALICE_CLIENT, 5, r#"{"a":2}"#).stale, 1);
    assert_eq!(shows(&mut presence, ALICE, ALICE_CLIENT, 4, "null").stale, 1);
    assert_eq!(shows(&mut presence, ALICE, ALICE_CLIENT, 5, "null").taken, 1);
    let mut reader = Reader::default();
    reader.read(presence.tick(at(33)).awareness);
    assert!(!reader.states.contains_key(&ALICE_CLIENT));
}

#[test]
fn a_message_cannot_flood_everybody_with_ends() {
    let mut presence = class();
    let flood = (1..500).flat_map(|client| [(client, 1, "{}"), (client, 2, "null")]);
    assert_eq!(presence.awareness(at(0), ALICE, flood, |_| true).taken, 2);
}

#[test]
fn an_unchanged_entry_is_forwarded_to_the_yjs_door_alone() {
    let mut presence = class();
    shows(&mut presence, ALICE, ALICE_CLIENT, 1, r#"{"a":1}"#);
    presence.tick(at(33));
    shows(&mut presence, ALICE, ALICE_CLIENT, 2, r#"{"a":1}"#);
    let tick = presence.tick(at(66));
    let mut reader = Reader::default();
    reader.read(tick.awareness);
    assert_eq!(reader.heard, [(ALICE_CLIENT, 2)]);
    assert_eq!(tick.ephemeral, None);
}

#[test]
fn a_resting_pointer_is_kept_alive() {
    let mut presence = class();
    let mut reader = Reader::default();
    let mut heard = Vec::new();
    for step in 0..1_000 {
        reader.read(presence.tick(at(step * 33)).awareness);
        heard.extend(reader.heard.iter().map(|(_, clock)| (step * 33 / 1_000, *clock)));
    }
    assert_eq!(heard, [(0, 1), (15, 2), (30, 3)]);
}

// [R-77]
#[test]
fn an_awareness_that_ends_is_a_leave_at_our_door() {
    let mut presence = class();
    shows(&mut presence, ALICE, ALICE_CLIENT, 1, "{}");
    presence.tick(at(33));
    shows(&mut presence, ALICE, ALICE_CLIENT, 2, "null");
    assert_eq!(kinds(presence.tick(at(66)).ephemeral), [(1, "leave".into())]);
    presence.leave(at(70), ALICE);
    assert_eq!(presence.tick(at(99)).ephemeral, None, "told already");
}

#[test]
fn an_echo_does_not_wake_who_has_left() {
    let mut presence = class();
    presence.join(at(0), person(CAROL, "carol"), Door::Yjs);
    presence.join(at(0), person(SessionId(4), "alice"), Door::Yjs);
    shows(&mut presence, ALICE, ALICE_CLIENT, 3, "{}");
    presence.tick(at(33));
    presence.leave(at(34), ALICE);
    assert_eq!(shows(&mut presence, CAROL, ALICE_CLIENT, 3, "{}").foreign, 1);
    assert_eq!(shows(&mut presence, CAROL, ALICE_CLIENT, 4, "{}").foreign, 1);
    assert_eq!(shows(&mut presence, SessionId(4), ALICE_CLIENT, 3, "{}").foreign, 1);
    presence.tick(at(70_000));
    assert_eq!(
        shows(&mut presence, CAROL, ALICE_CLIENT, 4, "{}").taken,
        1,
        "long after"
    );
}

#[test]
fn who_comes_back_has_the_client_id_again() {
    let mut presence = class();
    shows(&mut presence, ALICE, ALICE_CLIENT, 3, "{}");
    presence.leave(at(1), ALICE);
    presence.join(at(2), person(CAROL, "alice"), Door::Yjs);
    assert_eq!(shows(&mut presence, CAROL, ALICE_CLIENT, 3, "{}").taken, 1);
    // And takes it from a connection that only hangs.
    presence.join(at(3), person(SessionId(4), "alice"), Door::Yjs);
    assert_eq!(shows(&mut presence, SessionId(4), ALICE_CLIENT, 3, "{}").foreign, 1);
    assert_eq!(shows(&mut presence, SessionId(4), ALICE_CLIENT, 4, "{}").taken, 1);
    presence.tick(at(33));
    presence.leave(at(34), CAROL);
    let mut reader = Reader::default();
    reader.read(presence.snapshot_awareness());
    assert!(reader.states.contains_key(&ALICE_CLIENT));
}

#[test]
fn a_newcomer_gets_the_points_so_far_once() {
    let mut presence = class();
    let send = |presence: &mut Presence, part: u32| {
        let frame = ephemeral("stroke", Some(7), json!(part));
        presence.ephemeral(at(0), BOB, frame).unwrap();
    };
    send(&mut presence, 1);
    send(&mut presence, 2);
    presence.tick(at(33));
    send(&mut presence, 3);
    let mut parts = told(presence.snapshot_ephemeral());
    parts.extend(told(presence.tick(at(66)).ephemeral));
    let parts: Vec<_> = parts.into_iter().filter(|(_, kind, _)| kind == "stroke").collect();
    let expected = [1, 2, 3].map(|part| (2, "stroke".to_owned(), json!(part)));
    assert_eq!(parts, expected);
}

// [R-72]
#[test]
fn a_frame_without_gesture_goes_on_with_the_last_stroke_while_it_lasts() {
    let mut presence = class();
    let mut send = |gesture, part: u32| presence.ephemeral(at(0), BOB, ephemeral("stroke", gesture, json!(part)));
    assert_eq!(send(None, 0), Err(PresenceError::NoGesture));
    for (gesture, part) in [(Some(7), 1), (Some(8), 2), (None, 3), (Some(7), 4), (None, 5)] {
        assert_eq!(send(gesture, part), Ok(()));
    }
    let of = |state: EphemeralState| (state.gesture, Json::from(&state.data));
    let Some(ServerFrame::Ephemeral { states }) = presence.tick(at(33)).ephemeral else {
        panic!("strokes are told");
    };
    let drawn: Vec<_> = states
        .into_iter()
        .filter(|state| state.kind == "stroke")
        .map(of)
        .collect();
    let [seven, eight] = [7, 8].map(|gesture| Some(GestureId::from_u128(gesture)));
    let expected = [(seven, 1), (seven, 4), (seven, 5), (eight, 2), (eight, 3)];
    assert_eq!(drawn, expected.map(|(gesture, part)| (gesture, json!(part))));
    presence.committed(BOB, GestureId::from_u128(7));
    let late = presence.ephemeral(at(40), BOB, ephemeral("stroke", None, json!(6)));
    assert_eq!(late, Err(PresenceError::NoGesture));
}

// [R-73]
#[test]
fn a_stroke_ends_when_committed_silent_or_left() {
    for how in 0..3 {
        let mut presence = class();
        let frame = ephemeral("stroke", Some(7), json!(1));
        presence.ephemeral(at(0), BOB, frame).unwrap();
        presence.tick(at(33));
        match how {
            0 => presence.committed(BOB, GestureId::from_u128(7)),
            1 => assert_eq!(presence.tick(at(4_900)).ephemeral, None),
            _ => presence.leave(at(40), BOB),
        }
        let told = told(presence.tick(at(5_200)).ephemeral);
        let end = [None, Some("stroke"), Some("leave")][how];
        assert_eq!(told.first().map(|(_, kind, _)| kind.as_str()), end);
        assert!(told.iter().all(|(_, _, data)| data.is_null()));
        let left = kinds(presence.snapshot_ephemeral());
        assert!(!left.iter().any(|(_, kind)| kind == "stroke"));
    }
}

#[test]
fn a_long_stroke_is_passed_on_but_not_kept() {
    let mut presence = class();
    let part = json!("x".repeat(4_000));
    let mut passed = 0;
    for step in 0..100 {
        let frame = ephemeral("stroke", Some(7), part.clone());
        presence.ephemeral(at(step * 33), BOB, frame).unwrap();
        let told = told(presence.tick(at(step * 33)).ephemeral);
        passed += told.iter().filter(|(_, kind, _)| kind == "stroke").count();
    }
    let kept = kinds(presence.snapshot_ephemeral());
    let kept = kept.iter().filter(|(_, kind)| kind == "stroke").count();
    assert_eq!((passed, kept), (100, 128 * 1024 / 4_032));
}

// [R-72]
#[test]
fn frames_beyond_the_limits_are_refused() {
    let mut presence = class();
    let mut send = |frame| presence.ephemeral(at(0), BOB, frame);
    let null = || Json::Null;
    for kind in ["join", "leave", "awareness", &"k".repeat(33)] {
        assert_eq!(send(ephemeral(kind, None, null())), Err(PresenceError::BadKind));
    }
    let bad = send(ephemeral("pointer", None, json!({"x": 1})));
    assert_eq!(bad, Err(PresenceError::BadPointer));
    let nameless = send(ephemeral("stroke", None, json!(1)));
    assert_eq!(nameless, Err(PresenceError::NoGesture));
    let large = send(ephemeral("drag", None, json!("x".repeat(9_000))));
    assert!(matches!(large, Err(PresenceError::TooLarge { .. })));
    for kind in 0..8 {
        assert_eq!(send(ephemeral(&format!("k{kind}"), None, json!(1))), Ok(()));
    }
    let ninth = send(ephemeral("k8", None, json!(1)));
    assert_eq!(ninth, Err(PresenceError::TooManyKinds { max: 8 }));
    for finger in 0..10 {
        assert_eq!(send(ephemeral("stroke", Some(finger), json!(1))), Ok(()));
    }
    let eleventh = send(ephemeral("stroke", Some(10), json!(1)));
    assert_eq!(eleventh, Err(PresenceError::TooManyStrokes { max: 10 }));
    let flood = (0..40).map(|_| send(ephemeral("stroke", Some(1), json!(1))));
    assert!(flood.last() == Some(Err(PresenceError::TooFast)));
    let stranger = presence.ephemeral(at(0), CAROL, ephemeral("k", None, json!(1)));
    assert_eq!(stranger, Err(PresenceError::NotHere));
}

// [R-71]
#[test]
fn a_kind_that_is_ended_makes_room() {
    let mut presence = class();
    let drag = |data| ephemeral("drag", None, data);
    presence.ephemeral(at(0), BOB, drag(json!(1))).unwrap();
    presence.tick(at(33));
    presence.ephemeral(at(40), BOB, drag(Json::Null)).unwrap();
    let ended = (2, "drag".to_owned(), Json::Null);
    assert_eq!(told(presence.tick(at(66)).ephemeral), [ended]);
    assert_eq!(kinds(presence.snapshot_ephemeral()), [(2, "join".into())]);
}

#[test]
fn a_full_board_takes_no_more_entries() {
    let mut limits = PresenceLimits::from(&Limits::default());
    limits.entries_board_max = 1;
    let mut presence = Presence::new(BASE, limits);
    presence.join(at(0), person(ALICE, "alice"), Door::Yjs);
    presence.join(at(0), person(BOB, "bob"), Door::Own);
    assert_eq!(shows(&mut presence, ALICE, ALICE_CLIENT, 1, "{}").foreign, 1);
    assert_eq!(presence.people().len(), 2);
}

#[derive(Debug, Clone)]
enum Step {
    Join(u64, bool),
    Leave(u64),
    Awareness(u64, u64, u32, bool),
    Ephemeral(u64, bool),
    Tick,
    NewReader,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..6_u64, any::<bool>()).prop_map(|(session, yjs)| Step::Join(session, yjs)),
        (1..6_u64).prop_map(Step::Leave),
        (1..6_u64, 1..5_u64, 0..12_u32, any::<bool>()).prop_map(|(s, c, k, end)| Step::Awareness(s, c, k, end)),
        (1..6_u64, any::<bool>()).prop_map(|(session, stroke)| Step::Ephemeral(session, stroke)),
        Just(Step::Tick),
        Just(Step::NewReader),
    ]
}

/// Readers of both doors.
#[derive(Default)]
struct Readers {
    yjs: Vec<Reader>,
    own: Vec<BTreeSet<u64>>,
}

impl Readers {
    fn add(&mut self, presence: &Presence) {
        let mut reader = Reader::default();
        reader.read(presence.snapshot_awareness());
        self.yjs.push(reader);
        self.own.push(BTreeSet::new());
        let newest = self.own.len() - 1;
        hear(&mut self.own[newest], presence.snapshot_ephemeral());
    }

    fn tick(&mut self, tick: &Tick) {
        for reader in &mut self.yjs {
            reader.read(tick.awareness.clone());
        }
        for sessions in &mut self.own {
            hear(sessions, tick.ephemeral.clone());
        }
    }
}

fn hear(sessions: &mut BTreeSet<u64>, frame: Option<ServerFrame>) {
    for (session, kind) in kinds(frame) {
        if kind == "leave" {
            sessions.remove(&session);
        } else {
            sessions.insert(session);
        }
    }
}

proptest! {
    #[test]
    fn nobody_is_left_as_a_ghost(steps in prop::collection::vec(step(), 1..120), entries_session_max in 1..4_usize) {
        let limits = PresenceLimits { entries_session_max, ..PresenceLimits::from(&Limits::default()) };
        let mut presence = Presence::new(BASE, limits);
        let mut readers = Readers::default();
        readers.add(&presence);
        for (now, step) in steps.into_iter().enumerate() {
            let now = at(now as u64 * 3_000);
            match step {
                Step::Join(session, yjs) => {
                    let door = if yjs { Door::Yjs } else { Door::Own };
                    presence.join(now, person(SessionId(session), &format!("u{}", session / 2)), door);
                }
                Step::Leave(session) => presence.leave(now, SessionId(session)),
                Step::Awareness(session, client, clock, end) => {
                    let text = if end { "null" } else { "{}" };
                    presence.awareness(now, SessionId(session), [(client, clock, text)], |_| true);
                }
                Step::Ephemeral(session, stroke) => {
                    let kind = if stroke { "stroke" } else { "pointer" };
                    let data = json!({"x": 1, "y": 1});
                    presence.ephemeral(now, SessionId(session), ephemeral(kind, Some(1), data)).ok();
                }
                Step::Tick => readers.tick(&presence.tick(now)),
                Step::NewReader => readers.add(&presence),
            }
        }
        for session in 1..6 {
            presence.leave(at(1), SessionId(session));
        }
        readers.tick(&presence.tick(at(2)));
        prop_assert_eq!(presence.snapshot_awareness(), None);
        prop_assert_eq!(presence.snapshot_ephemeral(), None);
        prop_assert!(readers.yjs.iter().all(|reader| reader.states.is_empty()));
        prop_assert!(readers.own.iter().all(BTreeSet::is_empty));
    }
}
