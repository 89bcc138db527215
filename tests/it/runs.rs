//! Edits of one session that become one transaction: what they cost, what each of them is told, and what waits.

use panseo::protocol::codec::{Format, decode_server};
use panseo::protocol::element::{Property, Value};
use panseo::protocol::ids::SessionId;
use panseo::protocol::limits::Limits;
use panseo::protocol::op::Op;
use panseo::protocol::{Blob, ClientFrame, ErrorCode, RecordKind, ServerFrame};
use panseo::room::ring::Pulled;
use panseo::room::session::Door;
use panseo::room::yjs::YjsMessage;
use panseo::room::{Counter, Input};
use uuid::Uuid;
use yrs::{Any, Map, MapPrelim, Transact};

use super::support::cluster::Cluster;
use super::support::story::{Raw, creation, id};

const POINTER_MOVES: u32 = 40;

fn own(client: u128, document: bool) -> Door {
    Door::Own {
        format: Format::MsgPack,
        document,
        client: Uuid::from_u128(client),
    }
}

fn op(session: SessionId, seq: u64, op: Op) -> Input {
    let (gesture, ops) = (None, vec![op]);
    Input::Frame(session, ClientFrame::Op { seq, gesture, ops })
}

fn update(session: SessionId, seq: u64, gesture: Option<Uuid>, update: Vec<u8>) -> Input {
    let update = Blob::from(update);
    Input::Frame(session, ClientFrame::Update { seq, gesture, update })
}

fn move_by(name: &str, dx: f64) -> Op {
    let targets = vec![id(name)];
    Op::ElementMove { targets, dx, dy: 0.0 }
}

/// Acknowledged numbers, and refused ones with their codes.
fn told(cluster: &Cluster, session: SessionId) -> (Vec<u64>, Vec<(u64, ErrorCode)>) {
    let mut frames = Vec::new();
    assert_ne!(
        cluster.nodes[0].ring.pull(session, &mut frames, usize::MAX),
        Pulled::Empty
    );
    let (mut acks, mut errors) = (Vec::new(), Vec::new());
    for frame in frames {
        match decode_server(Format::MsgPack, &frame).unwrap() {
            ServerFrame::Ack { seq, .. } => acks.push(seq),
            ServerFrame::Error { code, seq, .. } => errors.push((seq.unwrap(), code)),
            _ => {}
        }
    }
    (acks, errors)
}

/// Kind, number and size of the records of edits.
fn records(cluster: &Cluster) -> Vec<(RecordKind, Option<u64>, usize)> {
    let records = cluster.records().into_iter();
    let edits = records.filter(|logged| logged.record.author.as_str() != "server");
    edits
        .map(|logged| (logged.record.kind, logged.record.seq, logged.record.update.0.len()))
        .collect()
}

/// What a client sends for one stroke if it puts the whole element anew for each move of the pointer.
fn whole_rewrites(raw: &Raw) -> Vec<Vec<u8>> {
    // As a browser gives them: nothing is packed or rounded.
    let point = |number: u32| Any::from(vec![300.1 + f64::from(number), 200.7 - f64::from(number)]);
    let keys = ["type", "pos", "strokeColor", "strokeStyle", "fillStyle"];
    (1..=POINTER_MOVES)
        .map(|count| {
            let mut map: Vec<_> = keys.map(|key| (key.to_owned(), Any::from("freedraw"))).into();
            map.extend(["x", "y", "width", "height", "strokeWidth"].map(|key| (key.to_owned(), Any::from(300.1))));
            let points: Any = (0..count).map(point).collect::<Vec<_>>().into();
            let pressures = Any::from(vec![0.3; count as usize]);
            let extra = [("points", points), ("pressures", pressures)].map(|(key, any)| (key.to_owned(), any));
            let extra = std::collections::HashMap::from(extra);
            map.push(("extra".into(), Any::from(extra)));
            let elements = raw.doc.get_or_insert_map("board:elements");
            let mut txn = raw.doc.transact_mut();
            elements.insert(&mut txn, "stroke", map.into_iter().collect::<MapPrelim>());
            txn.commit();
            txn.encode_update_v1()
        })
        .collect()
}

