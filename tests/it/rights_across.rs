//! Changed rights reach the open sockets of all nodes, whichever node was told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use panseo::config::ServeArgs;
use panseo::log::memory::MemoryLog;
use panseo::log::{LogError, Logged, Relay, UpdateLog};
use panseo::protocol::ids::{BoardId, Position, Role, UserId};
use panseo::protocol::notice::Notice;
use panseo::protocol::relay::{Lane, Relayed};
use panseo::protocol::{Record, ServerFrame};
use panseo::store::BoardStore as _;
use panseo::store::memory::MemoryStore;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::live::{KEY, Socket, own, token, token_named};
use crate::support::node::Node;
use crate::support::pair::{At, Pair};
use crate::support::soon::until;

/// Time in which a change must hold for open sockets.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn closes_with(socket: &mut Socket, code: u16) {
    let closed = timeout(AT_ONCE, socket.closed()).await;
    assert_eq!(closed.expect("the socket ends within a second"), code);
}

async fn hears_role(socket: &mut Socket, role: Role) {
    let heard = socket.find(|frame| matches!(frame, ServerFrame::Role { role: new, .. } if new == role).then_some(()));
    timeout(AT_ONCE, heard).await.expect("the role comes within a second");
}

//
async fn a_role_is_changed(pair: &Pair) {
    let teacher = token("teacher", 3_600, &[]);
    pair.member("lesson", "mina", "editor").await;
    let mut mina = pair.own(At::Two, "lesson", "mina").await;
    let mut same_node = pair.own(At::One, "lesson", "mina").await;
    let mut jun = pair.yjs(At::Two, "lesson", "jun").await;
    pair.member("lesson", "mina", "viewer").await;
    hears_role(&mut mina, Role::Viewer).await;
    hears_role(&mut same_node, Role::Viewer).await;
    pair.member("lesson", "mina", "editor").await;
    hears_role(&mut mina, Role::Editor).await;
    pair.member("lesson", "jun", "editor").await;
    for (user, socket) in [("mina", &mut mina), ("jun", &mut jun)] {
        let path = format!("/v1/boards/lesson/members/{user}");
        let removed = pair.ask(At::One, &teacher, "DELETE", &path, &json!({})).await;
        assert_eq!(removed.0, 204, "{removed:?}");
        closes_with(socket, 4403).await;
    }
}

async fn a_setting_is_changed(pair: &Pair) {
    let teacher = token("teacher", 3_600, &[]);
    let mut mina = pair.own(At::Two, "lesson", "mina").await;
    let draw = |id: &str| {
        json!({ "op": "element.create", "element":
            { "id": id, "type": "rectangle", "x": 1, "y": 2, "width": 3, "height": 4 } })
    };
    let mut jun = pair.own(At::Two, "lesson", "jun").await;
    jun.op(1, draw("juns")).await;
    let kept = |seq| move |frame| matches!(frame, ServerFrame::Ack { seq: acked, .. } if acked == seq).then_some(());
    jun.find(kept(1)).await;
    let patch = json!({ "edit": "own" });
    let set = pair.ask(At::One, &teacher, "PATCH", "/v1/boards/lesson", &patch).await;
    assert_eq!(set.0, 200, "{set:?}");
    // It holds for the first edit behind it.
    let refused = async {
        for seq in 1.. {
            mina.op(seq, json!({ "op": "element.delete", "targets": ["juns"] }))
                .await;
            let answer = |frame| match frame {
                ServerFrame::Error { .. } => Some(true),
                ServerFrame::Ack { .. } => Some(false),
                _ => None,
            };
            if mina.find(answer).await {
                return;
            }
        }
    };
    timeout(AT_ONCE, refused)
        .await
        .expect("the setting holds within a second");
}

