//! The real binary on a port of its own, and sockets that speak to it through both doors.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use panseo::http::token::{TokenClaims, mint};
use panseo::protocol::ids::{Role, UserId};
use panseo::protocol::{ClientFrame, Hello, ServerFrame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;

/// Time within which any one answer must come.
pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const KEY: &str = "a secret for tests, of more than 32 bytes";

/// The real binary; killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    command: Vec<String>,
}

impl Server {
    /// A node where everybody is a teacher.
    pub(crate) fn open(limits: &str) -> Self {
        Self::start(&["--auth", "open"], limits)
    }

    /// A node that wants tokens.
    pub(crate) fn jwt(limits: &str) -> Self {
        Self::start(&["--auth", "jwt", "--jwt-key", KEY], limits)
    }

    /// A node that wants tokens, and counts nothing else.
    pub(crate) fn jwt_without_rates(limits: &str) -> Self {
        Self::start(&["--auth", "jwt", "--jwt-key", KEY, "--no-rate-limits"], limits)
    }

    pub(crate) fn start(flags: &[&str], limits: &str) -> Self {
        Self::start_by(&[], flags, limits)
    }

    /// Started by another program, which gets the command line behind its own.
    pub(crate) fn start_by(launcher: &[&str], flags: &[&str], limits: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let config = folder.path().join("panseo.toml");
        std::fs::write(&config, format!("[limits]\n{limits}\n")).expect("a file can be written");
        let listen: &[&str] = if flags.contains(&"--listen") {
            &[]
        } else {
            &["--listen", "127.0.0.1:0"]
        };
        let command: Vec<String> = launcher
            .iter()
            .chain(&[env!("CARGO_BIN_EXE_panseo"), "serve"])
            .chain(listen)
            .chain(flags)
            .map(|part| (*part).to_owned())
            .collect();
        let (child, address) = launch(folder.path(), &command);
        Self {
            child,
            address,
            folder,
            command,
        }
    }

    /// Kills it and starts it again on the same data, on another port.
    pub(crate) fn restart(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
        (self.child, self.address) = launch(self.folder.path(), &self.command);
    }

    /// All that it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// One request on a connection of its own: status and the whole answer.
    pub(crate) async fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}",
            self.address
        );
        let text = format!(
            "{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        raw(self.address, text.as_bytes()).await
    }

    /// The same as somebody with a token.
    pub(crate) async fn request_as(&self, token: &str, method: &str, path: &str, body: &str) -> u16 {
        self.request(method, path, &format!("Authorization: Bearer {token}\r\n"), body)
            .await
            .0
    }

    pub(crate) async fn make_board(&self, board: &str) {
        let board = serde_json::json!({ "id": board, "title": board }).to_string();
        let (status, answer) = self.request("POST", "/v1/boards", "", &board).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// The board as a file.
    pub(crate) async fn exported(&self, board: &str) -> String {
        let exported = self.try_exported(board).await;
        exported.unwrap_or_else(|answer| panic!("{answer}"))
    }

    /// The board as a file, or what else was answered.
    pub(crate) async fn try_exported(&self, board: &str) -> Result<String, String> {
        let path = format!("/v1/boards/{board}/export?format=json");
        match self.request("GET", &path, "", "").await {
            (200, answer) => Ok(answer
                .split_once("\r\n\r\n")
                .expect("an answer has a head")
                .1
                .to_owned()),
            (_, answer) => Err(answer),
        }
    }

    /// Opens a socket; the status if it is refused.
    pub(crate) async fn upgrade(&self, path: &str, protocol: Option<&str>) -> Result<Socket, u16> {
        upgrade(self.address, path, protocol).await
    }

    /// A Yjs client.
    pub(crate) async fn yjs(&self, board_and_query: &str) -> Socket {
        self.upgrade(&format!("/yjs/{board_and_query}"), None)
            .await
            .expect("the door opens")
    }

    /// A client of our own door in JSON, after its `welcome` and `resync`.
    pub(crate) async fn own(&self, board: &str, query: &str, client: Uuid) -> Socket {
        own(self.address, board, query, client).await
    }

    /// A figure of `/metrics`, all labels together.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.request("GET", "/metrics", "", "").await;
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            .expect("the process lives")
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("the child can be asked").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Opens a socket; the status if it is refused.
pub(crate) async fn upgrade(address: SocketAddr, path: &str, protocol: Option<&str>) -> Result<Socket, u16> {
    let uri = format!("ws://{address}{path}").parse().expect("a URI");
    let mut request = ClientRequestBuilder::new(uri);
    if let Some(protocol) = protocol {
        request = request.with_sub_protocol(protocol);
    }
    match timeout(SOON, connect_async(request))
        .await
        .expect("the upgrade is answered in time")
    {
        Ok((socket, _)) => Ok(Socket(socket)),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{path}: {error}"),
    }
}

/// A client of our own door in JSON, after its `welcome` and `resync`.
pub(crate) async fn own(address: SocketAddr, board: &str, query: &str, client: Uuid) -> Socket {
    let path = format!("/v1/boards/{board}/ws?{query}");
    let mut socket = upgrade(address, &path, Some("panseo.v1.json"))
        .await
        .expect("the door opens");
    socket.frame(&hello(client)).await;
    socket
        .find(|frame| matches!(frame, ServerFrame::Resync { .. }).then_some(()))
        .await;
    socket
}

fn launch(folder: &Path, command: &[String]) -> (Child, SocketAddr) {
    let log = File::options().append(true).create(true).open(folder.join("log"));
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg("--config")
        .arg(folder.join("panseo.toml"))
        .env(
            "PANSEO_LOG",
            std::env::var("PANSEO_TEST_LOG").unwrap_or_else(|_unset| "error".into()),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.expect("a file can be written"))
        .spawn()
        .expect("the server can be started");
    let output = child.stdout.take().expect("its output is a pipe");
    let address = BufReader::new(output)
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.rsplit_once("http://")?.1.trim().parse().ok())
        .unwrap_or_else(|| {
            let said = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            panic!("the server did not start: {said}")
        });
    (child, address)
}

