//! Faults behind a node's doors: rooms that panic, boards that cannot be read, a log that takes nothing for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use panseo::config::ServeArgs;
use panseo::log::memory::MemoryLog;
use panseo::log::{LogError, Logged, UpdateLog};
use panseo::protocol::ids::{BoardId, Position, RecordId, Role, Timestamp, UserId};
use panseo::protocol::{Blob, ErrorCode, Record, RecordKind, ServerFrame};
use panseo::store::memory::MemoryStore;
use panseo::store::{BoardStore as _, StoredKeyframe};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;
use yrs::{Map as _, MapPrelim, Transact as _};

use crate::limits::{acknowledged, element, refused, updates};
use crate::support::hostile::document;
use crate::support::live::{Socket, own, payload, upgrade, y};
use crate::support::node::{Node, create};

/// A log in memory that can be shut, and whose tails can be made to wait.
#[derive(Clone)]
struct Gate {
    log: MemoryLog,
    takes_records: Arc<AtomicBool>,
    may_open: watch::Receiver<bool>,
}

#[async_trait]
impl UpdateLog for Gate {
    fn append(&self, board: &BoardId, record: Arc<Record>) -> BoxFuture<'static, Result<Position, LogError>> {
        if self.takes_records.load(Ordering::Relaxed) {
            self.log.append(board, record)
        } else {
            async { Err(LogError::Full) }.boxed()
        }
    }

    async fn tail(&self, board: &BoardId, after: Option<Position>) -> Result<mpsc::Receiver<Logged>, LogError> {
        let mut may_open = self.may_open.clone();
        may_open.wait_for(|may| *may).await.expect("the test holds the sender");
        self.log.tail(board, after).await
    }

    async fn end(&self, board: &BoardId) -> Result<Position, LogError> {
        self.log.end(board).await
    }
}

/// What a test turns to make its node fail.
struct Levers {
    log: MemoryLog,
    store: MemoryStore,
    takes_records: Arc<AtomicBool>,
    may_open: watch::Sender<bool>,
}

async fn node() -> (Node, Levers) {
    let log = MemoryLog::new(7);
    let store = MemoryStore::new(log.clone());
    let (may_open, opens) = watch::channel(true);
    let takes_records = Arc::new(AtomicBool::new(true));
    let gate = Gate {
        log: log.clone(),
        takes_records: Arc::clone(&takes_records),
        may_open: opens,
    };
    let is_healthy = Arc::clone(&takes_records);
    let node = Node::on(
        ServeArgs::default(),
        Arc::new(gate),
        Arc::new(store.clone()),
        move || is_healthy.load(Ordering::Relaxed),
    );
    let node = node.await;
    let levers = Levers {
        log,
        store,
        takes_records,
        may_open,
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
    levers.log.append_now(&board("sick"), Arc::new(poison())).unwrap();
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
