//! What a node does when it cannot go on: a disk without room, a board that does not come back from its work.

use std::process::Command;
use std::time::Duration;

use panseo::protocol::ids::Role;
use panseo::protocol::{ErrorCode, ServerFrame};
use tokio::net::TcpStream;
use tokio::time::Instant;
use uuid::Uuid;
use yrs::{Map as _, Transact as _, WriteTxn as _};

use super::{acknowledged, element, refused};
use crate::support::hostile::document;
use crate::support::live::{Server, upgrade, y};

/// What the server may make a file grow to; a disk without room answers in the same way. Its own log is a file, too.
fn limit_files(server: &Server, bytes: &str) {
    let limited = Command::new("prlimit")
        .args(["--pid", &server.child.id().to_string()])
        .arg(format!("--fsize={bytes}:unlimited"))
        .status()
        .expect("prlimit is part of util-linux");
    assert!(limited.success());
}

#[tokio::test(flavor = "multi_thread")]
// [R-38]
async fn without_room_on_the_disk_boards_are_read_only_until_there_is_some() {
    // The signal that would end the process is ignored, and stays so behind `exec`.
    let launcher = ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""];
    let mut server = Server::start_by(&launcher, &["--auth", "open"], "");
    let client = Uuid::now_v7();
    let mut own = server.own("lesson", "", client).await;
    own.op(1, element("one")).await;
    acknowledged(&mut own, 1).await;
    // Nothing is left in the journal then that would be moved before the next op comes, and find out first.
    server.restart();
    let mut own = server.own("lesson", "", client).await;

    limit_files(&server, "0");
    own.op(2, element("two")).await;
    let mut is_acknowledged = false;
    own.find(|frame| match frame {
        ServerFrame::Role { role: Role::Viewer, .. } => Some(()),
        ServerFrame::Ack { .. } => {
            is_acknowledged = true;
            None
        }
        _ => None,
    })
    .await;
    assert!(!is_acknowledged, "nothing is acknowledged that is not on the disk");
    own.op(3, element("three")).await;
    assert_eq!(refused(&mut own).await, (ErrorCode::ReadOnly, Some(3)));
    assert_eq!(server.request("GET", "/health/ready", "", "").await.0, 503);

    limit_files(&server, "unlimited");
    acknowledged(&mut own, 2).await;
    own.op(4, element("four")).await;
    acknowledged(&mut own, 4).await;
    assert_eq!(server.request("GET", "/health/ready", "", "").await.0, 200);
    server.restart();
    let (_, state) = server.request("GET", "/v1/boards/lesson/state", "", "").await;
    let has = |id: &str| state.contains(&format!(r#""id":"{id}""#));
    assert!(has("one") && has("two") && has("four") && !has("three"), "{state}");
}

/// An update as heavy as one may be.
fn heavy(client: u64) -> Vec<u8> {
    let doc = document(client);
    let mut txn = doc.transact_mut();
    let map = txn.get_or_insert_map("another");
    for number in 0..60_000 {
        map.insert(&mut txn, format!("{client}-{number}"), number);
    }
    txn.commit();
    txn.encode_update_v1()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_that_does_not_come_back_ends_the_node_and_takes_no_other_along() {
    let mut server = Server::open("apply_hard_ms = 50");
    let mut own = server.own("lesson", "", Uuid::now_v7()).await;
    own.op(1, element("kept")).await;
    acknowledged(&mut own, 1).await;
    let begin = Instant::now();
    let mut client = 100;
    while server.is_alive() {
        assert!(begin.elapsed() < Duration::from_mins(1), "the node goes on");
        client += 1;
        // Where the node has begun to end there is nobody to send to.
        if let Ok(stream) = TcpStream::connect(server.address).await {
            drop(stream);
            let path = format!("/yjs/stuck-{client}");
            let address = server.address;
            // It may begin to end in between.
            let opened = tokio::spawn(async move { upgrade(address, &path, None).await });
            let Ok(Ok(mut socket)) = opened.await else { continue };
            socket.binary(y(&[0, 2], &heavy(client))).await;
            socket.closed().await;
        }
    }
    assert_eq!(own.closed().await, 1012, "others are told to come back");
    let status = server.child.wait().expect("it has ended");
    assert_eq!(status.code(), Some(1));
    assert!(server.log().contains("One input keeps a room"), "{}", server.log());
    server.restart();
    let (_, state) = server.request("GET", "/v1/boards/lesson/state", "", "").await;
    assert!(state.contains(r#""id":"kept""#), "{state}");
}
