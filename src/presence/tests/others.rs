use crate::protocol::codec;
use crate::protocol::ids::RecordId;

use super::super::others::Unshown;
use super::*;

const HERE: u64 = 100;
const THERE: u64 = 200;

/// Two rooms of a board on two nodes: Alice (Yjs) and Bob on one, Carol on the other.
struct Two {
    here: Presence,
    there: Presence,
    now: u64,
    /// Messages by lane so far.
    said: BTreeMap<&'static str, usize>,
    unshown: Unshown,
}

fn shared(room: u64) -> Presence {
    let mut presence = presence();
    presence.share(room);
    presence
}

/// One entry with small numbers, as all entries here are.
fn walk(update: &[u8]) -> Option<Vec<(u64, u32, &str)>> {
    let [1, client, clock, length, text @ ..] = update else {
        return None;
    };
    let text = std::str::from_utf8(text).ok()?;
    (text.len() == usize::from(*length)).then(|| vec![(u64::from(*client), u32::from(*clock), text)])
}

impl Two {
    fn new() -> Self {
        let mut two = Self {
            here: shared(HERE),
            there: shared(THERE),
            now: 0,
            said: BTreeMap::new(),
            unshown: Unshown::default(),
        };
        two.here.join(at(0), person(ALICE, "alice"), Door::Yjs);
        two.here.join(at(0), person(BOB, "bob"), Door::Own);
        two.there.join(at(0), person(CAROL, "carol"), Door::Own);
        two
    }

    fn time(&self) -> Timestamp {
        at(self.now)
    }

    /// A tick of both; what they say arrives at once. Gives what people there are told.
    fn tick(&mut self, ms: u64) -> Tick {
        self.now += ms;
        let tick = self.here.tick(self.time());
        self.carry(&tick);
        let tick = self.there.tick(self.time());
        self.carry(&tick);
        tick
    }

    fn carry(&mut self, tick: &Tick) {
        for (lane, relayed) in &tick.relayed {
            *self.said.entry(lane.name()).or_default() += 1;
            let bytes = codec::pack(relayed);
            assert!(
                bytes.len() < 256 * 1024,
                "{} bytes are above what the topic takes",
                bytes.len()
            );
            self.arrives(&codec::unpack(&bytes).unwrap());
        }
    }

    fn arrives(&mut self, relayed: &Relayed) {
        let now = self.time();
        for presence in [&mut self.here, &mut self.there] {
            let unshown = presence.relayed(now, relayed, walk);
            self.unshown.old += unshown.old;
            self.unshown.unknown += unshown.unknown;
            self.unshown.refused += unshown.refused;
        }
    }

    /// Until both have asked and answered.
    fn settle(&mut self) {
        for _ in 0..10 {
            self.tick(33);
        }
    }

    fn bob_shows(&mut self, kind: &str, gesture: Option<u128>, data: Json) {
        let now = self.time();
        self.here.ephemeral(now, BOB, ephemeral(kind, gesture, data)).unwrap();
    }

    /// What a client of our own door would be shown there that comes now.
    fn seen_there(&self) -> Vec<(u64, String)> {
        kinds(self.there.snapshot_ephemeral())
    }
}

