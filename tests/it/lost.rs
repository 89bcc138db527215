//! What a crash or a broken socket takes back, and who brings it again: one case each of what the simulation meets.

use std::collections::BTreeSet;

use panseo::board::guard::Owner;
use panseo::protocol::close::CloseCode;
use panseo::protocol::element::{Property, Value};
use panseo::protocol::limits::Limits;
use panseo::protocol::op::Op;

use super::support::client::{Client, Kind};
use super::support::cluster::{Cluster, user, vector};
use super::support::story::{Raw, content, creation, id};

/// A provider that shows itself by awareness, and one that does not.
const SHOWN: u64 = 5;
const UNSEEN: u64 = 6;

fn lesson() -> Cluster {
    Cluster::new(1, 1, Limits::default())
}

fn here(cluster: &mut Cluster, number: u64, kind: Kind) -> Client {
    let mut client = Client::new(number, kind);
    client.connect(cluster, 0);
    flow(cluster, &mut client);
    client
}

/// Client and server say all they have to say; nothing reaches the log.
fn flow(cluster: &mut Cluster, client: &mut Client) {
    while client.deliver(cluster) | client.pull(cluster, 100_000) {}
}

/// The node dies with all that is not durable; this client comes back first.
fn crash(cluster: &mut Cluster, client: &mut Client) {
    cluster.kill(0);
    flow(cluster, client);
    client.connect(cluster, 0);
    flow(cluster, client);
}

fn assert_same(cluster: &Cluster, client: &Client) {
    let board = cluster.board(0);
    let known: BTreeSet<_> = client.raw.vector().into_iter().collect();
    assert_eq!(known, vector(board));
    let all = Raw::new(1);
    all.apply(&board.diff([]));
    assert_eq!(content(&client.raw.doc), content(&all.doc));
}

fn moved(name: &str) -> Op {
    Op::ElementMove {
        targets: vec![id(name)],
        dx: 3.0,
        dy: 1.0,
    }
}

//
#[test]
fn a_refusal_lost_with_its_socket_is_told_again() {
    for is_killed in [false, true] {
        let mut cluster = lesson();
        let mut anna = here(&mut cluster, 0, Kind::Op);
        anna.op(moved("nowhere"));
        anna.op(creation("a"));
        while anna.deliver(&mut cluster) {}
        anna.cut(&mut cluster);
        cluster.rest();
        if is_killed {
            cluster.kill(0);
        }
        anna.connect(&mut cluster, 0);
        flow(&mut cluster, &mut anna);
        assert_eq!(anna.acked.keys().collect::<Vec<_>>(), [&2], "killed: {is_killed}");
        assert!(anna.outbox.is_empty());
    }
}

//
#[test]
fn a_difference_waits_for_what_is_held_back() {
    for ends_by_the_clock in [false, true] {
        let mut cluster = lesson();
        let mut anna = here(&mut cluster, 0, Kind::Op);
        anna.op(creation("a"));
        flow(&mut cluster, &mut anna);
        let mut readers = [Kind::Yjs, Kind::Update].map(|kind| here(&mut cluster, SHOWN, kind));
        assert!(
            readers.iter().all(|reader| reader.raw.vector().is_empty()),
            "not durable"
        );
        if ends_by_the_clock {
            cluster.tick(0, 1_000);
        } else {
            cluster.rest();
        }
        for reader in &mut readers {
            flow(&mut cluster, reader);
            assert_same(&cluster, reader);
        }
    }
}

//
#[test]
fn blocks_of_a_dead_opening_come_from_those_who_saw_them() {
    for kind in [Kind::Yjs, Kind::Update] {
        let mut cluster = lesson();
        let mut anna = here(&mut cluster, 0, Kind::Op);
        let mut ben = here(&mut cluster, SHOWN, kind);
        anna.op(creation("a"));
        flow(&mut cluster, &mut anna);
        // The log is away: after a second others see it all the same.
        cluster.tick(0, 1_000);
        flow(&mut cluster, &mut ben);
        let drawn = ben.raw.create("b");
        ben.update(drawn);
        crash(&mut cluster, &mut ben);
        cluster.rest();
        flow(&mut cluster, &mut ben);
        assert_eq!(cluster.board(0).items().len(), 2, "{kind:?}");
        assert_same(&cluster, &ben);
        anna.cut(&mut cluster);
        anna.connect(&mut cluster, 0);
        flow(&mut cluster, &mut anna);
        assert!(anna.acked.contains_key(&1), "the element is there");
        assert_eq!(cluster.board(0).items().len(), 2);
        assert_eq!(cluster.closed, []);
    }
}

#[test]
fn lost_deletes_come_back_too() {
    let mut cluster = lesson();
    let mut anna = here(&mut cluster, 3, Kind::Update);
    let mut ben = here(&mut cluster, 4, Kind::Update);
    let drawn = anna.raw.create("a");
    anna.update(drawn);
    flow(&mut cluster, &mut anna);
    flow(&mut cluster, &mut ben);
    cluster.rest();
    let removed = anna.raw.remove("a");
    anna.update(removed);
    flow(&mut cluster, &mut anna);
    cluster.tick(0, 40);
    flow(&mut cluster, &mut ben);
    crash(&mut cluster, &mut ben);
    assert_same(&cluster, &ben);
    assert_eq!(cluster.board(0).items(), []);
}

