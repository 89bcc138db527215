//! Faults behind a node's doors: rooms that panic, boards that cannot be read, a log that takes nothing for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use panseo::config::ServeArgs;
use panseo::http::assets::sha256_hex;
use panseo::log::memory::MemoryLog;
use panseo::log::{Lead, LogError, UpdateLog};
use panseo::protocol::codec::Format;
use panseo::protocol::ids::{BoardId, Position, RecordId, Role, SessionId, Timestamp, UserId};
use panseo::protocol::limits::Limits;
use panseo::protocol::op::Op;
use panseo::protocol::{Blob, ClientFrame, ErrorCode, Logged, Record, RecordKind, ServerFrame};
use panseo::room::session::Door;
use panseo::room::yjs::YjsMessage;
use panseo::room::{Counter, Input};
use panseo::store::memory::MemoryStore;
use panseo::store::{BoardStore as _, StoredKeyframe};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;
use yrs::{Map as _, MapPrelim, Transact as _};

use crate::limits::{acknowledged, element, refused, updates};
use crate::support::cluster::{Cluster, user};
use crate::support::hostile::document;
use crate::support::live::{Server, Socket, own, payload, upgrade, y};
use crate::support::node::{Node, create};
use crate::support::soon::until;
use crate::support::story::creation;

/// A log in memory that can be shut, and whose tails can be made to wait.
#[derive(Clone)]
struct Gate {
    log: MemoryLog,
    takes_records: Arc<AtomicBool>,
    may_write: watch::Receiver<bool>,
    may_open: watch::Receiver<bool>,
    may_look_back: watch::Receiver<bool>,
}

#[async_trait]
impl UpdateLog for Gate {
    fn append(&self, board: &BoardId, record: Arc<Record>) -> BoxFuture<'static, Result<Position, LogError>> {
        if !self.takes_records.load(Ordering::Relaxed) {
            return async { Err(LogError::Full) }.boxed();
        }
        let (mut may_write, append) = (self.may_write.clone(), self.log.append(board, record));
        async move {
            may_write.wait_for(|may| *may).await.expect("the test holds the sender");
            append.await
        }
        .boxed()
    }

    async fn tail(&self, board: &BoardId, after: Option<Position>) -> Result<mpsc::Receiver<Logged>, LogError> {
        let mut may_open = self.may_open.clone();
        may_open.wait_for(|may| *may).await.expect("the test holds the sender");
        self.log.tail(board, after).await
    }

    async fn end(&self, board: &BoardId) -> Result<Position, LogError> {
        self.log.end(board).await
    }

    async fn lead(&self, board: &BoardId, stored: Option<Position>) -> Result<Lead, LogError> {
        let mut may_look_back = self.may_look_back.clone();
        may_look_back
            .wait_for(|may| *may)
            .await
            .expect("the test holds the sender");
        self.log.lead(board, stored).await
    }
}

/// What a test turns to make its node fail.
struct Levers {
    log: MemoryLog,
    store: MemoryStore,
    takes_records: Arc<AtomicBool>,
    may_open: watch::Sender<bool>,
    may_write: watch::Sender<bool>,
    may_look_back: watch::Sender<bool>,
}

async fn node() -> (Node, Levers) {
    node_with("").await
}

async fn node_with(limits: &str) -> (Node, Levers) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("panseo.toml");
    std::fs::write(&config, format!("[limits]\n{limits}\n")).unwrap();
    let args = ServeArgs {
        config: Some(config.to_string_lossy().into_owned()),
        ..ServeArgs::default()
    };
    let log = MemoryLog::new(7);
    let store = MemoryStore::new(log.clone());
    let (may_open, opens) = watch::channel(true);
    let (may_write, writes) = watch::channel(true);
    let (may_look_back, looks_back) = watch::channel(true);
    let takes_records = Arc::new(AtomicBool::new(true));
    let gate = Gate {
        log: log.clone(),
        takes_records: Arc::clone(&takes_records),
        may_open: opens,
        may_look_back: looks_back,
        may_write: writes,
    };
    let is_healthy = Arc::clone(&takes_records);
    let node = Node::on(args, Arc::new(gate), Arc::new(store.clone()), move || {
        is_healthy.load(Ordering::Relaxed)
    });
    let node = node.await;
    let levers = Levers {
        log,
        store,
        takes_records,
        may_open,
        may_write,
        may_look_back,
    };
    (node, levers)
}