#[test]
fn people_of_another_node_are_shown_at_both_doors_until_they_leave() {
    let mut two = Two::new();
    shows(&mut two.here, ALICE, ALICE_CLIENT, 1, r#"{"tool":"pen"}"#);
    two.settle();
    two.bob_shows("pointer", None, json!({"x": 1, "y": 2}));
    let pointer = (BOB.0, "pointer".to_owned(), json!({"x": 1, "y": 2}));
    assert_eq!(told(two.tick(33).ephemeral), [pointer]);
    let seen = two.seen_there();
    for (session, kind) in [(ALICE, "awareness"), (BOB, "join"), (BOB, "pointer"), (CAROL, "join")] {
        assert!(
            seen.contains(&(session.0, kind.to_owned())),
            "{kind} of {session:?} in {seen:?}"
        );
    }
    let mut reader = Reader::default();
    reader.read(two.there.snapshot_awareness());
    let users: BTreeSet<_> = reader
        .states
        .values()
        .map(|state| state["user"]["id"].to_string())
        .collect();
    assert_eq!(users, ["\"alice\"", "\"bob\"", "\"carol\""].map(str::to_owned).into());
    assert_eq!(reader.states[&ALICE_CLIENT]["tool"], "pen");
    // A Yjs client that hides itself, and a person who goes.
    shows(&mut two.here, ALICE, ALICE_CLIENT, 2, "null");
    two.here.leave(two.time(), BOB);
    let tick = two.tick(33);
    reader.read(tick.awareness);
    assert_eq!(reader.states.len(), 1, "{:?}", reader.states);
    let left: BTreeSet<_> = kinds(tick.ephemeral).into_iter().collect();
    assert_eq!(left, [(1, "leave".to_owned()), (2, "leave".to_owned())].into());
    assert_eq!(two.unshown, Unshown::default());
}

#[test]
fn what_is_shown_goes_out_only_while_somebody_is_elsewhere() {
    let mut two = Two::new();
    two.there.leave(at(0), CAROL);
    let move_on = |two: &mut Two, seconds: u64| {
        for x in 0..seconds * 10 {
            two.bob_shows("pointer", None, json!({"x": x, "y": 2}));
            two.tick(100);
        }
    };
    move_on(&mut two, 30);
    assert_eq!(two.said.get("cursors"), None);
    assert!(two.said["presence"] < 12, "{:?}", two.said);
    let carol = person(CAROL, "carol");
    two.there.join(two.time(), carol, Door::Own);
    move_on(&mut two, 2);
    let count = two.said["cursors"];
    assert!((15..=20).contains(&count), "one message a tick: {count}");
    two.there.leave(two.time(), CAROL);
    two.tick(33);
    move_on(&mut two, 2);
    assert!(two.said["cursors"] <= count + 1, "{:?}", two.said);
    assert!(two.seen_there().is_empty());
}

#[test]
fn no_piece_of_a_stroke_is_lost_or_there_twice() {
    let mut two = Two::new();
    two.settle();
    let piece = |number: usize| json!({ "n": number });
    let mut heard = Vec::new();
    for number in 0..60 {
        two.bob_shows("stroke", Some(7), piece(number));
        if number % 5 == 4 {
            let tick = two.tick(33);
            heard.extend(told(tick.ephemeral).into_iter().map(|(_, _, data)| data));
        }
        if number == 30 {
            // A question in between is answered with the whole stroke.
            let now = two.time();
            let asks = Relayed {
                room: THERE,
                asks: true,
                sent: now,
                here: vec![crate::protocol::relay::Present {
                    session: CAROL,
                    user: UserId::new("carol").unwrap(),
                    name: None,
                    is_yjs: false,
                }],
                ..Relayed::default()
            };
            two.arrives(&asks);
        }
    }
    assert_eq!(heard, (0..60).map(piece).collect::<Vec<_>>());
    // Who comes to a third node gets what there is so far.
    let mut third = shared(300);
    let dan = person(SessionId(4), "dan");
    third.join(two.time(), dan, Door::Own);
    let asked = third.tick(two.time());
    let now = two.time();
    for (_, relayed) in &asked.relayed {
        two.here.relayed(now, relayed, walk);
    }
    for (_, relayed) in &two.here.tick(now).relayed {
        third.relayed(now, relayed, walk);
    }
    let strokes = kinds(third.snapshot_ephemeral());
    assert_eq!(
        strokes.iter().filter(|(_, kind)| kind == "stroke").count(),
        0,
        "told with the tick"
    );
    let strokes = kinds(third.tick(now).ephemeral);
    assert_eq!(strokes.iter().filter(|(_, kind)| kind == "stroke").count(), 60);
}

#[test]
fn what_a_record_has_ended_does_not_come_back_behind_it() {
    let mut two = Two::new();
    two.settle();
    let gesture = GestureId::from_u128(7);
    two.bob_shows("stroke", Some(7), json!({"n": 0}));
    two.tick(33);
    // One more piece, then the record; that arrives first.
    two.bob_shows("stroke", Some(7), json!({"n": 1}));
    two.now += 33;
    let late = two.here.tick(two.time());
    two.here.committed(BOB, gesture);
    two.there.committed_elsewhere(gesture, RecordId(HERE, 1));
    two.carry(&late);
    let is_stroke = |(_, kind): &(u64, String)| kind == "stroke";
    assert!(!kinds(two.tick(33).ephemeral).iter().any(is_stroke));
    assert!(!two.seen_there().iter().any(is_stroke));
    // The same gesture goes on after that record.
    two.bob_shows("stroke", Some(7), json!({"n": 2}));
    two.now += 33;
    let mut next = two.here.tick(two.time());
    next.relayed.iter_mut().for_each(|(_, relayed)| relayed.number = 1);
    two.carry(&next);
    assert!(kinds(two.tick(1).ephemeral).iter().any(is_stroke));
}

#[test]
fn people_of_a_lost_node_go_after_the_grace_and_come_back_with_it() {
    let mut two = Two::new();
    two.settle();
    let silence = two.now;
    let mut gone = None;
    while gone.is_none() {
        two.now += 500;
        let now = two.time();
        if kinds(two.there.tick(now).ephemeral).contains(&(BOB.0, "leave".into())) {
            gone = Some(two.now - silence);
        }
        assert!(two.now < silence + 60_000);
    }
    assert!(
        (20_000..=30_500).contains(&gone.unwrap()),
        "{gone:?} after the silence began"
    );
    let now = two.time();
    let back = two.here.tick(now);
    two.carry(&back);
    assert!(two.seen_there().contains(&(BOB.0, "join".into())));
}

#[test]
fn what_other_nodes_show_is_checked_like_what_clients_send() {
    let mut two = Two::new();
    two.settle();
    let state = |session: SessionId, kind: &str, data: Json| EphemeralState {
        session,
        user: UserId::new("bob").unwrap(),
        kind: kind.to_owned(),
        gesture: None,
        data: data.into(),
    };
    let mut deep = json!(1);
    for _ in 0..40 {
        deep = json!([deep]);
    }
    let bad = [
        state(BOB, "join", json!({})),
        state(BOB, "pointer", json!({"x": "far"})),
        state(BOB, "drag", json!("x".repeat(9_000))),
        state(BOB, "drag", deep),
        state(BOB, &"k".repeat(40), json!(1)),
    ];
    let count = bad.len();
    let mut relayed = Relayed {
        room: HERE,
        sent: two.time(),
        states: bad.into(),
        ..Relayed::default()
    };
    two.arrives(&relayed);
    assert_eq!(two.unshown.refused, count);
    // Of somebody who is not there, or is another room's.
    relayed.states = vec![state(SessionId(9), "drag", json!(1)), state(CAROL, "drag", json!(1))];
    relayed.awareness = vec![(ALICE, vec![1, 7, 200].into())];
    relayed.left = vec![CAROL];
    two.arrives(&relayed);
    assert_eq!((two.unshown.refused, two.unshown.unknown), (count + 1, 2));
    let told = two.tick(33);
    assert_eq!(kinds(told.ephemeral), []);
    assert!(two.there.people().any(|person| person.session == CAROL));
}

#[test]
fn old_states_are_not_shown_and_clocks_may_differ() {
    let mut two = Two::new();
    two.settle();
    let hour = 3_600_000;
    let mut relayed = Relayed {
        room: 300,
        sent: Timestamp(two.time().0 + hour),
        here: vec![crate::protocol::relay::Present {
            session: SessionId(9),
            user: UserId::new("dan").unwrap(),
            name: None,
            is_yjs: false,
        }],
        ..Relayed::default()
    };
    two.arrives(&relayed);
    relayed.here.clear();
    let mut is_shown = |two: &mut Two, age: u64, x: u64| {
        relayed.sent = Timestamp(two.time().0 + hour - age);
        relayed.states = vec![EphemeralState {
            session: SessionId(9),
            user: UserId::new("dan").unwrap(),
            kind: "pointer".into(),
            gesture: None,
            data: json!({"x": x, "y": 1}).into(),
        }];
        two.arrives(&relayed);
        kinds(two.tick(33).ephemeral).contains(&(9, "pointer".into()))
    };
    assert!(is_shown(&mut two, 0, 1));
    assert!(is_shown(&mut two, 1_900, 2));
    assert!(!is_shown(&mut two, 2_100, 3));
    assert_eq!(two.unshown.old, 2, "at both nodes");
}

#[test]
fn a_large_audience_is_told_in_parts() {
    let mut two = Two::new();
    for number in 10..3_010 {
        let mut person = person(SessionId(number), &format!("student-{number}"));
        person.name = Some("A name that is not short at all".repeat(3));
        two.here.join(at(0), person, Door::Own);
    }
    two.settle();
    assert_eq!(two.there.people().len(), 3_003);
    assert!(two.said["presence"] > 5, "{:?}", two.said);
}
