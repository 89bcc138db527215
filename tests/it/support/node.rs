//! A node in this process: the real router and hub over log and store in memory, on a free port.

use std::net::SocketAddr;
use std::sync::Arc;

use panseo::config::{Config, ServeArgs};
use panseo::http::token::{TokenClaims, mint};
use panseo::log::UpdateLog;
use panseo::log::memory::MemoryLog;
use panseo::protocol::ids::{Role, UserId};
use panseo::room::hub::Hub;
use panseo::server::{Adapters, Running, app_state, clock};
use panseo::store::BoardStore;
use panseo::store::memory::MemoryStore;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;

/// Secret that tokens of [`Node::with_tokens`] are signed with.
pub(crate) const SECRET: &str = "a secret of more than thirty-two bytes";

/// A running node.
pub(crate) struct Node {
    running: Option<Running>,
    pub(crate) hub: Hub,
    client: Client,
    url: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    /// A field of the head, empty where it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and code of the problem document that this must be.
    #[track_caller]
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        (self.status, problem["code"].as_str().unwrap().to_owned())
    }
}

impl Node {
    /// A node with `--auth open`.
    pub(crate) async fn open() -> Self {
        Self::start(ServeArgs::default()).await
    }

    /// A node that wants tokens, see [`token`].
    pub(crate) async fn with_tokens() -> Self {
        let mut args = ServeArgs::default();
        args.jwt.jwt_key = Some(SECRET.into());
        args.origins = Some("https://school.example".to_owned());
        Self::start(args).await
    }

    async fn start(args: ServeArgs) -> Self {
        let log = MemoryLog::new(7);
        let store = Arc::new(MemoryStore::new(log.clone()));
        Self::on(args, Arc::new(log), store, || true).await
    }

    /// A node on adapters of the test's own.
    pub(crate) async fn on(
        args: ServeArgs,
        log: Arc<dyn UpdateLog>,
        store: Arc<dyn BoardStore>,
        is_healthy: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let config = Config::resolve(args, &|_name| None).unwrap();
        let hub = Hub::new(log, Arc::clone(&store), config.limits.clone(), clock, is_healthy);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let adapters = Adapters {
            hub: hub.clone(),
            store,
        };
        let running = Running::start(listener, app_state(&config, adapters)).unwrap();
        Self {
            url: format!("http://{}", running.address),
            running: Some(running),
            hub,
            client: Client::new(),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.authority().parse().unwrap()
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// A request to be filled in.
    pub(crate) fn ask(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// A request without a body.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.ask("GET", path)).await
    }

    /// A request with a JSON body.
    pub(crate) async fn send(&self, method: &str, path: &str, body: Json) -> Answer {
        answer(self.ask(method, path).json(&body)).await
    }

    /// A new rectangle.
    pub(crate) async fn draw(&self, path: &str, id: &str) -> Answer {
        self.send("POST", path, json!({ "ops": [create(id)] })).await
    }

    /// Stops the node, as SIGTERM does.
    pub(crate) async fn stop(mut self) {
        self.running.take().unwrap().stop().await;
    }
}

/// The op that makes a rectangle.
pub(crate) fn create(id: &str) -> Json {
    json!({ "op": "element.create", "element": { "id": id, "type": "rectangle", "x": 1, "y": 2, "width": 3, "height": 4 } })
}

/// Sends a request and reads the answer.
pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        bytes: response.bytes().await.unwrap().to_vec(),
    }
}

/// A token as the school would make it; `boards` are pairs of board (or `*`) and role.
pub(crate) fn token(user: &str, boards: Option<&[(&str, Role)]>) -> String {
    let now = clock().0 / 1000;
    let boards = boards.map(|boards| {
        boards
            .iter()
            .map(|(board, role)| ((*board).to_owned(), *role))
            .collect()
    });
    let claims = TokenClaims {
        sub: UserId::new(user).unwrap(),
        iat: now,
        exp: now + 3600,
        name: None,
        boards,
        jti: None,
        admin: false,
        iss: None,
        aud: None,
    };
    mint(SECRET, &claims).unwrap()
}