fn board(name: &str) -> BoardId {
    BoardId::new(name).unwrap()
}

async fn yjs(node: &Node, board: &str) -> Socket {
    upgrade(node.address(), &format!("/yjs/{board}"), None).await.unwrap()
}

/// A record no room makes: it builds on blocks that are nowhere, so the document parks it, and the next update that
/// comes in finds the document in a state that must not be. The room panics.
fn poison() -> Record {
    let doc = document(500);
    let elements = doc.get_or_insert_map("board:elements");
    // Nobody is told of this.
    let element = elements.insert(&mut doc.transact_mut(), "nowhere", MapPrelim::default());
    let update = {
        let mut txn = doc.transact_mut();
        element.insert(&mut txn, "x", 7);
        txn.encode_update_v1()
    };
    Record {
        id: RecordId(1 << 40, 1),
        base: Position(7, 0),
        author: UserId::new("somebody").unwrap(),
        client: None,
        seq: None,
        refused: Vec::new(),
        kind: RecordKind::Update,
        gesture: None,
        time: Timestamp(1),
        owner: None,
        steps: Vec::new(),
        changes: Vec::new(),
        changes_left_out: false,
        relayed: Vec::new(),
        update: Blob(update.into()),
    }
}

async fn counted(node: &Node, name: &str) -> f64 {
    let text = String::from_utf8(node.get("/metrics").await.bytes).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

/// Waits for the frame that says what the session may do now.
async fn told(socket: &mut Socket) -> (Role, String) {
    socket
        .find(|frame| match frame {
            ServerFrame::Role { role, why } => Some((role, why)),
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_board_that_keeps_failing_is_opened_anew_and_then_read_only() {
    let (node, levers) = node().await;
    let client = Uuid::now_v7();
    let mut author = own(node.address(), "sick", "", client).await;
    author.op(1, element("kept")).await;
    acknowledged(&mut author, 1).await;
    let mut other = own(node.address(), "well", "", Uuid::now_v7()).await;
    drop(author);
    let poisoned = levers.log.append_now(&board("sick"), Arc::new(poison())).unwrap();
    // Else an update could come before it.
    until("the room has read it", async || {
        let state = node.get("/v1/boards/sick/state").await.json();
        state["position"][1].as_u64() >= Some(poisoned.offset())
    })
    .await;
    let before = counted(&node, "panseo_boards_failing").await;
    for round in 0..3 {
        let mut author = own(node.address(), "sick", "", client).await;
        author.op(2 + round, element(&format!("round-{round}"))).await;
        acknowledged(&mut author, 2 + round).await;
        let mut painter = yjs(&node, "sick").await;
        painter.find_y(&[0, 0]).await;
        painter.binary(y(&[0, 2], &updates(40 + round, 1)[0])).await;
        assert_eq!(
            (painter.closed().await, author.closed().await),
            (4500, 4500),
            "round {round}"
        );
    }
    other.op(1, element("fine")).await;
    acknowledged(&mut other, 1).await;
    assert!(
        (counted(&node, "panseo_boards_failing").await - before - 1.0).abs() < 0.1,
        "somebody is called"
    );

    let mut author = own(node.address(), "sick", "", client).await;
    let (role, why) = told(&mut author).await;
    assert!(role == Role::Viewer && why.contains("read-only"), "{why}");
    author.op(9, element("late")).await;
    assert_eq!(refused(&mut author).await, (ErrorCode::ReadOnly, Some(9)));
    let request = node.draw("/v1/boards/sick/ops", "late").await;
    assert_eq!(request.problem(), (503, "read_only".into()));
    let raised = node
        .send("PUT", "/v1/boards/sick/members/guest", json!({ "role": "teacher" }))
        .await;
    assert_eq!(raised.status, 200);
    author.op(10, element("late")).await;
    assert_eq!(
        refused(&mut author).await,
        (ErrorCode::ReadOnly, Some(10)),
        "no role helps"
    );
    let mut painter = yjs(&node, "sick").await;
    painter.binary(y(&[0, 2], &updates(50, 1)[0])).await;
    painter.binary(y(&[0, 0], &[0])).await;
    let all = painter.find_y(&[0, 1]).await;
    let all = String::from_utf8_lossy(payload(&all, 2)).into_owned();
    assert!(
        all.contains("kept") && all.contains("round-2"),
        "what was acknowledged is there"
    );
    assert!(!all.contains("e50-0"), "and nothing was taken since");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_takes_nothing_boards_are_read_only_and_then_go_on() {
    let (node, levers) = node().await;
    let mut author = own(node.address(), "lesson", "user=anna", Uuid::now_v7()).await;
    author.op(1, element("one")).await;
    acknowledged(&mut author, 1).await;
    let mut painter = yjs(&node, "lesson?user=ben").await;
    painter.find_y(&[0, 0]).await;

    levers.takes_records.store(false, Ordering::Relaxed);
    let (role, why) = told(&mut author).await;
    assert!(role == Role::Viewer && why.contains("save"), "{why}");
    author.op(2, element("two")).await;
    assert_eq!(refused(&mut author).await, (ErrorCode::ReadOnly, Some(2)));
    assert_eq!(node.get("/health/ready").await.problem(), (503, "log_unhealthy".into()));
    let late = updates(60, 1);
    painter.binary(y(&[0, 2], &late[0])).await;
    painter.binary(y(&[0, 0], &[0])).await;
    let all = painter.find_y(&[0, 1]).await;
    let is_there = |all: &[u8]| String::from_utf8_lossy(all).contains("e60-0");
    assert!(!is_there(&all), "nothing is shown that is not kept");

    levers.takes_records.store(true, Ordering::Relaxed);
    let (role, _) = told(&mut author).await;
    assert_eq!(role, Role::Teacher);
    painter.find_y(&[0, 0]).await;
    painter.binary(y(&[0, 1], &late[0])).await;
    author
        .find(|frame| {
            let ServerFrame::Event { changes, .. } = frame else {
                return None;
            };
            changes?.iter().any(|change| &*change.id == "e60-0").then_some(())
        })
        .await;
    author.op(3, element("three")).await;
    acknowledged(&mut author, 3).await;
    assert_eq!(node.get("/health/ready").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_waits_for_its_board_and_one_that_cannot_be_read_is_not_served() {
    let (node, levers) = node().await;
    node.draw("/v1/boards/slow/ops", "kept").await;
    // The room is made, and waits for the log.
    levers.may_open.send_replace(false);
    node.send("POST", "/v1/boards", json!({ "id": "waits" })).await;
    let mut early = upgrade(node.address(), "/v1/boards/waits/ws", Some("panseo.v1.json"))
        .await
        .unwrap();
    early
        .text(&json!({ "t": "hello", "client": Uuid::now_v7() }).to_string())
        .await;
    early
        .text(&json!({ "t": "op", "seq": 1, "ops": [create("a")] }).to_string())
        .await;
    assert_eq!(
        node.get("/health/live").await.status,
        200,
        "others are answered meanwhile"
    );
    levers.may_open.send_replace(true);
    acknowledged(&mut early, 1).await;

    let bytes = Bytes::from_static(b"no keyframe at all");
    let position = levers.log.end_now();
    node.send("POST", "/v1/boards", json!({ "id": "damaged" })).await;
    let keyframe = StoredKeyframe { position, bytes };
    levers.store.put_keyframe(&board("damaged"), keyframe).await.unwrap();
    let mut painter = yjs(&node, "damaged").await;
    assert_eq!(painter.closed().await, 4503);
    let mut own = upgrade(node.address(), "/v1/boards/damaged/ws", Some("panseo.v1.json"))
        .await
        .unwrap();
    own.text(&json!({ "t": "hello", "client": Uuid::now_v7() }).to_string())
        .await;
    assert_eq!(own.closed().await, 4503);
    let request = node.draw("/v1/boards/damaged/ops", "a").await;
    assert_eq!(request.status, 503);
    assert_eq!(
        levers.store.keyframe(&board("damaged")).await.unwrap().unwrap().bytes,
        &b"no keyframe at all"[..],
        "nothing is stored over it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_applied_is_left_out_and_its_board_opens() {
    let (node, levers) = node().await;
    node.draw("/v1/boards/other/ops", "a").await;
    node.send("POST", "/v1/boards", json!({ "id": "lesson" })).await;
    let sound = updates(40, 1)[0].clone();
    for (number, update) in [(1, vec![9; 40]), (2, sound)] {
        let record = Record {
            id: RecordId(1 << 40, number),
            update: Blob(update.into()),
            ..poison()
        };
        levers.log.append_now(&board("lesson"), Arc::new(record)).unwrap();
    }
    let before = counted(&node, "panseo_records_skipped_total").await;
    let state = node.get("/v1/boards/lesson/state").await.json();
    assert_eq!(
        state["entries"][0]["id"], "e40-0",
        "the records behind it are there: {state}"
    );
    assert!(
        counted(&node, "panseo_records_skipped_total").await > before,
        "somebody is told"
    );
    assert_eq!(node.draw("/v1/boards/lesson/ops", "b").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_does_not_keep_up_with_is_bounded_and_refused_until_it_does() {
    let (node, levers) = node_with("pending_bytes_board_max = 4000").await;
    let mut author = own(node.address(), "lesson", "user=anna", Uuid::now_v7()).await;
    let mut painter = yjs(&node, "lesson?user=ben").await;
    painter.find_y(&[0, 0]).await;
    levers.may_write.send_replace(false);
    for seq in 1..=20 {
        // Gestures of their own, so that no two share a record.
        let (gesture, op) = (Uuid::now_v7(), element(&format!("e{seq}")));
        let frame = serde_json::json!({ "t": "op", "seq": seq, "gesture": gesture, "ops": [op] });
        author.text(&frame.to_string()).await;
    }
    let (code, first) = refused(&mut author).await;
    let first = first.unwrap();
    assert!(code == ErrorCode::Busy && (2..=20).contains(&first), "{code:?} {first}");
    for seq in first + 1..=20 {
        assert_eq!(
            refused(&mut author).await,
            (ErrorCode::Busy, Some(seq)),
            "and all behind it"
        );
    }
    painter.binary(y(&[0, 2], &updates(40, 1)[0])).await;
    assert_eq!(painter.closed().await, 1013);
    levers.may_write.send_replace(true);
    acknowledged(&mut author, first - 1).await;
    let mut next = 21;
    for number in first..=20 {
        // What is durable still counts until the log has brought it back: so a few may be refused once more.
        loop {
            author.op(next, element(&format!("e{number}"))).await;
            let refusal = author
                .find(|frame| match frame {
                    ServerFrame::Ack { seq, .. } if seq >= next => Some(None),
                    ServerFrame::Error { code, .. } => Some(Some(code)),
                    _ => None,
                })
                .await;
            next += 1;
            match refusal {
                None => break,
                Some(code) => assert_eq!(code, ErrorCode::Busy),
            }
        }
    }
    let state = node.get("/v1/boards/lesson/state").await.json();
    let elements = state["entries"].as_array().unwrap().iter();
    assert_eq!(elements.filter(|entry| entry["kind"] == "element").count(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_whose_history_does_not_come_is_refused_and_what_stands_behind_it_counts() {
    let (node, levers) = node().await;
    let mut ada = own(node.address(), "lesson", "user=ada", Uuid::now_v7()).await;
    ada.op(1, element("a")).await;
    acknowledged(&mut ada, 1).await;
    let position = node.get("/v1/boards/lesson/state").await.json()["position"].clone();
    let restore = json!({ "op": "board.restore", "at": position });
    ada.op(2, element("b")).await;
    levers.may_look_back.send_replace(false);
    ada.op(3, restore.clone()).await;
    ada.op(4, element("c")).await;
    assert_eq!(refused(&mut ada).await, (ErrorCode::Busy, Some(3)));
    acknowledged(&mut ada, 4).await;

    levers.may_look_back.send_replace(true);
    ada.op(5, restore).await;
    ada.op(6, element("d")).await;
    acknowledged(&mut ada, 6).await;
    let state = node.get("/v1/boards/lesson/state").await.json();
    let shown = |entry: &&serde_json::Value| entry["kind"] == "element" && entry["properties"]["deleted"].is_null();
    let shown = state["entries"].as_array().unwrap().iter().filter(shown);
    let shown: Vec<_> = shown.filter_map(|entry| entry["id"].as_str()).collect();
    assert_eq!(shown, ["a", "d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_reads_a_long_history_up_to_its_place() {
    let (node, _levers) = node().await;
    let mut ada = own(node.address(), "lesson", "user=ada", Uuid::now_v7()).await;
    let mut wanted = json!(null);
    for seq in 1..=1_200 {
        // Gestures of their own, so that no two share a record.
        let frame = json!({ "t": "op", "seq": seq, "gesture": Uuid::now_v7(), "ops": [element(&format!("e{seq}"))] });
        ada.text(&frame.to_string()).await;
        if seq == 1_100 {
            acknowledged(&mut ada, seq).await;
            wanted = node.get("/v1/boards/lesson/state").await.json()["position"].clone();
            assert!(wanted[1].as_u64() > Some(1_000), "{wanted}");
        }
    }
    ada.op(1_201, json!({ "op": "board.restore", "at": wanted })).await;
    acknowledged(&mut ada, 1_201).await;
    let state = node.get("/v1/boards/lesson/state").await.json();
    let shown = |entry: &&serde_json::Value| entry["kind"] == "element" && entry["properties"]["deleted"].is_null();
    assert_eq!(state["entries"].as_array().unwrap().iter().filter(shown).count(), 1_100);
}

#[test]
fn a_restore_is_not_done_together_with_what_stands_behind_it() {
    let op = |op| {
        let (gesture, ops) = (None, vec![op]);
        Input::Frame(SessionId(1), ClientFrame::Op { seq: 1, gesture, ops })
    };
    assert_eq!(op(creation("a")).editing(), Some(SessionId(1)));
    assert_eq!(op(Op::BoardRestore { at: Position(7, 1) }).editing(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_inbox_makes_its_senders_wait_and_loses_nothing() {
    let (node, levers) = node_with("inbox_max = 4").await;
    node.send("POST", "/v1/boards", json!({ "id": "lesson" })).await;
    levers.may_open.send_replace(false);
    let mut author = upgrade(node.address(), "/v1/boards/lesson/ws", Some("panseo.v1.json"))
        .await
        .unwrap();
    author
        .text(&json!({ "t": "hello", "client": Uuid::now_v7() }).to_string())
        .await;
    for seq in 1..=60 {
        author.op(seq, element(&format!("e{seq}"))).await;
    }
    assert_eq!(
        node.get("/v1/boards/lesson").await.status,
        200,
        "others are answered meanwhile"
    );
    levers.may_open.send_replace(true);
    acknowledged(&mut author, 60).await;
    let state = node.get("/v1/boards/lesson/state").await.json();
    assert_eq!(state["entries"].as_array().unwrap().len(), 60);
}

#[test]
fn what_was_sent_before_a_removal_but_comes_behind_it_is_not_read() {
    let mut cluster = Cluster::new(1, 1, Limits::default());
    let own_door = Door::Own {
        format: Format::MsgPack,
        document: true,
        client: Uuid::from_u128(1),
    };
    let anna = cluster.join(0, "anna", own_door, None);
    let painter = cluster.join(0, "anna", Door::Yjs, None);
    cluster.input(0, Input::Grant(user("anna"), None));
    let ops = vec![creation("late")];
    let frame = ClientFrame::Op {
        seq: 1,
        gesture: None,
        ops,
    };
    cluster.input(0, Input::Frame(anna, frame));
    cluster.input(
        0,
        Input::Yjs(painter, YjsMessage::Update(updates(40, 1)[0].clone().into())),
    );
    let closed: Vec<_> = cluster
        .closed
        .iter()
        .map(|(session, code)| (*session, code.code()))
        .collect();
    assert_eq!(closed, [(anna, 4403), (painter, 4403)]);
    assert_eq!(cluster.counted.get(&Counter::Late), Some(&2));
    assert!(cluster.board(0).items().is_empty());
}

// [R-34]
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_read_now_is_asked_for_again_and_one_that_is_lost_uploaded_again() {
    let server = Server::open("");
    let mut ann = server.own("lesson", "user=ann", Uuid::from_u128(1)).await;
    let image = r#"<svg xmlns="http://www.w3.org/2000/svg"/>"#;
    let sha256 = sha256_hex(image.as_bytes());
    let upload = async || {
        let path = format!("/v1/boards/lesson/assets/{sha256}?user=ann");
        let (status, text) = server.request("PUT", &path, "", image).await;
        assert_eq!(status, 200, "{text}");
    };
    upload().await;
    let file = server
        .folder
        .path()
        .join("data/assets")
        .join(&sha256[..2])
        .join(&sha256);
    let op = json!({ "op": "asset.add", "sha256": sha256 });

    // A directory in the place of the file cannot be read, whoever asks.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    ann.op(1, op.clone()).await;
    assert_eq!(refused(&mut ann).await, (ErrorCode::Busy, Some(1)));

    std::fs::remove_dir(&file).unwrap();
    ann.op(2, op.clone()).await;
    assert_eq!(refused(&mut ann).await, (ErrorCode::NotFound, Some(2)));

    upload().await;
    ann.op(3, op).await;
    acknowledged(&mut ann, 3).await;
}