/// Bytes in the log for that stroke: the pen comes down, then so many updates stand in the queue at once.
fn stroke_bytes(at_once: usize) -> usize {
    let mut cluster = Cluster::new(1, 1, Limits::default());
    let session = cluster.join(0, "anna", Door::Yjs, None);
    let updates = whole_rewrites(&Raw::new(10));
    for updates in std::iter::once(&updates[..1]).chain(updates[1..].chunks(at_once)) {
        let inputs = updates.iter().cloned();
        let inputs = inputs.map(|update| Input::Yjs(session, YjsMessage::Update(update.into())));
        cluster.input(0, Input::Queued(inputs.collect()));
        cluster.tick(0, 40);
    }
    cluster.rest();
    cluster.assert_equal("after the stroke");
    records(&cluster).iter().map(|(.., bytes)| bytes).sum()
}

#[test]
fn of_a_whole_element_per_pointer_move_a_third_is_left_at_three_updates_a_transaction() {
    let [one, three, six] = [1, 3, 6].map(stroke_bytes);
    assert!(one >= 34_500, "{one}");
    assert!(three <= 13_000, "{three}");
    assert!(six <= 7_500, "{six}");
}

#[test]
fn a_run_is_one_record_and_each_frame_is_acknowledged() {
    let mut cluster = Cluster::new(1, 1, Limits::default());
    let anna = cluster.join(0, "anna", own(1, false), None);
    let moves = (2..=5).map(|seq| op(anna, seq, move_by("a", 2.0)));
    let inputs = std::iter::once(op(anna, 1, creation("a"))).chain(moves);
    cluster.input(0, Input::Queued(inputs.collect()));
    cluster.rest();
    let records = records(&cluster);
    assert!(matches!(records[..], [(RecordKind::Op, Some(5), _)]), "{records:?}");
    assert_eq!(told(&cluster, anna), (vec![1, 2, 3, 4, 5], Vec::new()));
    let items = cluster.board(0).items();
    assert_eq!(items[0].properties.get(Property::X), Some(&Value::Int(8)));
    assert_eq!(cluster.counted[&Counter::Joined], 4);
}

#[test]
fn each_request_of_a_client_is_answered_for_itself() {
    let mut cluster = Cluster::new(1, 1, Limits::default());
    let socket = cluster.join(0, "anna", own(1, false), None);
    let client = Some(Uuid::from_u128(1));
    let ask = |cluster: &mut Cluster, seq| {
        let session = cluster.join(0, "anna", Door::Request { client }, None);
        cluster.input(0, op(session, seq, creation(&format!("e{seq}"))));
        session
    };
    // The last one is the second again, before it is durable.
    let asked = [1, 2, 2].map(|seq| ask(&mut cluster, seq));
    let mut answered = Vec::new();
    while cluster.write(0, None) {
        cluster.hear(0);
        let answers = &cluster.nodes[0].answers;
        answered.push(asked.map(|session| answers.get(&session).is_some_and(Result::is_ok)));
    }
    assert_eq!(answered.first(), Some(&[true, false, false]));
    assert_eq!(answered.last(), Some(&[true, true, true]));
    cluster.rest();
    let (acks, _) = told(&cluster, socket);
    assert_eq!(acks, Vec::<u64>::new(), "the socket sent nothing");
}

#[test]
fn a_board_that_only_seems_full_takes_edits_all_the_same() {
    for is_keeper in [true, false] {
        takes_what_seems_too_much(is_keeper);
    }
}

