//! Each limit and each row of the threat table that one machine can show, as a story against the real binary.

mod access;
mod content;
mod load;
mod node;
mod pace;
mod tokens;

use panseo::protocol::{ClientFrame, ErrorCode, ServerFrame};
use serde_json::json;
use uuid::Uuid;
use yrs::updates::encoder::Encode as _;
use yrs::{Any, Map as _, MapPrelim, ReadTxn as _, Transact as _, WriteTxn as _};

use crate::support::hostile::document;
use crate::support::live::{Server, Socket, head, payload, var, y};

pub(crate) fn element(id: &str) -> serde_json::Value {
    json!({ "op": "element.create", "element": { "id": id, "type": "rectangle", "x": 0, "y": 0, "width": 9, "height": 9 } })
}

/// Updates of one Yjs client, each an element more.
pub(crate) fn updates(client: u64, count: usize) -> Vec<Vec<u8>> {
    let doc = document(client);
    let draw = |number: usize| {
        let mut txn = doc.transact_mut();
        let values = [
            ("type", Any::from("line")),
            ("x", 1.into()),
            ("y", 2.into()),
            ("pos", "a0".into()),
        ];
        txn.get_or_insert_map("board:elements").insert(
            &mut txn,
            format!("e{client}-{number}"),
            MapPrelim::from(values),
        );
        txn.commit();
        txn.encode_update_v1()
    };
    (0..count).map(draw).collect()
}

/// What the board tells a newcomer: all of it.
async fn content(server: &Server, board: &str) -> Vec<u8> {
    let mut socket = server.yjs(board).await;
    socket.binary(y(&[0, 0], &[0])).await;
    let answer = socket.find_y(&[0, 1]).await;
    payload(&answer, 2).to_vec()
}

pub(crate) async fn refused(socket: &mut Socket) -> (ErrorCode, Option<u64>) {
    socket
        .find(|frame| match frame {
            ServerFrame::Error { code, seq, .. } => Some((code, seq)),
            _ => None,
        })
        .await
}

pub(crate) async fn acknowledged(socket: &mut Socket, until: u64) {
    socket
        .find(|frame| matches!(frame, ServerFrame::Ack { seq, .. } if seq >= until).then_some(()))
        .await;
}

/// The close code that one frame on the Yjs door brings.
async fn fate(server: &Server, frame: Vec<u8>) -> u16 {
    let mut socket = server.yjs("fates").await;
    socket.binary(frame).await;
    socket.closed().await
}

//
#[tokio::test(flavor = "multi_thread")]
async fn frames_of_the_wrong_kind_or_form_end_the_connection() {
    let server = Server::open("");
    let mut socket = server.yjs("fates").await;
    socket.text("hello").await;
    assert_eq!(socket.closed().await, 1003);
    let step = y(&[0, 0], &[0]);
    assert_eq!(
        fate(&server, [step.clone(), step].concat()).await,
        4400,
        "two messages in a frame"
    );
    assert_eq!(fate(&server, vec![9]).await, 4400, "unknown tag");
    assert_eq!(fate(&server, vec![2, 0]).await, 4400, "auth messages are the server's");
    assert_eq!(fate(&server, y(&[0, 7], &[0])).await, 4400, "unknown step");
    assert_eq!(fate(&server, vec![3, 3]).await, 4400, "trailing bytes");
    let many = [var(60_000), vec![1]].concat();
    assert_eq!(
        fate(&server, y(&[0, 0], &many)).await,
        4400,
        "state vector with more than it has"
    );
    assert_eq!(
        fate(&server, y(&[0, 2], &many)).await,
        4400,
        "update with more than it has"
    );
    assert_eq!(
        fate(&server, y(&[1], &many)).await,
        4400,
        "awareness with more than it has"
    );
    let mut own = server.own("fates", "", Uuid::now_v7()).await;
    own.binary(vec![1]).await;
    assert_eq!(own.closed().await, 1003, "binary on JSON");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_utf8_ends_the_connection() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = Server::open("");
    let mut own = server.own("utf8", "", Uuid::now_v7()).await;
    // A masked text frame of one byte that no text holds, past the library's own check.
    let stream = own.0.get_mut();
    stream
        .write_all(&[0x81, 0x81, 0, 0, 0, 0, 0xff])
        .await
        .expect("the server reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    assert!(
        answer
            .windows(4)
            .any(|part| part[0] == 0x88 && part[2..4] == 1007_u16.to_be_bytes()),
        "{answer:?}"
    );
}