//
#[test]
fn an_id_whose_first_blocks_were_lost_returns_to_its_owner() {
    let mut cluster = lesson();
    let mut anna = here(&mut cluster, UNSEEN, Kind::Yjs);
    let mut ben = here(&mut cluster, SHOWN, Kind::Yjs);
    let drawn = anna.raw.create("a");
    anna.update(drawn);
    flow(&mut cluster, &mut anna);
    flow(&mut cluster, &mut ben);
    crash(&mut cluster, &mut ben);
    let own = anna.raw.doc.client_id().get();
    let ben_handed = Some(&Owner::User(user(&ben.name)));
    assert_eq!(cluster.board(0).index().owner(own), ben_handed);
    assert!(cluster.board(0).index().is_handed(own));
    flow(&mut cluster, &mut anna);
    anna.connect(&mut cluster, 0);
    let drawn = anna.raw.create("b");
    anna.update(drawn);
    flow(&mut cluster, &mut anna);
    cluster.rest();
    assert_eq!(
        cluster.board(0).index().owner(own),
        Some(&Owner::User(user(&anna.name)))
    );
    assert!(!cluster.board(0).index().is_handed(own));
    assert_eq!(cluster.closed, []);
    cluster.assert_equal("after all");
}

#[test]
fn a_bound_id_stays_its_owners() {
    let mut cluster = lesson();
    let mut anna = here(&mut cluster, UNSEEN, Kind::Yjs);
    let drawn = anna.raw.create("a");
    anna.update(drawn);
    flow(&mut cluster, &mut anna);
    cluster.rest();
    let mut thief = here(&mut cluster, 7, Kind::Yjs);
    thief.raw = Raw::new(anna.raw.doc.client_id().get());
    thief.raw.apply(&cluster.board(0).diff([]));
    let forged = thief.raw.create("b");
    thief.update(forged);
    flow(&mut cluster, &mut thief);
    // By an update it is refused; by a handshake, while the owner goes on under it, put off.
    thief.connect(&mut cluster, 0);
    flow(&mut cluster, &mut thief);
    let codes: Vec<_> = cluster.closed.iter().map(|(_, code)| *code).collect();
    assert_eq!(codes, [CloseCode::ForeignClient, CloseCode::NeedsResync]);
    assert_eq!(cluster.board(0).items().len(), 1);
}

#[test]
fn who_hands_over_before_the_owner_tries_again() {
    let mut cluster = lesson();
    let mut anna = here(&mut cluster, UNSEEN, Kind::Yjs);
    let mut ben = here(&mut cluster, SHOWN, Kind::Yjs);
    for name in ["a", "b"] {
        let drawn = anna.raw.create(name);
        anna.update(drawn);
        flow(&mut cluster, &mut anna);
        flow(&mut cluster, &mut ben);
        if name == "a" {
            cluster.rest();
        }
    }
    cluster.kill(0);
    flow(&mut cluster, &mut anna);
    anna.connect(&mut cluster, 0);
    come_back(&mut cluster, &mut ben);
    assert_eq!(cluster.closed.pop().map(|(_, code)| code), Some(CloseCode::NeedsResync));
    flow(&mut cluster, &mut anna);
    come_back(&mut cluster, &mut ben);
    assert_same(&cluster, &ben);
    assert_eq!(cluster.board(0).items().len(), 2);
    assert_eq!(cluster.closed, []);
}

/// The client connects anew.
fn come_back(cluster: &mut Cluster, client: &mut Client) {
    client.cut(cluster);
    client.connect(cluster, 0);
    flow(cluster, client);
}

#[test]
fn what_lost_against_something_held_back_is_held_back_too() {
    for seed in 1..=8 {
        let mut cluster = Cluster::new(seed, 2, Limits::default());
        let mut ben = Client::new(SHOWN, Kind::Yjs);
        cluster.ask(0, "anna", None, creation("a"));
        cluster.rest();
        ben.connect(&mut cluster, 1);
        flow(&mut cluster, &mut ben);
        let put = |x| Op::ElementUpdate {
            target: id("a"),
            set: [(Property::X, Some(Value::Int(x)))].into_iter().collect(),
        };
        cluster.ask(1, "cho", None, put(1));
        cluster.ask(0, "anna", None, put(2));
        while cluster.write(0, None) | cluster.hear(0) | cluster.read(1) {}
        flow(&mut cluster, &mut ben);
        cluster.kill(1);
        flow(&mut cluster, &mut ben);
        ben.connect(&mut cluster, 0);
        flow(&mut cluster, &mut ben);
        cluster.rest();
        assert_same(&cluster, &ben);
        assert_eq!(cluster.closed, [], "seed {seed}");
    }
}
