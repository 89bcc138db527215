//! Who joins a live board waits until its room has been handed what was durable when they came. While nobody can tell,
//! they may only look.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use panseo::config::ServeArgs;
use panseo::log::memory::MemoryLog;
use panseo::log::{LogError, Logged, UpdateLog};
use panseo::protocol::ids::{BoardId, Position, Role};
use panseo::protocol::{Record, ServerFrame};
use panseo::store::memory::MemoryStore;
use serde_json::json;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, timeout};
use uuid::Uuid;

use crate::support::live::{SOON, Socket, hello, own, upgrade};
use crate::support::node::{Node, SECRET, answer, create, token};

/// A log that says when its tails are level only once it may.
struct Held {
    log: MemoryLog,
    may_say: watch::Receiver<bool>,
}

#[async_trait]
impl UpdateLog for Held {
    fn append(&self, board: &BoardId, record: Arc<Record>) -> BoxFuture<'static, Result<Position, LogError>> {
        self.log.append(board, record)
    }

    async fn tail(&self, board: &BoardId, after: Option<Position>) -> Result<mpsc::Receiver<Logged>, LogError> {
        self.log.tail(board, after).await
    }

    async fn end(&self, board: &BoardId) -> Result<Position, LogError> {
        self.log.end(board).await
    }

    async fn level(&self, _board: &BoardId) -> Result<(), LogError> {
        let mut may_say = self.may_say.clone();
        may_say
            .wait_for(|may| *may)
            .await
            .map(drop)
            .map_err(|_gone| LogError::Closed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_waits_for_what_the_log_has_and_nobody_else_does() {
    let log = MemoryLog::new(7);
    let store = Arc::new(MemoryStore::new(log.clone()));
    let (gate, may_say) = watch::channel(true);
    let node = Node::on(ServeArgs::default(), Arc::new(Held { log, may_say }), store, || true).await;
    let made = node
        .send("POST", "/v1/boards", json!({ "id": "b", "title": "b" }))
        .await;
    assert_eq!(made.status, 201);
    let mut ada = own(node.address(), "b", "user=ada", Uuid::new_v4()).await;
    gate.send_replace(false);
    let joining = tokio::spawn(own(node.address(), "b", "user=ben", Uuid::new_v4()));
    for seq in 1..=20 {
        ada.op(seq, create(&format!("e{seq}"))).await;
        let kept = |frame| matches!(frame, ServerFrame::Ack { seq: acked, .. } if acked == seq).then_some(());
        ada.find(kept).await;
    }
    assert!(!joining.is_finished(), "nobody is welcomed before that");
    gate.send_replace(true);
    joining.await.unwrap();
}

//
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_changes_on_the_way_in_is_looked_up_again() {
    let log = MemoryLog::new(7);
    let store = Arc::new(MemoryStore::new(log.clone()));
    let (gate, may_say) = watch::channel(true);
    let mut args = ServeArgs::default();
    args.jwt.jwt_key = Some(SECRET.into());
    let node = Node::on(args, Arc::new(Held { log, may_say }), store, || true).await;
    let teacher = token("teacher", None);
    let as_teacher = async |method, path: &str, body| {
        let request = node.ask(method, path).bearer_auth(&teacher).json(&body);
        assert!(answer(request).await.status < 300, "{method} {path}");
    };
    let member = |user| format!("/v1/boards/b/members/{user}");
    as_teacher("POST", "/v1/boards", json!({ "id": "b" })).await;
    for user in ["mina", "hana", "jun"] {
        as_teacher("PUT", &member(user), json!({ "role": "editor" })).await;
    }
    let yjs = async |user| {
        let path = format!("/yjs/b?token={}", token(user, None));
        upgrade(node.address(), &path, None).await
    };
    // The room is there before them.
    let mut first = yjs("teacher").await.unwrap();
    first.find_y(&[0, 0]).await;
    gate.send_replace(false);
    let [mut mina, mut hana, mut jun] = [yjs("mina").await, yjs("hana").await, yjs("jun").await].map(Result::unwrap);
    as_teacher("PUT", &member("mina"), json!({ "role": "viewer" })).await;
    as_teacher("DELETE", &member("hana"), json!({})).await;
    gate.send_replace(true);
    assert_eq!(mina.closed().await, 4500, "she comes back as a viewer");
    assert_eq!(hana.closed().await, 4403);
    jun.find_y(&[0, 0]).await;
}

/// A log that cannot be reached for a while, as a cluster's is for a node without brokers.
#[derive(Clone)]
struct Far {
    log: MemoryLog,
    is_away: Arc<watch::Sender<bool>>,
    /// Questions that it did not answer.
    unanswered: Arc<watch::Sender<usize>>,
}

impl Far {
    fn new(log: MemoryLog) -> Self {
        Self {
            log,
            is_away: Arc::default(),
            unanswered: Arc::default(),
        }
    }

    async fn back(&self) {
        let mut is_away = self.is_away.subscribe();
        is_away.wait_for(|is_away| !is_away).await.expect("the sender lives");
    }
}

#[async_trait]
impl UpdateLog for Far {
    fn append(&self, board: &BoardId, record: Arc<Record>) -> BoxFuture<'static, Result<Position, LogError>> {
        let (this, board) = (self.clone(), board.clone());
        async move {
            this.back().await;
            this.log.append_now(&board, record)
        }
        .boxed()
    }

    async fn tail(&self, board: &BoardId, after: Option<Position>) -> Result<mpsc::Receiver<Logged>, LogError> {
        let mut near = self.log.tail(board, after).await?;
        let (reader, tail) = mpsc::channel(16);
        let this = self.clone();
        tokio::spawn(async move {
            while let Some(logged) = near.recv().await {
                this.back().await;
                if reader.send(logged).await.is_err() {
                    return;
                }
            }
        });
        Ok(tail)
    }

    async fn end(&self, _board: &BoardId) -> Result<Position, LogError> {
        if *self.is_away.borrow() {
            self.unanswered.send_modify(|unanswered| *unanswered += 1);
            return Err(LogError::Away("made to be away".into()));
        }
        Ok(self.log.end_now())
    }

    async fn level(&self, board: &BoardId) -> Result<(), LogError> {
        self.end(board).await.map(drop)
    }
}

/// A node without brokers, if the test says so, and one that has them, with the board `b`.
async fn far_and_near() -> (Far, Node, Node) {
    far_and_near_on(&Handle::current()).await
}

/// The same, with the first one on a runtime of its own.
async fn far_and_near_on(runtime: &Handle) -> (Far, Node, Node) {
    let log = MemoryLog::new(7);
    let store = Arc::new(MemoryStore::new(log.clone()));
    let far = Far::new(log.clone());
    let (of_cut, in_cut) = (Arc::new(far.clone()), Arc::<MemoryStore>::clone(&store));
    let cut = async || Node::on(ServeArgs::default(), of_cut, in_cut, || true).await;
    let cut = runtime.spawn(cut()).await.unwrap();
    let near = Node::on(ServeArgs::default(), Arc::new(log), store, || true).await;
    let made = cut.send("POST", "/v1/boards", json!({ "id": "b", "title": "b" })).await;
    assert_eq!(made.status, 201);
    (far, cut, near)
}

/// Joins, and says what the role is.
async fn joined(node: &Node, user: &str, client: Uuid) -> (Socket, Role) {
    let path = format!("/v1/boards/b/ws?user={user}");
    let mut socket = upgrade(node.address(), &path, Some("panseo.v1.json")).await.unwrap();
    socket.frame(&hello(client)).await;
    let role = |frame| {
        if let ServerFrame::Welcome { role, .. } = frame {
            Some(role)
        } else {
            None
        }
    };
    let role = socket.find(role).await;
    (socket, role)
}

async fn keeps(socket: &mut Socket, seq: u64) {
    socket
        .find(|frame| matches!(frame, ServerFrame::Ack { seq: acked, .. } if acked >= seq).then_some(()))
        .await;
}

async fn sees(socket: &mut Socket, element: &str) {
    let shows = |frame: &ServerFrame| serde_json::to_string(frame).unwrap().contains(element);
    socket.find(|frame| shows(&frame).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_log_is_away_a_live_board_is_joined_for_looking_and_the_others_go_on() {
    let (far, node, _) = far_and_near().await;
    let (mut ada, _) = joined(&node, "ada", Uuid::new_v4()).await;
    let (mut ben, _) = joined(&node, "ben", Uuid::new_v4()).await;
    far.is_away.send_replace(true);
    ada.op(1, create("first")).await;
    sees(&mut ben, "first").await;
    let client = Uuid::new_v4();
    let (mut cai, role) = joined(&node, "cai", client).await;
    assert_eq!(role, Role::Viewer);
    sees(&mut cai, "first").await;
    cai.op(1, create("early")).await;
    ada.op(2, create("second")).await;
    sees(&mut cai, "second").await;
    // Others may have drawn elsewhere: it might not be all of the board.
    assert_eq!(node.get("/v1/boards/b/export?format=json").await.problem().0, 503);
    far.is_away.send_replace(false);
    keeps(&mut ada, 2).await;
    assert_eq!(cai.closed().await, 4503, "cai comes back in a moment");
    let (mut cai, role) = joined(&node, "cai", client).await;
    assert_eq!(role, Role::Teacher);
    cai.op(1, create("late")).await;
    keeps(&mut cai, 1).await;
    let board = node.get("/v1/boards/b/export?format=json").await;
    let board = String::from_utf8(board.bytes).unwrap();
    assert!(board.contains("late") && !board.contains("early"), "{board}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_log_is_away_a_cold_board_is_shown_from_the_store_and_nothing_builds_on_it() {
    let (far, node, near) = far_and_near().await;
    assert_eq!(near.draw("/v1/boards/b/ops", "stored").await.status, 200);
    far.is_away.send_replace(true);
    let (mut ada, role) = joined(&node, "ada", Uuid::new_v4()).await;
    assert_eq!(role, Role::Viewer);
    sees(&mut ada, "stored").await;
    ada.op(1, create("early")).await;
    assert_eq!(node.draw("/v1/boards/b/ops", "early").await.problem().0, 503);
    assert_eq!(node.get("/v1/boards/b/export?format=json").await.problem().0, 503);
    far.is_away.send_replace(false);
    assert_eq!(ada.closed().await, 4500, "the board is opened anew");
    let (mut ada, role) = joined(&node, "ada", Uuid::new_v4()).await;
    assert_eq!(role, Role::Teacher);
    ada.op(1, create("late")).await;
    keeps(&mut ada, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_another_node_took_counts_once_though_the_log_was_away_between() {
    let (far, node, near) = far_and_near().await;
    let (_keeps_it_open, _) = joined(&node, "ben", Uuid::new_v4()).await;
    let client = Uuid::new_v4();
    let step = json!({ "op": "element.move", "targets": ["e"], "dx": 1, "dy": 0 });
    let (mut ada, _) = joined(&near, "ada", client).await;
    ada.op(1, create("e")).await;
    keeps(&mut ada, 1).await;
    far.is_away.send_replace(true);
    ada.op(2, step.clone()).await;
    keeps(&mut ada, 2).await;
    let (mut ada, _) = joined(&node, "ada", client).await;
    ada.op(2, step.clone()).await;
    far.is_away.send_replace(false);
    assert_eq!(ada.closed().await, 4503);
    let (mut ada, _) = joined(&node, "ada", client).await;
    ada.op(2, step).await;
    keeps(&mut ada, 2).await;
    let board = node.get("/v1/boards/b/export?format=json").await;
    let board = String::from_utf8(board.bytes).unwrap();
    assert!(board.contains("\"x\":2,"), "moved once: {board}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_another_node_took_while_this_one_was_frozen_counts_once() {
    let one_thread = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let freezing = one_thread.unwrap();
    let (far, node, near) = far_and_near_on(freezing.handle()).await;
    let client = Uuid::new_v4();
    let step = json!({ "op": "element.move", "targets": ["e"], "dx": 1, "dy": 0 });
    let (mut before, _) = joined(&node, "ada", client).await;
    before.op(1, create("e")).await;
    keeps(&mut before, 1).await;
    let (thaw, is_thawed) = std::sync::mpsc::channel();
    let frozen = freezing.spawn(async move { is_thawed.recv() });
    far.is_away.send_replace(true);
    before.op(2, step.clone()).await;
    let (mut after, _) = joined(&near, "ada", client).await;
    after.op(2, step).await;
    // So long that the node notices it.
    let mut pace = interval(Duration::from_secs(1));
    for seq in 3..10 {
        pace.tick().await;
        after.op(seq, create(&format!("e{seq}"))).await;
    }
    keeps(&mut after, 9).await;
    thaw.send(()).unwrap();
    frozen.await.unwrap().unwrap();
    // It has to find its brokers again first.
    let mut unanswered = far.unanswered.subscribe();
    timeout(SOON, unanswered.wait_for(|unanswered| *unanswered > 2))
        .await
        .unwrap()
        .unwrap();
    far.is_away.send_replace(false);
    keeps(&mut before, 2).await;
    for each in [&node, &near] {
        let board = each.get("/v1/boards/b/export?format=json").await;
        let board = String::from_utf8(board.bytes).unwrap();
        assert!(board.contains("\"x\":2,"), "moved once: {board}");
    }
    freezing.shutdown_background();
}