//
async fn tokens_are_revoked(pair: &Pair) {
    let path = "/v1/tokens/revoke";
    let mine = token_named("hers", false, "mina", 3_600, &[("lesson", Role::Editor)]);
    let admin = token_named("admin", true, "office", 3_600, &[]);
    let mut here = join(pair, At::One, &mine).await;
    let mut there = join(pair, At::Two, &mine).await;
    let done = pair.ask(At::One, &mine, "POST", path, &json!({})).await;
    assert_eq!(done.0, 204, "{done:?}");
    closes_with(&mut there, 4401).await;
    closes_with(&mut here, 4401).await;
    assert_eq!(pair.ask(At::Two, &mine, "GET", "/v1/boards", &json!({})).await.0, 401);
    let pass = token_named("others", false, "hana", 3_600, &[("lesson", Role::Viewer)]);
    let mut hana = join(pair, At::Two, &pass).await;
    let done = pair
        .ask(At::One, &admin, "POST", path, &json!({ "user": "hana" }))
        .await;
    assert_eq!(done.0, 204, "{done:?}");
    closes_with(&mut hana, 4401).await;
}

async fn join(pair: &Pair, at: At, token: &str) -> Socket {
    let query = format!("token={token}");
    own(pair.addresses[at as usize], "lesson", &query, Uuid::new_v4()).await
}

async fn a_board_is_deleted(pair: &Pair) {
    let teacher = token("teacher", 3_600, &[]);
    let mut mina = pair.own(At::Two, "lesson", "mina").await;
    let deleted = pair
        .ask(At::One, &teacher, "DELETE", "/v1/boards/lesson", &json!({}))
        .await;
    assert_eq!(deleted.0, 204, "{deleted:?}");
    closes_with(&mut mina, 4404).await;
}