fn takes_what_seems_too_much(is_keeper: bool) {
    let limits = Limits {
        document_bytes_max: 1_000_000,
        ..Limits::default()
    };
    let mut cluster = Cluster::new(1, 1, limits);
    let anna = cluster.join(0, "anna", own(1, false), None);
    cluster.set_keeper(0, is_keeper);
    let mut ops: Vec<_> = ["a", "b", "c", "d"].map(creation).into();
    let says = |name: &str, letter: char, bytes: usize| Op::ElementUpdate {
        target: id(name),
        set: [(Property::Text, Some(letter.to_string().repeat(bytes).as_str().into()))].into(),
    };
    ops.extend(["a", "b", "c"].map(|name| says(name, 'x', 200_000)));
    // Each takes the place of the one before.
    ops.extend((0..30).map(|number| says("d", if number % 2 == 0 { 'y' } else { 'z' }, 50_000)));
    let count = ops.len() as u64;
    for (seq, what) in (1..).zip(ops) {
        cluster.input(0, op(anna, seq, what));
        cluster.rest();
        cluster.tick(0, 40);
        cluster.rest();
    }
    assert_eq!(told(&cluster, anna), ((1..=count).collect(), Vec::new()));
}

#[test]
fn an_update_that_seems_too_large_has_the_board_measured() {
    for is_keeper in [true, false] {
        let refused = refused_as_too_large(is_keeper);
        assert!((1..=3).contains(&refused), "{is_keeper}: {refused}");
    }
}

/// Refusals while the same text is written over and over, on a node that writes the board's keyframes or does not.
fn refused_as_too_large(is_keeper: bool) -> usize {
    let limits = Limits {
        document_bytes_max: 1_000_000,
        ..Limits::default()
    };
    let mut cluster = Cluster::new(1, 1, limits);
    let anna = cluster.join(0, "anna", own(1, true), None);
    cluster.set_keeper(0, is_keeper);
    for (seq, name) in (1..).zip(["a", "b", "c", "d"]) {
        cluster.input(0, op(anna, seq, creation(name)));
    }
    let mut refused = 0;
    for seq in 5..40 {
        // A document of its own each time: what was refused is in none of them.
        let raw = Raw::new(100 + seq);
        raw.apply(&cluster.board(0).diff([]));
        let (name, bytes) = match seq {
            5 => ("a", 200_000),
            6 => ("b", 200_000),
            7 => ("c", 200_000),
            _ => ("d", 50_000),
        };
        let text = format!("{seq}").repeat(bytes / 2).as_str().into();
        let change = raw.set(name, &[(Property::Text, Some(text))]);
        cluster.input(0, update(anna, seq, None, change));
        cluster.rest();
        cluster.tick(0, 40);
        cluster.rest();
        let (_, errors) = told(&cluster, anna);
        assert!(
            errors.iter().all(|(_, code)| *code == ErrorCode::BoardFull),
            "{errors:?}"
        );
        refused += errors.len();
    }
    refused
}

#[test]
fn a_refused_frame_takes_no_other_with_it() {
    let mut cluster = Cluster::new(1, 1, Limits::default());
    let anna = cluster.join(0, "anna", own(1, false), None);
    let ops = [creation("a"), move_by("nobody", 1.0), move_by("a", 2.0)];
    let inputs = (1..).zip(ops).map(|(seq, what)| op(anna, seq, what));
    cluster.input(0, Input::Queued(inputs.collect()));
    cluster.rest();
    assert_eq!(told(&cluster, anna), (vec![1, 3], vec![(2, ErrorCode::NotFound)]));
    let items = cluster.board(0).items();
    assert_eq!(items[0].properties.get(Property::X), Some(&Value::Int(2)));
}

#[test]
fn a_refused_update_takes_no_other_with_it() {
    let mut cluster = Cluster::new(1, 1, Limits::default());
    let anna = cluster.join(0, "anna", own(1, true), None);
    let (raw, other) = (Raw::new(10), Raw::new(11));
    // The second one builds on what nobody has.
    other.create("b");
    let updates = [
        raw.create("a"),
        other.set("b", &[(Property::X, Some(Value::Int(1)))]),
        raw.create("c"),
    ];
    let inputs = (1..).zip(updates).map(|(seq, bytes)| update(anna, seq, None, bytes));
    cluster.input(0, Input::Queued(inputs.collect()));
    cluster.rest();
    assert_eq!(told(&cluster, anna), (vec![1, 3], vec![(2, ErrorCode::NeedsResync)]));
    assert_eq!(cluster.board(0).items().len(), 2);
}

