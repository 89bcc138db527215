//! Peers that are slow, dead or pretend to be others, and the end of the server itself.

use std::process::Command;
use std::time::Duration;

use futures_util::SinkExt as _;
use panseo::protocol::ServerFrame;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, interval, timeout};
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as WsFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use uuid::Uuid;
use yrs::{Map as _, Transact as _, WriteTxn as _};

use super::{acknowledged, element};
use crate::support::hostile::document;
use crate::support::live::{SOON, Server, Socket, hello, var, y};
use crate::support::soon::until;

async fn left(watcher: &mut Socket, user: &str) {
    watcher
        .find(|frame| match frame {
            ServerFrame::Ephemeral { states } => states
                .iter()
                .any(|state| state.kind == "leave" && state.user.as_str() == user)
                .then_some(()),
            _ => None,
        })
        .await;
}

/// Updates of 200 KB each; the one value they all write is the only one that stays.
fn large_updates(client: u64, count: usize) -> Vec<Vec<u8>> {
    let doc = document(client);
    let write = |number: usize| {
        let mut txn = doc.transact_mut();
        txn.get_or_insert_map("another")
            .insert(&mut txn, "k", format!("{number}{}", "x".repeat(200_000)));
        txn.commit();
        txn.encode_update_v1()
    };
    (0..count).map(write).collect()
}

async fn flood(server: &Server, board: &str, client: u64, count: usize) {
    let mut writer = server.yjs(&format!("{board}?user=writer")).await;
    for update in large_updates(client, count) {
        writer.binary(y(&[0, 2], &update)).await;
    }
    writer.binary(y(&[0, 0], &[0])).await;
    writer.find_y(&[0, 1]).await;
}

// [R-10]
#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_after_the_upgrade_is_sent_away() {
    let server = Server::open("handshake_timeout_ms = 300");
    let mut silent = server
        .upgrade("/v1/boards/x/ws", Some("panseo.v1.json"))
        .await
        .expect("the door opens");
    assert_eq!(silent.closed().await, 4508);
}

// [R-10]
#[tokio::test(flavor = "multi_thread")]
async fn pings_before_the_greeting_are_no_messages() {
    let server = Server::open("");
    let mut socket = server
        .upgrade("/v1/boards/x/ws", Some("panseo.v1.json"))
        .await
        .expect("the door opens");
    for control in [Message::Ping("a".into()), Message::Pong("b".into())] {
        socket.0.send(control).await.unwrap();
    }
    socket.frame(&hello(Uuid::now_v7())).await;
    socket
        .find(|frame| matches!(frame, ServerFrame::Welcome { .. }).then_some(()))
        .await;
}

// [R-62], [R-77]
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_peer_is_dropped_and_its_presence_goes() {
    let server = Server::open("ping_interval_ms = 200\nidle_timeout_ms = 1000");
    let mut watcher = server.own("ghosts", "user=watcher", Uuid::now_v7()).await;
    // Nobody reads this one, so nobody answers the pings.
    let _dead = server.own("ghosts", "user=ghost", Uuid::now_v7()).await;
    let begin = Instant::now();
    left(&mut watcher, "ghost").await;
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

// [R-62]
#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_take_longer_than_a_dead_peer_is_waited_for() {
    let server = Server::open("ping_interval_ms = 200\nidle_timeout_ms = 1000");
    let mut slow = server.own("slow", "user=slow", Uuid::now_v7()).await;
    let op = json!({ "t": "op", "seq": 1, "ops": [element("large")] }).to_string();
    let parts: Vec<_> = op.as_bytes().chunks(op.len() / 8).collect();
    let mut pace = interval(Duration::from_millis(300));
    for (number, part) in parts.iter().enumerate() {
        // Nothing is read meanwhile, so no ping is answered.
        pace.tick().await;
        let kind = if number == 0 { Data::Text } else { Data::Continue };
        let is_last = number + 1 == parts.len();
        let frame = WsFrame::message(part.to_vec(), OpCode::Data(kind), is_last);
        slow.0.send(Message::Frame(frame)).await.unwrap();
    }
    acknowledged(&mut slow, 1).await;
}

