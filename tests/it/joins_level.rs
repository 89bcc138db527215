//! Who joins a live board waits until its room has been handed what was durable when they came.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use panseo::config::ServeArgs;
use panseo::log::memory::MemoryLog;
use panseo::log::{LogError, Logged, UpdateLog};
use panseo::protocol::ids::{BoardId, Position};
use panseo::protocol::{Record, ServerFrame};
use panseo::store::memory::MemoryStore;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::support::live::own;
use crate::support::node::{Node, create};

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
