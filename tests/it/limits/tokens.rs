//! Tokens that were revoked, and what the audit log says of those who write under the client ids of others. [R-9]

use std::time::Duration;

use panseo::protocol::ids::Role;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::{content, updates};
use crate::support::live::{KEY, Server, token, token_named, y};

const ANY: &[(&str, Role)] = &[("*", Role::Teacher)];
/// A revocation reaches sockets within a second; a shared machine adds to that.
const REACHES: Duration = Duration::from_secs(2);

async fn school() -> Server {
    let server = Server::jwt("");
    let teacher = token("teacher", 600, ANY);
    let made = server
        .request_as(&teacher, "POST", "/v1/boards", r#"{"id":"lesson"}"#)
        .await;
    assert_eq!(made, 201);
    server
}

async fn revoke(server: &Server, token: &str, body: &str) -> u16 {
    server.request_as(token, "POST", "/v1/tokens/revoke", body).await
}

/// What the doors say to a token, before the upgrade and after it.
async fn turned_away(server: &Server, token: &str) -> (u16, u16, u16) {
    let rest = server.request_as(token, "GET", "/v1/boards/lesson", "").await;
    let before = server.upgrade(&format!("/yjs/lesson?token={token}"), None).await.err();
    let mut late = server
        .upgrade("/v1/boards/lesson/ws", Some("panseo.v1.json"))
        .await
        .expect("the token may come later");
    late.text(&json!({ "t": "hello", "client": Uuid::now_v7(), "token": token }).to_string())
        .await;
    (rest, before.unwrap_or(101), late.closed().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_logs_out_is_out_everywhere_and_stays_so_after_a_kill() {
    let mut server = school().await;
    let [phone, desk] = ["phone", "desk"].map(|id| token_named(id, false, "anna", 600, ANY));
    let mut yjs = server.yjs(&format!("lesson?token={phone}")).await;
    let mut own = server.own("lesson", &format!("token={phone}"), Uuid::now_v7()).await;
    let mut other = server.own("lesson", &format!("token={desk}"), Uuid::now_v7()).await;
    let begin = Instant::now();
    assert_eq!(revoke(&server, &phone, "").await, 204);
    assert_eq!((yjs.closed().await, own.closed().await), (4401, 4401));
    assert!(begin.elapsed() < REACHES, "{:?}", begin.elapsed());
    assert_eq!(turned_away(&server, &phone).await, (401, 401, 4401));
    assert_eq!(
        revoke(&server, &phone, "").await,
        401,
        "what is revoked cannot ask for more"
    );
    other.op(1, super::element("still-here")).await;
    super::acknowledged(&mut other, 1).await;
    server.restart();
    assert_eq!(turned_away(&server, &phone).await, (401, 401, 4401));
    assert_eq!(server.request_as(&desk, "GET", "/v1/boards/lesson", "").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_others_are_revoked_by_admins_only() {
    let server = school().await;
    let [one, two] = ["one", "two"].map(|id| token_named(id, false, "anna", 600, ANY));
    let ben = token_named("ben", false, "ben", 600, ANY);
    let admin = token_named("root", true, "root", 600, &[]);
    let mut sockets = Vec::new();
    for token in [&one, &two, &ben] {
        sockets.push(server.yjs(&format!("lesson?token={token}")).await);
    }
    for body in [r#"{"user":"anna"}"#, r#"{"id":"one"}"#] {
        assert_eq!(revoke(&server, &ben, body).await, 403, "{body}");
    }
    assert_eq!(revoke(&server, &admin, r#"{"user":"anna","id":"one"}"#).await, 400);
    assert_eq!(revoke(&server, &admin, r#"{"id":"one"}"#).await, 204);
    assert_eq!(sockets[0].closed().await, 4401);
    assert_eq!(server.request_as(&two, "GET", "/v1/boards", "").await, 200);
    assert_eq!(revoke(&server, &admin, r#"{"user":"anna"}"#).await, 204);
    assert_eq!(sockets[1].closed().await, 4401);
    assert_eq!(server.request_as(&two, "GET", "/v1/boards", "").await, 401);
    assert_eq!(server.request_as(&ben, "GET", "/v1/boards", "").await, 200);
    assert!(server.metric("panseo_revocations").await > 1.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_needs_a_token_there_is_none_to_revoke() {
    let server = Server::open("");
    let (status, answer) = server.request("POST", "/v1/tokens/revoke", "", "{}").await;
    assert!(status == 400 && answer.contains("none to revoke"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_log_ins_are_counted_by_the_far_end_and_not_by_what_it_says_it_is() {
    let server = Server::jwt("failed_logins_per_minute = 3");
    for number in 0..4 {
        let forwarded = format!(
            "Authorization: Bearer nonsense\r\nX-Forwarded-For: 10.0.0.{number}\r\nForwarded: for=10.1.1.{number}\r\n"
        );
        let (status, answer) = server.request("GET", "/v1/boards", &forwarded, "").await;
        assert_eq!(status, if number < 3 { 401 } else { 429 });
        assert_eq!(status == 429, answer.contains("retry-after"), "{answer}");
    }
    let refused = server.upgrade("/yjs/lesson?token=nonsense", None).await;
    assert_eq!(refused.err(), Some(429), "sockets, too");
    assert!(server.metric("panseo_logins_failed_total").await > 2.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_under_client_ids_of_others_are_put_on_record() {
    let server = Server::open("");
    let of_anna = updates(8, 2);
    let mut anna = server.yjs("owners?user=anna").await;
    anna.binary(y(&[0, 2], &of_anna[0])).await;
    anna.binary(y(&[0, 0], &[0])).await;
    anna.find_y(&[0, 1]).await;
    let mut eve = server.yjs("owners?user=eve").await;
    eve.binary(y(&[0, 2], &of_anna[1])).await;
    assert_eq!(eve.closed().await, 4409);
    drop(anna);
    // Anna is gone, so Ben may hand over what he saw of her and the server lost. Her end may take a moment to arrive.
    let begin = Instant::now();
    while !String::from_utf8_lossy(&content(&server, "owners").await).contains("e8-1") {
        assert!(begin.elapsed() < Duration::from_secs(10), "{}", server.log());
        let mut ben = server.yjs("owners?user=ben").await;
        ben.binary(y(&[0, 1], &of_anna[1])).await;
        ben.binary(y(&[0, 0], &[0])).await;
        while let crate::support::live::Heard::Message(bytes) = ben.heard().await {
            if bytes.starts_with(&[0, 1]) {
                break;
            }
        }
    }
    let log = server.log();
    let line = |deed: &str, user: &str| {
        log.lines().any(|line| {
            [" audit: ", "board.id=owners", deed, user, "blocks=[(8, "]
                .iter()
                .all(|part| line.contains(part))
        })
    };
    assert!(line("deed=\"foreign_client\"", "user.id=eve"), "{log}");
    assert!(line("deed=\"relayed\"", "user.id=ben"), "{log}");
    assert!(server.metric("panseo_audit_records_total").await > 1.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_address_is_not_repeated_anywhere() {
    let server = Server::start(&["--auth", "jwt", "--jwt-key", KEY, "--log", "debug"], "");
    let teacher = token("teacher", 600, ANY);
    let signature = teacher.rsplit_once('.').expect("three parts").1;
    assert_eq!(
        server
            .request_as(&teacher, "POST", "/v1/boards", r#"{"id":"lesson"}"#)
            .await,
        201
    );
    let mut socket = server.yjs(&format!("lesson?token={teacher}")).await;
    socket.binary(vec![9]).await;
    assert_eq!(socket.closed().await, 4400);
    for path in [
        format!("/v1/boards/lesson?token={teacher}"),
        format!("/v1/boards/lesson?token={teacher}&token={teacher}"),
        format!("/v1/boards?limit=many&token={teacher}"),
        format!("/v1/boards/a%20b?token={teacher}"),
        format!("/nowhere?token={teacher}"),
        format!("/yjs/nowhere?token={teacher}"),
        format!("/yjs/lesson?token={teacher}x"),
    ] {
        let (_, answer) = server.request("GET", &path, "", "").await;
        assert!(!answer.contains(signature), "{answer}");
        assert!(answer.contains("referrer-policy: no-referrer"), "{answer}");
    }
    let log = server.log();
    assert!(log.contains("DEBUG"), "it does log");
    assert!(!log.contains(signature), "{log}");
}