/// Sends bytes and reads until the other side has enough.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> (u16, String) {
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    // The answer may come before all is sent.
    socket.write_all(bytes).await.ok();
    let mut answer = Vec::new();
    timeout(SOON, socket.read_to_end(&mut answer))
        .await
        .expect("the answer ends in time")
        .ok();
    let text = String::from_utf8_lossy(&answer).into_owned();
    (
        text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0),
        text,
    )
}

/// Sends bytes and reads the head of the answer.
pub(crate) async fn head(address: SocketAddr, bytes: &[u8]) -> (u16, String) {
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    socket.write_all(bytes).await.expect("the server reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let byte = timeout(SOON, socket.read_u8()).await.expect("the answer comes in time");
        answer.push(byte.expect("the answer has a head"));
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    (text[9..12].parse().expect("a status"), text)
}

/// A token of this life in seconds, with roles by board.
pub(crate) fn token(user: &str, life: i64, boards: &[(&str, Role)]) -> String {
    token_named(&format!("{user}-{life}"), false, user, life, boards)
}

/// The same with its `jti`, and perhaps `admin`.
pub(crate) fn token_named(id: &str, admin: bool, user: &str, life: i64, boards: &[(&str, Role)]) -> String {
    let now = i64::try_from(panseo::server::clock().0 / 1_000).expect("a time");
    let seconds = |time: i64| u64::try_from(time).expect("after 1970");
    let claims = TokenClaims {
        sub: UserId::new(user).expect("a name"),
        iat: seconds(now.min(now + life)),
        exp: seconds(now + life),
        name: Some(format!("{user} by token")),
        boards: (!boards.is_empty()).then(|| boards.iter().map(|(id, role)| ((*id).to_owned(), *role)).collect()),
        jti: Some(id.to_owned()),
        admin,
        iss: None,
        aud: None,
    };
    mint(KEY, &claims).expect("the key is good")
}

pub(crate) fn hello(client: Uuid) -> ClientFrame {
    ClientFrame::Hello(Hello {
        client,
        token: None,
        user: None,
        document: false,
        vector: None,
    })
}

/// What comes out of a socket.
#[derive(Debug)]
pub(crate) enum Heard {
    Message(Bytes),
    Close(u16),
    Gone,
}

/// A client's end.
pub(crate) struct Socket(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn binary(&mut self, bytes: impl Into<Bytes>) {
        // A server that has hung up says why to the reader.
        self.0.send(Message::Binary(bytes.into())).await.ok();
    }

    pub(crate) async fn text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.ok();
    }

    pub(crate) async fn frame(&mut self, frame: &ClientFrame) {
        self.text(&serde_json::to_string(frame).expect("a frame can be encoded"))
            .await;
    }

    pub(crate) async fn op(&mut self, seq: u64, op: serde_json::Value) {
        self.text(&serde_json::json!({ "t": "op", "seq": seq, "ops": [op] }).to_string())
            .await;
    }

    pub(crate) async fn heard(&mut self) -> Heard {
        loop {
            match timeout(SOON, self.0.next()).await.expect("something is heard in time") {
                Some(Ok(Message::Binary(bytes))) => return Heard::Message(bytes),
                Some(Ok(Message::Text(text))) => return Heard::Message(text.into()),
                Some(Ok(Message::Close(frame))) => return Heard::Close(frame.map_or(1005, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Gone,
            }
        }
    }

    /// Reads on until the server says why it ends; 0 if it says nothing.
    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            match self.heard().await {
                Heard::Message(_) => {}
                Heard::Close(code) => return code,
                Heard::Gone => return 0,
            }
        }
    }

    /// The same with the words of the reason.
    pub(crate) async fn farewell(&mut self) -> (u16, String) {
        loop {
            match timeout(SOON, self.0.next()).await.expect("something is heard in time") {
                Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return (0, String::new()),
            }
        }
    }

    pub(crate) async fn message(&mut self) -> Bytes {
        match self.heard().await {
            Heard::Message(bytes) => bytes,
            ended @ (Heard::Close(_) | Heard::Gone) => panic!("the connection ended: {ended:?}"),
        }
    }

    /// Reads frames of our own door until one is what is looked for.
    pub(crate) async fn find<T>(&mut self, mut look: impl FnMut(ServerFrame) -> Option<T>) -> T {
        loop {
            let bytes = self.message().await;
            let frame = serde_json::from_slice(&bytes).expect("the server's frame can be decoded");
            if let Some(found) = look(frame) {
                return found;
            }
        }
    }

    /// Reads until a message of the Yjs door begins so.
    pub(crate) async fn find_y(&mut self, head: &[u8]) -> Bytes {
        loop {
            let bytes = self.message().await;
            if bytes.starts_with(head) {
                return bytes;
            }
        }
    }
}

pub(crate) fn var(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
    bytes
}

/// A message of the Yjs door: its head, and a payload with its length.
pub(crate) fn y(head: &[u8], payload: &[u8]) -> Vec<u8> {
    [head, &var(payload.len()), payload].concat()
}

/// What lies behind the head and the length of a message.
pub(crate) fn payload(message: &[u8], head: usize) -> &[u8] {
    let digits = message[head..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
    &message[head + digits..]
}