async fn all(pair: &Pair) {
    pair.board("lesson").await;
    a_role_is_changed(pair).await;
    a_setting_is_changed(pair).await;
    tokens_are_revoked(pair).await;
    a_board_is_deleted(pair).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_at_one_node_reaches_sockets_of_the_other() {
    let pair = Pair::in_memory().await;
    all(&pair).await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_at_one_real_node_reaches_sockets_of_the_other() {
    let Some(pair) = Pair::real().await else { return };
    all(&pair).await;
    for server in &pair.servers {
        assert!(server.metric("panseo_notices_total").await >= 8.0);
    }
    // Who starts later finds it in the database.
    let ground = pair.ground.as_ref().unwrap();
    let flags = ["--auth", "jwt", "--jwt-key", KEY];
    let third = ground.node_with("three", &flags);
    let mine = token_named("hers", false, "mina", 3_600, &[]);
    assert_eq!(third.request_as(&mine, "GET", "/v1/boards", "").await, 401);
}

/// A log whose brokers do not answer: records are taken, notices are not. Those of others come from the test.
#[derive(Clone)]
struct Mute {
    log: MemoryLog,
    may_write: watch::Receiver<bool>,
    notices: Arc<Mutex<Option<mpsc::Receiver<Notice>>>>,
}

impl Mute {
    /// A node on it, with the board `lesson` and its store, and the notices it is to hear.
    async fn node() -> (Node, Arc<MemoryStore>, mpsc::Sender<Notice>) {
        Self::node_writing(watch::channel(true).1).await
    }

    /// The same, with records that become durable when they may.
    async fn node_writing(may_write: watch::Receiver<bool>) -> (Node, Arc<MemoryStore>, mpsc::Sender<Notice>) {
        let log = MemoryLog::new(7);
        let store = Arc::new(MemoryStore::new(log.clone()));
        let (told, notices) = mpsc::channel(1);
        let notices = Arc::new(Mutex::new(Some(notices)));
        let mute = Arc::new(Self {
            log,
            may_write,
            notices,
        });
        let node = Node::on(ServeArgs::default(), mute, Arc::clone(&store) as _, || true).await;
        let made = node.send("POST", "/v1/boards", json!({ "id": "lesson" })).await;
        assert_eq!(made.status, 201);
        (node, store, told)
    }
}

#[async_trait]
impl UpdateLog for Mute {
    fn append(&self, board: &BoardId, record: Arc<Record>) -> BoxFuture<'static, Result<Position, LogError>> {
        let (mut may_write, append) = (self.may_write.clone(), self.log.append(board, record));
        async move {
            may_write.wait_for(|may| *may).await.expect("the test holds the sender");
            append.await
        }
        .boxed()
    }

    async fn tail(&self, board: &BoardId, after: Option<Position>) -> Result<mpsc::Receiver<Logged>, LogError> {
        self.log.tail(board, after).await
    }

    async fn end(&self, board: &BoardId) -> Result<Position, LogError> {
        self.log.end(board).await
    }

    fn relay(&self) -> Option<Arc<dyn Relay>> {
        Some(Arc::new(self.clone()))
    }
}

impl Relay for Mute {
    fn tell(&self, _notice: Notice) -> BoxFuture<'static, Result<(), LogError>> {
        std::future::pending().boxed()
    }

    fn notices(&self) -> Option<mpsc::Receiver<Notice>> {
        self.notices.lock().unwrap().take()
    }

    fn show(&self, _board: &BoardId, _lane: Lane, _relayed: &Relayed) {}

    fn watch(&self, _board: &BoardId, _room: u64) -> mpsc::Receiver<Arc<Relayed>> {
        mpsc::channel(1).1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_others_have_not_heard_of_holds_and_says_so() {
    let (node, store, _told) = Mute::node().await;
    let mut mina = own(node.address(), "lesson", "user=mina", Uuid::new_v4()).await;
    let given = node
        .send("PUT", "/v1/boards/lesson/members/mina", json!({ "role": "viewer" }))
        .await;
    assert_eq!(given.problem(), (503, "not_told_everywhere".to_owned()));
    assert_eq!(given.header("retry-after"), "5");
    hears_role(&mut mina, Role::Viewer).await;
    let (board, user) = (BoardId::new("lesson").unwrap(), UserId::new("mina").unwrap());
    assert_eq!(store.role(&board, &user).await.unwrap(), Some(Role::Viewer));
    node.stop().await;
}

//
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_role_counts_for_who_is_on_the_way_to_a_board_that_is_not_open_yet() {
    let (node, _store, told) = Mute::node().await;
    let (board, user) = (BoardId::new("closed").unwrap(), UserId::new("mina").unwrap());
    let before = node.hub.grants();
    let role = None;
    told.send(Notice::Role { board, user, role }).await.unwrap();
    until("whoever was admitted before looks again", async || {
        node.hub.grants() > before
    })
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_on_a_board_that_was_made_again_comes_to_it() {
    let (node, store, told) = Mute::node().await;
    let board = BoardId::new("lesson").unwrap();
    let deleted = || Notice::Deleted { board: board.clone() };
    let mut mina = own(node.address(), "lesson", "user=mina", Uuid::new_v4()).await;
    told.send(deleted()).await.unwrap();
    closes_with(&mut mina, 4500).await;
    let mut mina = own(node.address(), "lesson", "user=mina", Uuid::new_v4()).await;
    store.delete_board(&board).await.unwrap();
    told.send(deleted()).await.unwrap();
    closes_with(&mut mina, 4404).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_other_nodes_tell_holds_until_the_rooms_of_a_node_that_stops_have_ended() {
    let (gate, may_write) = watch::channel(true);
    let (node, _store, told) = Mute::node_writing(may_write).await;
    let mut mina = own(node.address(), "lesson", "user=mina", Uuid::new_v4()).await;
    let mut jun = own(node.address(), "lesson", "user=jun", Uuid::new_v4()).await;
    gate.send_replace(false);
    let element = json!({ "id": "late", "type": "rectangle", "x": 1, "y": 2, "width": 3, "height": 4 });
    mina.op(1, json!({ "op": "element.create", "element": element })).await;
    jun.find(|frame| matches!(frame, ServerFrame::Event { .. }).then_some(()))
        .await;
    let telling = async {
        mina.closed().await;
        let (board, user) = (BoardId::new("lesson").unwrap(), UserId::new("jun").unwrap());
        // One may wait unread.
        for _ in 0..3 {
            let (board, user) = (board.clone(), user.clone());
            let role = None;
            let kick = Notice::Role { board, user, role };
            told.send(kick).await.expect("somebody listens");
        }
        gate.send_replace(true);
    };
    tokio::join!(node.stop(), telling);
}
