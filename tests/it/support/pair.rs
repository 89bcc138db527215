//! Two nodes of one cluster that want tokens: in this process over one log in memory, or real ones.

use std::net::SocketAddr;
use std::sync::Arc;

use panseo::config::ServeArgs;
use panseo::log::memory::MemoryLog;
use panseo::protocol::ids::Role;
use panseo::store::memory::MemoryStore;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::live::{KEY, Server, Socket, own, token, upgrade};
use super::node::Node;
use crate::two_nodes::Ground;

/// Which of the two.
#[derive(Debug, Clone, Copy)]
pub(crate) enum At {
    One = 0,
    Two = 1,
}

/// The two nodes.
pub(crate) struct Pair {
    pub(crate) addresses: [SocketAddr; 2],
    pub(crate) servers: Vec<Server>,
    pub(crate) ground: Option<Ground>,
    nodes: Vec<Node>,
}

impl Pair {
    /// Without any other process.
    pub(crate) async fn in_memory() -> Self {
        let log = MemoryLog::new(7);
        let store = Arc::new(MemoryStore::new(log.clone()));
        let mut nodes = Vec::new();
        for _ in 0..2 {
            let mut args = ServeArgs::default();
            args.jwt.jwt_key = Some(KEY.into());
            args.no_rate_limits = true;
            nodes.push(Node::on(args, Arc::new(log.node()), Arc::clone(&store) as _, || true).await);
        }
        Self {
            addresses: [nodes[0].address(), nodes[1].address()],
            servers: Vec::new(),
            ground: None,
            nodes,
        }
    }

    /// The real binary twice, over a broker and a database; none where these are not there.
    pub(crate) async fn real() -> Option<Self> {
        let ground = Ground::find().await?;
        let flags = ["--auth", "jwt", "--jwt-key", KEY, "--no-rate-limits"];
        let servers = vec![ground.node_with("one", &flags), ground.node_with("two", &flags)];
        Some(Self {
            addresses: [servers[0].address, servers[1].address],
            servers,
            ground: Some(ground),
            nodes: Vec::new(),
        })
    }

    /// A request as somebody: status and body.
    pub(crate) async fn ask(&self, at: At, token: &str, method: &str, path: &str, body: &Json) -> (u16, Json) {
        let url = format!("http://{}{path}", self.addresses[at as usize]);
        let request = reqwest::Client::new().request(method.parse().unwrap(), url);
        let answer = request.bearer_auth(token).json(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    /// A board of `teacher`'s, made at the first node.
    pub(crate) async fn board(&self, board: &str) {
        let teacher = token("teacher", 3_600, &[]);
        let made = self
            .ask(At::One, &teacher, "POST", "/v1/boards", &json!({ "id": board }))
            .await;
        assert_eq!(made.0, 201, "{made:?}");
    }

    /// Gives a person a role, at the first node.
    pub(crate) async fn member(&self, board: &str, user: &str, role: &str) {
        let teacher = token("teacher", 3_600, &[]);
        let path = format!("/v1/boards/{board}/members/{user}");
        let given = self
            .ask(At::One, &teacher, "PUT", &path, &json!({ "role": role }))
            .await;
        assert_eq!(given.0, 200, "{given:?}");
    }

    /// A client of our own door with a token that gives a role.
    pub(crate) async fn own(&self, at: At, board: &str, user: &str) -> Socket {
        let token = token(user, 3_600, &[(board, Role::Editor)]);
        own(
            self.addresses[at as usize],
            board,
            &format!("token={token}"),
            Uuid::new_v4(),
        )
        .await
    }

    /// A client of the Yjs door.
    pub(crate) async fn yjs(&self, at: At, board: &str, user: &str) -> Socket {
        let token = token(user, 3_600, &[(board, Role::Editor)]);
        let path = format!("/yjs/{board}?token={token}");
        upgrade(self.addresses[at as usize], &path, None).await.unwrap()
    }

    /// Stops the nodes of this process, as SIGTERM does.
    pub(crate) async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}
