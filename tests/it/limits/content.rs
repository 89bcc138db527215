//! What a board may hold, who writes which part of it, and what happens to what may not be there.

use panseo::protocol::ids::Role;
use panseo::protocol::{ErrorCode, ServerFrame};
use serde_json::json;
use uuid::Uuid;
use yrs::types::ToJson as _;
use yrs::updates::decoder::Decode as _;
use yrs::{Any, Map as _, MapPrelim, MapRef, Transact as _, TransactionMut, WriteTxn as _};

use super::{acknowledged, content, element, fate, refused, updates};
use crate::support::hostile::document;
use crate::support::live::{Server, payload, token, y};

/// A document that has what the board told a newcomer.
fn document_of(content: &[u8]) -> yrs::Doc {
    let doc = document(77);
    let update = yrs::Update::decode_v1(content).expect("the server encodes well");
    doc.transact_mut().apply_update(update).expect("the server is sound");
    doc
}

/// What the board says of itself.
async fn meta(server: &Server, board: &str) -> String {
    let doc = document_of(&content(server, board).await);
    let meta = doc.get_or_insert_map("board:meta");
    let json = meta.to_json(&doc.transact());
    serde_json::to_string(&json).expect("plain data")
}

fn edit(doc: &yrs::Doc, root: &str, change: impl FnOnce(&mut TransactionMut<'_>, &MapRef)) -> Vec<u8> {
    let mut txn = doc.transact_mut();
    let map = txn.get_or_insert_map(root);
    change(&mut txn, &map);
    txn.commit();
    txn.encode_update_v1()
}

async fn rename(server: &Server, board: &str, title: &str) {
    let body = json!({ "title": title }).to_string();
    let (status, answer) = server.request("PATCH", &format!("/v1/boards/{board}"), "", &body).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_says_its_title_and_layout_from_the_first_edit_on() {
    let server = Server::open("");
    let mut anna = server.yjs("lesson").await;
    assert_eq!(content(&server, "lesson").await, [0, 0], "looking writes nothing");
    rename(&server, "lesson", "Lesson").await;
    assert_eq!(content(&server, "lesson").await, [0, 0], "nor does a rename");
    anna.binary(y(&[0, 2], &updates(5, 1)[0])).await;
    let event = anna.find_y(&[0, 2]).await;
    assert!(
        String::from_utf8_lossy(&event).contains("Lesson"),
        "the author is told, too"
    );
    let said = meta(&server, "lesson").await;
    assert!(
        said.contains(r#""schema":1"#) && said.contains(r#""title":"Lesson""#),
        "{said}"
    );
    rename(&server, "lesson", "판서").await;
    let said = meta(&server, "lesson").await;
    assert!(said.contains(r#""title":"판서""#), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_server_writes_what_a_board_says_of_itself() {
    let server = Server::open("");
    let doc = document(9);
    let forged = edit(&doc, "board:meta", |txn, meta| _ = meta.insert(txn, "title", "forged"));
    assert_eq!(fate(&server, y(&[0, 2], &forged)).await, 4422);
    let mut own = server.own("fates", "", Uuid::now_v7()).await;
    own.op(1, element("one")).await;
    acknowledged(&mut own, 1).await;
    let before = content(&server, "fates").await;
    let doc = document_of(&before);
    let removal = edit(&doc, "board:meta", |txn, meta| _ = meta.remove(txn, "title"));
    assert_eq!(fate(&server, y(&[0, 2], &removal)).await, 4422);
    assert_eq!(content(&server, "fates").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_changing_what_is_not_theirs_is_sent_away() {
    let server = Server::jwt("");
    let teacher = token("teacher", 600, &[("*", Role::Teacher)]);
    let body = r#"{"id":"lesson","edit":"own"}"#;
    assert_eq!(server.request_as(&teacher, "POST", "/v1/boards", body).await, 201);
    let mut own = server.own("lesson", &format!("token={teacher}"), Uuid::now_v7()).await;
    own.op(1, element("theirs")).await;
    acknowledged(&mut own, 1).await;
    let pupil = token("pupil", 600, &[("lesson", Role::Editor)]);
    let mut socket = server.yjs(&format!("lesson?token={pupil}")).await;
    socket.binary(y(&[0, 0], &[0])).await;
    let doc = document_of(payload(&socket.find_y(&[0, 1]).await, 2));
    for x in 1..=20 {
        let update = edit(&doc, "board:elements", |txn, elements| {
            let Some(yrs::Out::YMap(element)) = elements.get(txn, "theirs") else {
                panic!("the element is there");
            };
            element.insert(txn, "x", x * 100);
        });
        socket.binary(y(&[0, 2], &update)).await;
        if x == 20 {
            // The last one is put back as well; whoever comes next sees that.
            break;
        }
        let back = socket.find_y(&[0, 2]).await;
        let back = yrs::Update::decode_v1(payload(&back, 2)).expect("the server encodes well");
        doc.transact_mut().apply_update(back).expect("the server is sound");
        let elements = doc.get_or_insert_map("board:elements");
        let text = serde_json::to_string(&elements.to_json(&doc.transact())).expect("plain data");
        assert!(
            text.contains(r#""x":0"#),
            "it turns back on the offender's screen: {text}"
        );
    }
    assert_eq!(socket.closed().await, 4403);
    let (_, state) = server
        .request(
            "GET",
            "/v1/boards/lesson/state",
            &format!("Authorization: Bearer {teacher}\r\n"),
            "",
        )
        .await;
    assert!(state.contains(r#""x":0"#), "{state}");
    assert!((server.metric("panseo_put_backs_total").await - 20.0).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_board_takes_no_more_elements_but_changes() {
    let server = Server::open("elements_max = 2");
    let mut own = server.own("full", "", Uuid::now_v7()).await;
    own.op(1, element("one")).await;
    own.op(2, element("two")).await;
    own.op(3, element("three")).await;
    assert_eq!(refused(&mut own).await, (ErrorCode::BoardFull, Some(3)));
    let step = json!({ "op": "element.move", "targets": ["one"], "dx": 5, "dy": 0 });
    own.op(4, step).await;
    acknowledged(&mut own, 4).await;
    let mut yjs = server.yjs("full").await;
    yjs.binary(y(&[0, 2], &updates(5, 1)[0])).await;
    assert_eq!(yjs.closed().await, 4422);
    let (status, answer) = server
        .request(
            "POST",
            "/v1/boards/full/ops",
            "",
            &json!({ "ops": [element("four")] }).to_string(),
        )
        .await;
    assert!(status == 409 && answer.contains("board_full"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_has_a_size_and_a_number_of_clients() {
    let server = Server::open("document_bytes_max = 3000\ndocument_clients_max = 4");
    let doc = document(21);
    let large = edit(&doc, "another", |txn, map| _ = map.insert(txn, "k", "x".repeat(4_000)));
    let mut socket = server.yjs("large").await;
    socket.binary(y(&[0, 2], &large)).await;
    assert_eq!(socket.closed().await, 4422, "roots of others count towards the size");
    let mut own = server.own("wordy", "", Uuid::now_v7()).await;
    let comment = |id: &str| json!({ "op": "comment.add", "comment": id, "text": "x".repeat(3_000), "x": 1, "y": 1 });
    own.op(1, comment("first")).await;
    acknowledged(&mut own, 1).await;
    own.op(2, comment("second")).await;
    assert_eq!(refused(&mut own).await, (ErrorCode::BoardFull, Some(2)));
    let delete = json!({ "op": "comment.delete", "comment": "first" });
    own.op(3, delete).await;
    acknowledged(&mut own, 3).await;
    let mut socket = server.yjs("many").await;
    let updates: Vec<_> = (1..=4).map(|client| y(&[0, 2], &updates(client, 1)[0])).collect();
    socket.binary(updates[0].clone()).await;
    // The server has a client id of its own: what it says of the board comes under that.
    socket.find_y(&[0, 2]).await;
    for update in &updates[1..] {
        socket.binary(update.clone()).await;
    }
    assert_eq!(socket.closed().await, 4422);
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_of_other_applications_are_carried() {
    let server = Server::open("");
    let doc = document(31);
    let theirs = edit(&doc, "another", |txn, map| {
        map.insert(txn, "list", MapPrelim::from([("deep", Any::from("content"))]));
    });
    let mut socket = server.yjs("theirs").await;
    let mut watcher = server.yjs("theirs").await;
    watcher.find_y(&[0, 0]).await;
    socket.binary(y(&[0, 2], &theirs)).await;
    let seen = watcher.find_y(&[0, 2]).await;
    assert!(String::from_utf8_lossy(&seen).contains("content"));
    let mut own = server.own("theirs", "", Uuid::now_v7()).await;
    own.text(r#"{"t":"ping"}"#).await;
    own.find(|frame| matches!(frame, ServerFrame::Pong {}).then_some(()))
        .await;
    let (_, state) = server.request("GET", "/v1/boards/theirs/state", "", "").await;
    assert!(
        state.contains(r#""entries":[]"#),
        "the server does not read it: {state}"
    );
}