// [R-76]
#[tokio::test(flavor = "multi_thread")]
async fn awareness_shows_who_it_is_and_only_of_oneself() {
    let server = Server::open("");
    let awareness = |clock: usize, state: &str| {
        y(
            &[1],
            &[var(1), var(1_234), var(clock), y(&[], state.as_bytes())].concat(),
        )
    };
    let mut ben = server.yjs("who?user=ben").await;
    let mut anna = server.yjs("who?user=anna").await;
    anna.binary(awareness(1, r#"{"user":{"name":"A","id":"teacher"},"mark":"first"}"#))
        .await;
    let shown = String::from_utf8_lossy(&ben.find_y(&[1]).await).into_owned();
    assert!(
        shown.contains(r#""id":"anna""#) && shown.contains("first") && !shown.contains("teacher"),
        "{shown}"
    );
    ben.binary(awareness(9, r#"{"mark":"forged"}"#)).await;
    ben.binary(y(&[0, 0], &[0])).await;
    ben.find_y(&[0, 1]).await;
    assert!((server.metric("panseo_awareness_drops_total").await - 1.0).abs() < 0.5);
    anna.binary(awareness(2, r#"{"mark":"second"}"#)).await;
    let shown = String::from_utf8_lossy(&ben.find_y(&[1]).await).into_owned();
    assert!(shown.contains("second") && !shown.contains("forged"), "{shown}");
}

// [R-60]
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_brought_level_with_one_difference() {
    const WRITES: usize = 150;
    let server = Server::start(
        &["--auth", "open", "--no-rate-limits"],
        "unsent_bytes_max = 4000000\npending_bytes_board_max = 100000000",
    );
    let mut slow = server
        .upgrade("/v1/boards/slow/ws?user=slow", Some("panseo.v1.json"))
        .await
        .expect("the door opens");
    let hello = json!({ "t": "hello", "client": Uuid::now_v7(), "document": true });
    slow.text(&hello.to_string()).await;
    slow.find(|frame| matches!(frame, ServerFrame::Resync { .. }).then_some(()))
        .await;
    flood(&server, "slow", 21, WRITES).await;
    let mut events = 0;
    let update = slow
        .find(|frame| {
            if let ServerFrame::Resync { update, .. } = frame {
                Some(update.expect("a client with a document gets an update"))
            } else {
                events += 1;
                None
            }
        })
        .await;
    assert!(events < 2 * WRITES, "{events}");
    assert!(
        update.0.len() < 400_000,
        "a difference, not a backlog: {} bytes",
        update.0.len()
    );
    // A writer that outruns the sockets' buffers may bring it level some times more before it stands still.
    let levels = server.metric("panseo_levels_total").await;
    assert!((1.0..10.0).contains(&levels), "{levels}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_given_up() {
    const STALL: Duration = Duration::from_millis(300);
    let server = Server::start(
        &["--auth", "open", "--no-rate-limits"],
        "write_stall_ms = 300\nunsent_bytes_max = 4000000\npending_bytes_board_max = 100000000",
    );
    let mut stuck = server.yjs("stuck?user=stuck").await;
    let mut client = 21;
    // How much the system takes for a socket that nobody reads is its own affair.
    let mut flooded = None::<Instant>;
    until("the reader that takes nothing is given up", async || {
        // More only once the stall would have been noticed: a board has its limit, too.
        if flooded.is_none_or(|at| at.elapsed() > 3 * STALL) {
            flood(&server, "stuck", client, 30).await;
            client += 1;
            flooded = Some(Instant::now());
        }
        server.metric("panseo_closes_total{code=\"1013\"}").await >= 1.0
    })
    .await;
    // The reason comes through only where the far end reads again in time.
    let code = stuck.closed().await;
    assert!(code == 1013 || code == 0, "{code}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_slowly_is_not_given_up() {
    const VALUES: usize = 60;
    const VALUE_BYTES: usize = 200_000;
    let server = Server::start(
        &["--auth", "open", "--no-rate-limits"],
        "write_stall_ms = 1000\npending_bytes_board_max = 100000000",
    );
    let doc = document(31);
    let mut writer = server.yjs("slowly?user=writer").await;
    for number in 0..VALUES {
        let mut txn = doc.transact_mut();
        let value = "x".repeat(VALUE_BYTES);
        txn.get_or_insert_map("another")
            .insert(&mut txn, format!("k{number}"), value);
        txn.commit();
        writer.binary(y(&[0, 2], &txn.encode_update_v1())).await;
    }
    let mut slow = server.yjs("slowly?user=slow").await;
    slow.binary(y(&[0, 0], &[0])).await;
    let MaybeTlsStream::Plain(stream) = slow.0.get_mut() else {
        panic!("a test speaks in clear");
    };
    // 4 MB a second: all of it in one message takes the server several times as long as a socket may stand still.
    let mut pace = interval(Duration::from_millis(50));
    let (mut taken, mut buffer) = (0, vec![0; VALUE_BYTES]);
    while taken < VALUES * VALUE_BYTES {
        pace.tick().await;
        let count = timeout(SOON, stream.read(&mut buffer)).await.expect("more comes");
        let count = count.expect("the connection stands");
        assert!(count > 0, "the connection ended after {taken} bytes");
        taken += count;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_goodbye_and_ends_in_time() {
    let mut server = Server::open("");
    let mut sockets = Vec::new();
    for number in 0..20 {
        sockets.push(server.yjs(&format!("end-{number}")).await);
        sockets.push(server.own("end", "", Uuid::now_v7()).await);
    }
    assert!(server.is_alive());
    let begin = Instant::now();
    let pid = server.child.id().to_string();
    Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .expect("the signal can be sent");
    for socket in &mut sockets {
        assert_eq!(socket.closed().await, 1012);
    }
    let status = tokio::task::block_in_place(|| server.child.wait()).expect("the server can be waited for");
    assert!(status.success(), "{status}");
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}