#[test]
fn a_run_ends_where_another_gesture_kind_or_person_begins() {
    let mut cluster = Cluster::new(1, 1, Limits::default());
    let anna = cluster.join(0, "anna", own(1, true), None);
    let ben = cluster.join(0, "ben", own(2, true), None);
    let raw = Raw::new(10);
    let gestures = [None, Some(Uuid::from_u128(7)), Some(Uuid::from_u128(8))];
    let mut inputs: Vec<_> = (1..)
        .zip(gestures)
        .map(|(seq, gesture)| update(anna, seq, gesture, raw.create(&seq.to_string())))
        .collect();
    inputs.push(op(anna, 4, move_by("1", 1.0)));
    inputs.push(op(ben, 1, move_by("1", 1.0)));
    inputs.push(op(anna, 5, move_by("1", 1.0)));
    inputs.push(op(anna, 6, Op::Undo { step: None, user: None }));
    cluster.input(0, Input::Queued(inputs));
    cluster.rest();
    let seqs: Vec<_> = records(&cluster).into_iter().map(|(_, seq, _)| seq.unwrap()).collect();
    // Anna's second move overwrites her first one, so it waits, until her undo comes.
    assert_eq!(seqs, [1, 2, 3, 4, 1, 5, 6]);
}

#[test]
fn what_is_overwritten_within_a_tick_waits_for_it() {
    let mut cluster = Cluster::new(1, 1, Limits::default());
    let anna = cluster.join(0, "anna", own(1, true), None);
    let raw = Raw::new(10);
    cluster.input(0, update(anna, 1, None, raw.create("a")));
    for seq in 2..=4 {
        let x = Value::Int(i64::try_from(seq).unwrap());
        let set = raw.set("a", &[(Property::X, Some(x))]);
        cluster.input(0, update(anna, seq, None, set));
    }
    let first = |cluster: &Cluster| cluster.board(0).items()[0].properties.get(Property::X).cloned();
    assert_eq!(first(&cluster), Some(Value::Int(0)));
    cluster.tick(0, 33);
    assert_eq!(first(&cluster), Some(Value::Int(4)));
    cluster.rest();
    assert_eq!(told(&cluster, anna).0, [1, 2, 3, 4]);
    let seqs: Vec<_> = records(&cluster).into_iter().map(|(_, seq, _)| seq).collect();
    assert_eq!(seqs, [Some(1), Some(4)]);
}

#[test]
fn what_waits_goes_out_before_its_author_goes() {
    for last in [0, 1] {
        let mut cluster = Cluster::new(1, 1, Limits::default());
        let anna = cluster.join(0, "anna", own(1, true), None);
        let raw = Raw::new(10);
        cluster.input(0, update(anna, 1, None, raw.create("a")));
        let set = raw.set("a", &[(Property::X, Some(Value::Int(9)))]);
        cluster.input(0, update(anna, 2, None, set));
        if last == 0 {
            cluster.leave(0, anna);
        } else {
            // Another edit of hers takes it along.
            cluster.input(0, update(anna, 3, None, raw.create("b")));
        }
        let items = cluster.board(0).items();
        assert_eq!(items[0].properties.get(Property::X), Some(&Value::Int(9)));
    }
}

#[test]
fn a_tab_may_build_on_what_waits_for_another() {
    let mut cluster = Cluster::new(1, 1, Limits::default());
    let [one, two] = [1, 2].map(|_| cluster.join(0, "anna", Door::Yjs, None));
    let (raw, other) = (Raw::new(10), Raw::new(11));
    let message = |session, update: Vec<u8>| Input::Yjs(session, YjsMessage::Update(update.into()));
    let create = raw.create("a");
    let set = raw.set("a", &[(Property::X, Some(Value::Int(9)))]);
    // The browser brings it to the other tab before us.
    other.apply(&create);
    other.apply(&set);
    let on_top = other.set("a", &[(Property::X, Some(Value::Int(10)))]);
    for (session, update) in [(one, create), (one, set), (two, on_top)] {
        cluster.input(0, message(session, update));
    }
    let items = cluster.board(0).items();
    assert_eq!(items[0].properties.get(Property::X), Some(&Value::Int(10)));
}