//
#[tokio::test(flavor = "multi_thread")]
async fn messages_above_their_limit_end_the_connection() {
    let server = Server::open("op_bytes_max = 2000\nupdate_bytes_max = 4000\nfirst_update_bytes_max = 9000");
    assert_eq!(fate(&server, vec![0; 20_000]).await, 1009, "above every limit");
    assert_eq!(
        fate(&server, y(&[0, 0], &[0; 5_000])).await,
        1009,
        "no update, so no large first one"
    );
    let mut socket = server.yjs("fates").await;
    socket.binary(y(&[0, 2], &updates(5, 1)[0])).await;
    socket.binary(y(&[0, 2], &[0; 5_000])).await;
    assert_eq!(socket.closed().await, 1009, "a second large update");
    let mut greeting = server
        .upgrade("/v1/boards/fates/ws", Some("panseo.v1.json"))
        .await
        .expect("the door opens");
    let hello = json!({ "t": "hello", "client": Uuid::now_v7(), "padding": "x".repeat(5_000) });
    greeting.text(&hello.to_string()).await;
    assert_eq!(greeting.closed().await, 1009, "a large greeting");
    let mut own = server.own("fates", "", Uuid::now_v7()).await;
    own.text(&json!({ "t": "op", "seq": 1, "ops": [], "padding": "x".repeat(3_000) }).to_string())
        .await;
    assert_eq!(
        refused(&mut own).await,
        (ErrorCode::TooLarge, Some(1)),
        "a large op frame"
    );
    own.text(&json!({ "t": "op", "seq": 1, "ops": [] }).to_string()).await;
    assert_eq!(
        refused(&mut own).await,
        (ErrorCode::TooLarge, Some(1)),
        "the same `seq`"
    );
    own.text(&json!({ "t": "ping", "padding": "x".repeat(4_000) }).to_string())
        .await;
    assert_eq!(own.closed().await, 1009, "a large frame without a `seq`");
}

