//! How fast somebody may send, how much they may show, and what is said to frames that are none.

use std::time::Duration;

use panseo::protocol::codec::{Format, decode_server};
use panseo::protocol::ids::Role;
use panseo::protocol::{ErrorCode, ServerFrame};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::{acknowledged, element};
use crate::support::live::{Heard, Server, Socket, raw, token, var, y};

/// The board's only element, moved by `seq` frames of one pixel each.
async fn moves(socket: &mut Socket, count: u64, padding: usize) {
    socket.op(1, element("e")).await;
    for seq in 2..=count {
        let op = json!({ "op": "element.move", "targets": ["e"], "dx": 1, "dy": 0 });
        let frame = json!({ "t": "op", "seq": seq, "ops": [op], "padding": "x".repeat(padding) });
        socket.text(&frame.to_string()).await;
    }
    acknowledged(socket, count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_edits_too_fast_is_read_more_slowly_and_loses_nothing() {
    let server = Server::open("updates_per_second = 20\nupdates_burst = 5");
    let mut fast = server.own("pace", "", Uuid::now_v7()).await;
    let mut other = server.own("other", "", Uuid::now_v7()).await;
    let begin = Instant::now();
    let writing = moves(&mut fast, 35, 0);
    let elsewhere = async {
        other.op(1, element("e")).await;
        acknowledged(&mut other, 1).await;
        begin.elapsed()
    };
    let ((), elsewhere) = tokio::join!(writing, elsewhere);
    assert!(begin.elapsed() >= Duration::from_millis(1_400), "{:?}", begin.elapsed());
    assert!(elsewhere < begin.elapsed(), "others do not wait");
    let (_, state) = server.request("GET", "/v1/boards/pace/state", "", "").await;
    assert!(state.contains(r#""x":34"#), "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_much_is_read_more_slowly_and_loses_nothing() {
    let server = Server::open("bytes_per_second = 20000\nbytes_burst = 10000");
    let mut large = server.own("pace", "", Uuid::now_v7()).await;
    let begin = Instant::now();
    moves(&mut large, 9, 5_000).await;
    assert!(begin.elapsed() >= Duration::from_millis(1_200), "{:?}", begin.elapsed());
    let (_, state) = server.request("GET", "/v1/boards/pace/state", "", "").await;
    assert!(state.contains(r#""x":8"#), "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_pointers_that_come_too_fast_the_newest_counts() {
    let server = Server::open("ephemeral_per_second = 2");
    let mut watcher = server.own("pointers", "user=watcher", Uuid::now_v7()).await;
    let mut hasty = server.own("pointers", "user=hasty", Uuid::now_v7()).await;
    for x in 1..=20 {
        let frame = json!({ "t": "ephemeral", "kind": "pointer", "data": { "x": x, "y": 0 } });
        hasty.text(&frame.to_string()).await;
    }
    let mut seen = 0;
    watcher
        .find(|frame| {
            let ServerFrame::Ephemeral { states } = frame else {
                return None;
            };
            let pointers = states.iter().filter(|state| state.kind == "pointer");
            let data: Vec<_> = pointers
                .map(|state| serde_json::to_string(&state.data).unwrap())
                .collect();
            seen += data.len();
            data.iter().any(|data| data.contains("20")).then_some(())
        })
        .await;
    assert!(seen < 10, "{seen} of 20 were shown");
    assert!(server.metric("panseo_rate_drops_total").await > 9.5);
}

fn awareness(client: usize, clock: usize, state: &str) -> Vec<u8> {
    y(
        &[1],
        &[var(1), var(client), var(clock), y(&[], state.as_bytes())].concat(),
    )
}

/// Waits until the room has taken all that came before.
async fn settled(socket: &mut Socket) {
    socket.binary(y(&[0, 0], &[0])).await;
    socket.find_y(&[0, 1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn awareness_has_a_size_and_a_number() {
    let server = Server::open("awareness_bytes_max = 200\nawareness_board_max = 2");
    let mut anna = server.yjs("who?user=anna").await;
    anna.binary(awareness(1, 1, &json!({ "large": "x".repeat(300) }).to_string()))
        .await;
    anna.binary(awareness(1, 2, r#"{"mark":"first"}"#)).await;
    anna.binary(awareness(2, 1, r#"{"mark":"second-id"}"#)).await;
    settled(&mut anna).await;
    let drops = server.metric("panseo_awareness_drops_total").await;
    assert!((drops - 2.0).abs() < 0.5, "too large, and a second entry: {drops}");
    let mut ben = server.yjs("who?user=ben").await;
    ben.binary(awareness(3, 1, r#"{"mark":"third"}"#)).await;
    settled(&mut ben).await;
    let mut cho = server.yjs("who?user=cho").await;
    cho.binary(awareness(4, 1, r#"{"mark":"fourth"}"#)).await;
    cho.binary(vec![3]).await;
    let all = loop {
        let shown = String::from_utf8_lossy(&cho.find_y(&[1]).await).into_owned();
        if shown.contains("first") && shown.contains("third") {
            break shown;
        }
    };
    assert!(
        !all.contains("fourth") && !all.contains("second-id") && !all.contains("large"),
        "{all}"
    );
}

/// MessagePack that no reader may follow: nested too deep, promising more than it has, not a number.
fn hostile_bodies(head: &[u8]) -> Vec<Vec<u8>> {
    let ops = [head, &[0xa3], b"ops"].concat();
    let deep = [ops.clone(), vec![0x91; 5_000], vec![0xc0]].concat();
    let promise = [&ops[..], &[0xdd, 0xff, 0xff, 0xff, 0xff]].concat();
    let text = [&ops[..], &[0xdb, 0xff, 0xff, 0xff, 0xf0], b"x"].concat();
    let mut element =
        rmp_serde::to_vec_named(&json!({ "op": "element.move", "targets": ["e"], "dy": 0, "dx": 1 })).unwrap();
    assert_eq!(element.pop(), Some(1), "the distance comes last");
    let not_a_number = [&ops[..], &[0x91], &element, &[0xcb], &f64::NAN.to_be_bytes()].concat();
    vec![deep, promise, text, not_a_number]
}

#[tokio::test(flavor = "multi_thread")]
async fn messagepack_that_lies_is_answered_and_the_twentieth_is_the_last() {
    let server = Server::open("");
    let mut socket = server
        .upgrade("/v1/boards/lies/ws", Some("panseo.v1.msgpack"))
        .await
        .expect("the door opens");
    let hello = json!({ "t": "hello", "client": Uuid::now_v7() });
    socket.binary(rmp_serde::to_vec_named(&hello).unwrap()).await;
    // {"t": "op", "seq": 7, "ops": ...}
    let frames = hostile_bodies(&[&[0x83, 0xa1][..], b"t", &[0xa2], b"op", &[0xa3], b"seq", &[7]].concat());
    for number in 0..20 {
        socket.binary(frames[number % frames.len()].clone()).await;
        loop {
            let frame = decode_server(Format::MsgPack, &socket.message().await).expect("the server's frame");
            if let ServerFrame::Error { code, seq, .. } = frame {
                assert_eq!((code, seq), (ErrorCode::BadOp, Some(7)), "frame {number}");
                break;
            }
        }
    }
    assert_eq!(socket.closed().await, 4400);
}

#[tokio::test(flavor = "multi_thread")]
async fn messagepack_that_lies_in_a_request_is_refused_by_the_same_checks() {
    let server = Server::open("");
    for (number, body) in hostile_bodies(&[0x81]).into_iter().enumerate() {
        let head = format!(
            "POST /v1/boards/lies/ops HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: application/msgpack\r\nContent-Length: {}\r\n\r\n",
            server.address,
            body.len()
        );
        let (status, answer) = raw(server.address, &[head.as_bytes(), &body].concat()).await;
        assert!(status == 400 && answer.contains("bad_op"), "{number}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_a_size_by_their_kind() {
    let server = Server::open("body_bytes_max = 1000\nimport_bytes_max = 2000\nasset_bytes_max = 3000");
    let (status, _) = server.request("POST", "/v1/boards", "", r#"{"id":"sizes"}"#).await;
    assert_eq!(status, 201);
    let asset = format!("/v1/boards/sizes/assets/{}", "0".repeat(64));
    for (method, path, limit) in [
        ("POST", "/v1/boards/sizes/ops", 1_000),
        ("POST", "/v1/import", 2_000),
        ("PUT", asset.as_str(), 3_000),
    ] {
        let (status, _) = server.request(method, path, "", &"x".repeat(limit)).await;
        assert_ne!(status, 413, "{path}: as large as it may be");
        let (status, answer) = server.request(method, path, "", &"x".repeat(limit + 1)).await;
        assert_eq!(status, 413, "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_place_is_told_when_to_come_back() {
    let server = Server::jwt("connections_user_max = 1");
    let teacher = token("teacher", 600, &[("*", Role::Teacher)]);
    assert_eq!(
        server
            .request_as(&teacher, "POST", "/v1/boards", r#"{"id":"lesson"}"#)
            .await,
        201
    );
    let _held = server.yjs(&format!("lesson?token={teacher}")).await;
    let mut late = server
        .upgrade("/v1/boards/lesson/ws", Some("panseo.v1.json"))
        .await
        .expect("the token may come later");
    late.text(&json!({ "t": "hello", "client": Uuid::now_v7(), "token": teacher }).to_string())
        .await;
    let (code, reason) = late.farewell().await;
    assert_eq!(code, 1013);
    let seconds = reason
        .strip_prefix("busy or too slow, wait ")
        .and_then(|rest| rest.strip_suffix(" s"));
    let seconds: u64 = seconds.expect(&reason).parse().expect("a number");
    assert!((1..=10).contains(&seconds), "{reason}");
    assert!(!matches!(late.heard().await, Heard::Message(_)));
}
