//! What the way between nodes promises, on every adapter; and what becomes of it while brokers are away.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use panseo::log::memory::MemoryLog;
use panseo::log::{Relay, UpdateLog as _};
use panseo::protocol::ids::{BoardId, SessionId};
use panseo::protocol::notice::Notice;
use panseo::protocol::relay::{Lane, Relayed};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::samples::board;
use crate::support::kafka::Broker;
use crate::support::soon::until;

const SOON: Duration = Duration::from_secs(30);

type Way = Arc<dyn Relay>;

fn deleted(name: &str) -> Notice {
    Notice::Deleted { board: board(name) }
}

/// A message of a room, told apart by its number.
fn said(room: u64, number: u64) -> Relayed {
    Relayed {
        room,
        number,
        left: vec![SessionId(number)],
        ..Relayed::default()
    }
}

async fn next<T>(receiver: &mut mpsc::Receiver<T>) -> T {
    let next = timeout(SOON, receiver.recv()).await.expect("it comes in time");
    next.expect("the way is open")
}

/// Says something until it is heard: reading begins about when it is asked for. Gives its number.
async fn heard(way: &Way, board: &BoardId, lane: Lane, room: u64, reader: &mut mpsc::Receiver<Arc<Relayed>>) -> u64 {
    let deadline = Instant::now() + SOON;
    for number in 1.. {
        way.show(board, lane, &said(room, number));
        if let Ok(Some(relayed)) = timeout(Duration::from_millis(200), reader.recv()).await {
            assert_eq!(relayed.room, room);
            return relayed.number;
        }
        assert!(Instant::now() < deadline, "nothing is heard on {lane:?}");
    }
    unreachable!("numbers do not end")
}

async fn keeps_its_promises(one: Way, two: Way) {
    let (mut here, mut there) = (one.notices().unwrap(), two.notices().unwrap());
    assert!(one.notices().is_none(), "there is one receiver");
    for name in ["a", "b", "c"] {
        timeout(SOON, one.tell(deleted(name))).await.unwrap().unwrap();
    }
    for name in ["a", "b", "c"] {
        assert_eq!(next(&mut here).await, deleted(name), "to this node, too");
        assert_eq!(next(&mut there).await, deleted(name));
    }
    // Who watches hears both lanes, so each has boards of its own.
    for (lane, maths, music) in [(Lane::Presence, "maths", "music"), (Lane::Cursors, "history", "sports")] {
        let (maths, music) = (board(maths), board(music));
        let mut own = one.watch(&maths, 1);
        let mut other = two.watch(&maths, 2);
        let mut elsewhere = two.watch(&music, 3);
        let first = heard(&one, &maths, lane, 1, &mut other).await;
        // What was said meanwhile, and then all in order.
        one.show(&maths, lane, &said(1, 1_000));
        one.show(&maths, lane, &said(1, 1_001));
        let mut last = first;
        while last < 1_001 {
            let number = next(&mut other).await.number;
            assert!(number > last);
            last = number;
        }
        assert!(elsewhere.try_recv().is_err(), "it is about another board");
        if lane == Lane::Presence {
            heard(&one, &maths, lane, 1, &mut own).await;
        } else {
            assert!(own.try_recv().is_err(), "what it shows is not told to itself");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_a_log_in_memory_hear_each_other() {
    let log = MemoryLog::new(7);
    assert!(log.relay().is_none(), "a node alone has nobody to tell");
    let (one, two) = (log.node(), log.node());
    keeps_its_promises(one.relay().unwrap(), two.relay().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_over_kafka_hear_each_other() {
    let Some(broker) = Broker::real() else { return };
    let (one, two) = (broker.log().await, broker.log().await);
    keeps_its_promises(one.relay().unwrap(), two.relay().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notices_of_which_nothing_comes_are_read_anew() {
    let (cluster, broker, log) = crate::kafka_log::imitated().await;
    let relay = log.relay().unwrap();
    let mut here = relay.notices().unwrap();
    relay.tell(deleted("a")).await.unwrap();
    assert_eq!(next(&mut here).await, deleted("a"));
    // The broker sends the consumer to one that is not there.
    let control = format!("{}.control.v1", broker.settings.prefix);
    cluster.partition_follower(&control, 0, 7).unwrap();
    relay.tell(deleted("b")).await.unwrap();
    relay.tell(deleted("c")).await.unwrap();
    until("they are read anew", async || log.read_again() > 0).await;
    assert!(here.try_recv().is_err());
    cluster.partition_follower(&control, 0, -1).unwrap();
    for name in ["b", "c"] {
        assert_eq!(next(&mut here).await, deleted(name), "none is left out");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_is_told_once_brokers_are_back_and_nothing_else_waits() {
    let (cluster, broker, one) = crate::kafka_log::imitated().await;
    let two = panseo::log::kafka::KafkaLog::start(broker.settings.clone(), 7)
        .await
        .unwrap();
    let (one, two) = (one.relay().unwrap(), two.relay().unwrap());
    let mut there = two.notices().unwrap();
    cluster.broker_down(1).unwrap();
    let mut telling = one.tell(deleted("a"));
    let (maths, since) = (board("maths"), Instant::now());
    // More than the queue holds.
    for number in 0..6_000 {
        one.show(&maths, Lane::Cursors, &said(1, number));
    }
    assert!(since.elapsed() < Duration::from_secs(2), "showing never waits");
    assert!((&mut telling).now_or_never().is_none());
    cluster.broker_up(1).unwrap();
    timeout(SOON, telling).await.unwrap().unwrap();
    assert_eq!(next(&mut there).await, deleted("a"));
}