//
#[tokio::test(flavor = "multi_thread")]
async fn who_sends_far_too_much_hears_why() {
    let server = Server::open("");
    assert_eq!(fate(&server, vec![0; 11 * 1024 * 1024]).await, 1009);
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_that_add_up_to_more_end_the_connection() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = Server::open("op_bytes_max = 4000\nupdate_bytes_max = 4000\nfirst_update_bytes_max = 4000");
    let mut socket = server.yjs("fragments").await;
    let stream = socket.0.get_mut();
    // The fifth is above the limit and what is read beyond it.
    for number in 0..5 {
        const BYTES: usize = 1024 * 1024;
        let mut frame = vec![if number == 0 { 0x02 } else { 0x00 }, 0xff];
        frame.extend_from_slice(&(BYTES as u64).to_be_bytes());
        frame.extend_from_slice(&vec![0; BYTES + 4]);
        stream.write_all(&frame).await.ok();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    assert!(
        answer
            .windows(4)
            .any(|part| part[0] == 0x88 && part[2..4] == 1009_u16.to_be_bytes()),
        "{answer:?}"
    );
}

//
#[tokio::test(flavor = "multi_thread")]
async fn asking_for_everything_again_and_again_is_not_answered() {
    let server = Server::open("");
    for question in [y(&[0, 0], &[0]), vec![3]] {
        let mut socket = server.yjs("again").await;
        socket.binary(question.clone()).await;
        socket.binary(question).await;
        assert_eq!(socket.closed().await, 4529);
    }
}

//
#[tokio::test(flavor = "multi_thread")]
async fn updates_with_a_gap_are_asked_for_again_and_then_refused() {
    let server = Server::open("");
    let updates = updates(7, 5);
    let mut socket = server.yjs("gaps").await;
    socket.find_y(&[0, 0]).await;
    for update in &updates[2..4] {
        socket.binary(y(&[0, 2], update)).await;
        socket.find_y(&[0, 0]).await;
    }
    socket.binary(y(&[0, 2], &updates[4])).await;
    assert_eq!(socket.closed().await, 4509);
    assert_eq!(content(&server, "gaps").await, [0, 0], "nothing was taken");
}

//
#[tokio::test(flavor = "multi_thread")]
async fn blocks_under_the_client_id_of_another_are_refused() {
    let server = Server::open("");
    let updates = updates(8, 2);
    let mut anna = server.yjs("owners?user=anna").await;
    anna.binary(y(&[0, 2], &updates[0])).await;
    anna.binary(y(&[0, 0], &[0])).await;
    anna.find_y(&[0, 1]).await;
    let before = content(&server, "owners").await;
    let mut ben = server.yjs("owners?user=ben").await;
    ben.binary(y(&[0, 2], &updates[1])).await;
    assert_eq!(ben.closed().await, 4409);
    assert_eq!(content(&server, "owners").await, before);
}

/// A frame of our own door with an update of the client's document.
fn update_frame(seq: u64, update: &[u8]) -> ClientFrame {
    let update = update.to_vec().into();
    ClientFrame::Update {
        seq,
        gesture: None,
        update,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_door_knows_gaps_and_owners_too() {
    let server = Server::open("");
    let of_anna = updates(8, 5);
    let mut anna = server.own("lesson", "user=anna", Uuid::now_v7()).await;
    anna.frame(&update_frame(1, &of_anna[0])).await;
    acknowledged(&mut anna, 1).await;
    for seq in 2..=4 {
        anna.frame(&update_frame(seq, &of_anna[4])).await;
        assert_eq!(refused(&mut anna).await, (ErrorCode::NeedsResync, Some(seq)));
    }
    assert_eq!(anna.closed().await, 4509);
    let mut ben = server.own("lesson", "user=ben", Uuid::now_v7()).await;
    ben.frame(&update_frame(1, &of_anna[1])).await;
    assert_eq!(ben.closed().await, 4409);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_inputs_are_counted() {
    let server = Server::open("apply_soft_ms = 1");
    let mut socket = server.yjs("slow").await;
    let doc = document(5);
    let update = {
        let mut txn = doc.transact_mut();
        let map = txn.get_or_insert_map("another");
        for number in 0..30_000 {
            map.insert(&mut txn, format!("{number}"), number);
        }
        txn.encode_update_v1()
    };
    socket.binary(y(&[0, 2], &update)).await;
    socket.binary(y(&[0, 0], &[0])).await;
    socket.find_y(&[0, 1]).await;
    assert!(server.metric("panseo_slow_inputs_total").await > 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_offered_compression() {
    let server = Server::open("");
    let upgrade = format!(
        "GET /yjs/lesson HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        server.address
    );
    let (status, answer) = head(server.address, upgrade.as_bytes()).await;
    assert_eq!(status, 101, "{answer}");
    assert!(!answer.to_lowercase().contains("sec-websocket-extensions"), "{answer}");
}

//
#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_the_schema_is_refused() {
    let server = Server::open("");
    let doc = document(9);
    let update = {
        let mut txn = doc.transact_mut();
        let bare = MapPrelim::from([("x", Any::from(1))]);
        txn.get_or_insert_map("board:elements")
            .insert(&mut txn, "untyped", bare);
        txn.encode_update_v1()
    };
    assert_eq!(fate(&server, y(&[0, 2], &update)).await, 4422);
    assert_eq!(content(&server, "fates").await, [0, 0]);
    let foreign = doc.transact().state_vector().encode_v1();
    assert_ne!(foreign, [0], "the client did draw");
}

//
#[tokio::test(flavor = "multi_thread")]
async fn the_tail_of_a_stroke_that_was_taken_for_ended_ends_no_connection() {
    let server = Server::open("");
    let mut own = server.own("tail", "", Uuid::now_v7()).await;
    for _ in 0..60 {
        own.text(&json!({ "t": "more", "d": [1, "AA=="] }).to_string()).await;
    }
    own.op(1, element("a")).await;
    acknowledged(&mut own, 1).await;
}

//
#[tokio::test(flavor = "multi_thread")]
async fn malformed_op_frames_are_answered_and_the_twentieth_is_the_last() {
    let server = Server::open("");
    let mut own = server.own("malformed", "", Uuid::now_v7()).await;
    let bad = [
        "[[[".to_owned(),
        json!({ "t": "op", "seq": 1, "ops": [{ "op": "no.such" }] }).to_string(),
        format!(
            "{{\"t\":\"op\",\"seq\":2,\"ops\":{}{}}}",
            "[".repeat(100),
            "]".repeat(100)
        ),
        "{\"t\":\"op\",\"seq\":3,\"ops\":[{\"op\":\"element.move\",\"targets\":[\"a\"],\"dx\":1e999,\"dy\":0}]}"
            .to_owned(),
    ];
    for number in 0..20 {
        own.text(&bad[number % bad.len()]).await;
        assert_eq!(refused(&mut own).await.0, ErrorCode::BadOp, "frame {number}");
    }
    assert_eq!(own.closed().await, 4400);
}

//
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_numbered_0_is_refused_and_no_repeat() {
    let server = Server::open("");
    let mut own = server.own("zero", "", Uuid::now_v7()).await;
    for number in [0, 1] {
        own.op(0, element("one")).await;
        assert_eq!(
            refused(&mut own).await,
            (ErrorCode::BadOp, Some(0)),
            "before frame 1: {number}"
        );
    }
    own.op(1, element("one")).await;
    acknowledged(&mut own, 1).await;
}

//
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_frame_counts_once_and_is_acknowledged_again() {
    let server = Server::open("");
    let client = Uuid::now_v7();
    let mut own = server.own("repeats", "", client).await;
    own.op(1, element("one")).await;
    acknowledged(&mut own, 1).await;
    let step = json!({ "op": "element.move", "targets": ["one"], "dx": 5, "dy": 0 });
    own.op(2, step.clone()).await;
    acknowledged(&mut own, 2).await;
    own.op(2, step.clone()).await;
    acknowledged(&mut own, 2).await;
    drop(own);
    let mut again = server.own("repeats", "", client).await;
    again.op(2, step).await;
    acknowledged(&mut again, 2).await;
    let (_, state) = server.request("GET", "/v1/boards/repeats/state", "", "").await;
    assert!(state.contains("\"x\":5"), "{state}");
}
