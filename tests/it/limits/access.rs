//! Who may come in, and how soon they learn that they may not any more.

use std::net::{IpAddr, UdpSocket};

use panseo::protocol::ids::Role;
use panseo::protocol::{ErrorCode, ServerFrame};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::{content, element, refused, updates};
use crate::support::live::{KEY, Server, raw, token, y};
use crate::support::soon::until;

const ANY: &[(&str, Role)] = &[("*", Role::Teacher)];

/// A node with one board, and its teacher's token.
async fn school(limits: &str) -> (Server, String) {
    let server = Server::jwt(limits);
    let teacher = token("teacher", 600, ANY);
    let made = server
        .request_as(&teacher, "POST", "/v1/boards", r#"{"id":"lesson"}"#)
        .await;
    assert_eq!(made, 201);
    (server, teacher)
}

async fn give(server: &Server, teacher: &str, user: &str, role: &str) {
    let body = json!({ "role": role }).to_string();
    let path = format!("/v1/boards/lesson/members/{user}");
    assert_eq!(server.request_as(teacher, "PUT", &path, &body).await, 200);
}

/// A request whose body ends with what `between` has done by then; gives the status.
async fn slowly(server: &Server, head: &str, body: &str, between: impl Future<Output = ()>) -> String {
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "{head}\r\nHost: panseo\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let (first, last) = body.split_at(body.len() - 1);
    socket.write_all(format!("{head}{first}").as_bytes()).await.unwrap();
    // Another request on a connection of its own: by then the server has this one's head.
    between.await;
    socket.write_all(last.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer[9..12].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_slowly_is_judged_by_the_rights_at_its_end() {
    let (server, teacher) = school("").await;
    give(&server, &teacher, "anna", "editor").await;
    let anna = token("anna", 600, &[]);
    let edit = json!({ "ops": [{ "op": "page.add", "page": "p" }] }).to_string();
    let head = format!("POST /v1/boards/lesson/ops HTTP/1.1\r\nAuthorization: Bearer {anna}");
    let lowered = async { give(&server, &teacher, "anna", "viewer").await };
    assert_eq!(slowly(&server, &head, &edit, lowered).await, "403");
    give(&server, &teacher, "anna", "teacher").await;
    let head = format!("PUT /v1/boards/lesson/members/anna HTTP/1.1\r\nAuthorization: Bearer {anna}");
    let revoked = async { assert_eq!(server.request_as(&anna, "POST", "/v1/tokens/revoke", "").await, 204) };
    assert_eq!(slowly(&server, &head, r#"{"role":"teacher"}"#, revoked).await, "401");
}

// [R-8]
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_are_turned_away() {
    let server = Server::open("");
    for path in ["/yjs/x", "/v1/boards/x/ws", "/v1/boards"] {
        let (status, _) = server
            .request("GET", path, "Origin: https://evil.example\r\n", "")
            .await;
        assert_eq!(status, 403, "{path}");
    }
    let (status, _) = server
        .request("GET", "/v1/boards", "Origin: http://localhost:5173\r\n", "")
        .await;
    assert_eq!(status, 200);
}

// [R-1], [R-6]
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upgrade_makes_no_board() {
    let server = Server::open("");
    assert_eq!(
        server.upgrade("/v1/boards/made/ws?user=ann", None).await.err(),
        Some(400)
    );
    assert_eq!(server.request("GET", "/v1/boards/made", "", "").await.0, 404);
}

// [R-5]
#[tokio::test(flavor = "multi_thread")]
async fn only_those_with_a_good_token_and_a_role_come_in() {
    let (server, _) = school("").await;
    let stranger = token("stranger", 600, &[("other", Role::Editor)]);
    let teacher = token("teacher", 600, ANY);
    let old = token("teacher", -100, ANY);
    let long = token("teacher", 13 * 3_600, ANY);
    for (query, board, status) in [
        ("", "lesson", 400),
        ("?token=nonsense", "lesson", 401),
        (&format!("?token={old}"), "lesson", 401),
        (&format!("?token={long}"), "lesson", 401),
        (&format!("?token={teacher}x"), "lesson", 401),
        (&format!("?token={teacher}"), "nowhere", 404),
        (&format!("?token={stranger}"), "lesson", 403),
    ] {
        let refused = server.upgrade(&format!("/yjs/{board}{query}"), None).await.err();
        assert_eq!(refused, Some(status), "{board} with {} bytes of query", query.len());
    }
    let path = format!("/v1/boards/lesson/ws?token={old}");
    assert_eq!(server.upgrade(&path, Some("panseo.v1.json")).await.err(), Some(401));
    let mut late = server
        .upgrade("/v1/boards/lesson/ws", Some("panseo.v1.json"))
        .await
        .expect("the token may come later");
    late.text(&json!({ "t": "hello", "client": Uuid::now_v7(), "token": old }).to_string())
        .await;
    assert_eq!(late.closed().await, 4401);
    let mut none = server
        .upgrade("/v1/boards/lesson/ws", Some("panseo.v1.json"))
        .await
        .expect("the token may come later");
    none.text(&json!({ "t": "hello", "client": Uuid::now_v7() }).to_string())
        .await;
    assert_eq!(none.closed().await, 4401);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_are_tried_so_often_and_no_more() {
    let (server, _) = school("failed_logins_per_minute = 3").await;
    let ended = token("teacher", -60, ANY);
    for status in [401; 4] {
        assert_eq!(server.request_as(&ended, "GET", "/v1/boards", "").await, status);
    }
    for status in [401, 401, 401, 429] {
        assert_eq!(server.request_as("nonsense", "GET", "/v1/boards", "").await, status);
    }
    let good = token("teacher", 600, ANY);
    assert_eq!(server.request_as(&good, "GET", "/v1/boards", "").await, 200);
    server.own("lesson", &format!("token={good}"), Uuid::now_v7()).await;
}

// [R-7]
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_ends_with_its_token() {
    let (server, _) = school("").await;
    // Clocks may differ by 30 s, so this one has about two left.
    let brief = token("teacher", -28, ANY);
    let mut socket = server.yjs(&format!("lesson?token={brief}")).await;
    assert_eq!(socket.closed().await, 4401);
}

// [R-82], [R-90]
#[tokio::test(flavor = "multi_thread")]
async fn viewers_look_and_do_not_edit() {
    let (server, teacher) = school("").await;
    give(&server, &teacher, "anna", "viewer").await;
    let anna = token("anna", 600, &[]);
    let mut socket = server.yjs(&format!("lesson?token={anna}")).await;
    for step in [1, 2] {
        socket.binary(y(&[0, step], &updates(11, 1)[0])).await;
    }
    socket.binary(y(&[0, 0], &[0])).await;
    let all = socket.find_y(&[0, 1]).await;
    assert_eq!(
        &all[..],
        [0, 1, 2, 0, 0],
        "nothing was taken, and the viewer still reads"
    );
    let mut own = server.own("lesson", &format!("token={anna}"), Uuid::now_v7()).await;
    own.op(1, element("e")).await;
    assert_eq!(refused(&mut own).await, (ErrorCode::Forbidden, Some(1)));
    assert!((server.metric("panseo_viewer_edits_total").await - 2.0).abs() < 0.5);
}

// [R-99]
#[tokio::test(flavor = "multi_thread")]
async fn a_lower_role_a_removal_and_a_deletion_reach_open_sockets() {
    let (server, teacher) = school("").await;
    give(&server, &teacher, "anna", "editor").await;
    let anna = token("anna", 600, &[]);
    let mut own = server.own("lesson", &format!("token={anna}"), Uuid::now_v7()).await;
    give(&server, &teacher, "anna", "viewer").await;
    own.find(|frame| matches!(frame, ServerFrame::Role { role: Role::Viewer, .. }).then_some(()))
        .await;
    own.op(1, element("e")).await;
    assert_eq!(refused(&mut own).await.0, ErrorCode::Forbidden);
    let mut yjs = server.yjs(&format!("lesson?token={anna}")).await;
    yjs.find_y(&[0, 0]).await;
    assert_eq!(
        server
            .request_as(&teacher, "DELETE", "/v1/boards/lesson/members/anna", "")
            .await,
        204
    );
    assert_eq!((own.closed().await, yjs.closed().await), (4403, 4403));
    let mut last = server.own("lesson", &format!("token={teacher}"), Uuid::now_v7()).await;
    assert_eq!(
        server.request_as(&teacher, "DELETE", "/v1/boards/lesson", "").await,
        204
    );
    assert_eq!(last.closed().await, 4404);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_boards_and_joins_of_a_user_are_limited() {
    let (server, teacher) = school("connections_user_max = 2\nboards_user_max = 1\njoins_per_minute = 6").await;
    assert_eq!(
        server
            .request_as(&teacher, "POST", "/v1/boards", r#"{"id":"other"}"#)
            .await,
        201
    );
    let first = format!("/yjs/lesson?token={teacher}");
    let held = server.upgrade(&first, None).await.expect("the first comes in");
    let other = server.upgrade(&format!("/yjs/other?token={teacher}"), None).await;
    assert_eq!(other.err(), Some(429), "a second board");
    let _second = server.upgrade(&first, None).await.expect("the second comes in");
    assert_eq!(
        server.upgrade(&first, None).await.err(),
        Some(429),
        "a third connection"
    );
    let mut late = server
        .upgrade("/v1/boards/lesson/ws", Some("panseo.v1.json"))
        .await
        .expect("the token may come later");
    late.text(&json!({ "t": "hello", "client": Uuid::now_v7(), "token": teacher }).to_string())
        .await;
    assert_eq!(late.closed().await, 1013, "a third connection, told by its first frame");
    let ben = token("ben", 600, ANY);
    assert!(
        server.upgrade(&format!("/yjs/other?token={ben}"), None).await.is_ok(),
        "others are not held back"
    );
    drop(held);
    // Which of these fails first is told by the rate: there were four tries.
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(server.upgrade(&first, None).await.err());
    }
    assert_eq!(statuses.last(), Some(&Some(429)), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_the_node_are_limited() {
    let server = Server::open("connections_node_max = 2");
    let _held = (server.yjs("a").await, server.yjs("a").await);
    let (status, answer) = raw(server.address, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(status, 429);
    assert!(answer.contains("retry-after"), "{answer}");
}

/// The address by which others reach this machine, if it has one. Nothing is sent.
fn address_of_this_machine() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("203.0.113.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_an_address_are_limited() {
    // Loopback is exempt: there may be a proxy.
    let Some(address) = address_of_this_machine() else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    let listen = format!("{address}:0");
    let server = Server::start(
        &["--auth", "jwt", "--jwt-key", KEY, "--listen", &listen],
        "connections_address_max = 3",
    );
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(server.address).await.unwrap());
    }
    assert_eq!(raw(server.address, b"").await.0, 429);
    held.pop();
    until("a place is free again", async || {
        server.request("GET", "/health/live", "", "").await.0 == 200
    })
    .await;
    // The request before this one may still hold its place.
    until("it is counted", async || {
        let refused = server.metric("panseo_connections_refused_total{limit=\"address\"}");
        refused.await >= 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_refused() {
    let server = Server::open("");
    let field = format!("X-Long: {}\r\n", "x".repeat(20_000));
    assert_eq!(server.request("GET", "/health/live", &field, "").await.0, 431);
    let fields = "X-Many: 1\r\n".repeat(70);
    assert_eq!(server.request("GET", "/health/live", &fields, "").await.0, 431);
    assert_eq!(content(&server, "after").await, [0, 0], "others are served");
}
