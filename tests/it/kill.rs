//! `kill -9` in a loop, under load, against the real binary.
//!
//! Fifty clients of the own door send 200 edits a second, most of them moves by one pixel: sent twice they show twice.
//! Five Yjs clients draw beside them. After each kill the server starts again on the same data; every client sends what
//! was not acknowledged with the same `seq`, and then each element must lie exactly as far as its client moved it. Yjs
//! clients get no acknowledgement, so they are judged by equality after their handshake.
//!
//! `PANSEO_SOAK=200` sets the number of rounds.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use panseo::protocol::element::{Property, Value};
use panseo::protocol::{ClientFrame, Hello, ServerFrame};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;
use yrs::types::ToJson as _;
use yrs::updates::decoder::Decode as _;
use yrs::updates::encoder::Encode as _;
use yrs::{
    Any, Doc, GetString as _, Map as _, MapPrelim, Number, ReadTxn as _, StateVector, Text as _, Transact as _, Update,
};

const ROUNDS: u64 = 20;
const BOARDS: usize = 100;
/// Boards that are drawn on while the server is killed.
const BUSY_BOARDS: usize = 10;
const DRAWERS: usize = 50;
/// Each on a board of its own.
const YJS_CLIENTS: usize = 5;
/// 50 clients with four edits a second each: 200 a second.
const EDIT_EVERY: Duration = Duration::from_millis(250);
/// The bar is 2 s on a quiet machine with an optimised binary.
const READY_WITHIN: Duration = Duration::from_secs(8);
/// Time within which any one answer must come.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The real binary on its own port and folder; killed when dropped.
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Server {
    fn spawn(folder: &Path) -> Self {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|socket| socket.local_addr())
            .expect("loopback has a free port");
        let child = Command::new(env!("CARGO_BIN_EXE_panseo"))
            .args(["serve", "--auth", "open", "--no-rate-limits"])
            .args(["--listen", &address.to_string()])
            .arg("--data-dir")
            .arg(folder)
            .env("PANSEO_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the server can be started");
        Self { child, address }
    }

    /// Starts and waits until it is ready; how long that took.
    pub(super) async fn start(folder: &Path) -> (Self, Duration) {
        let begin = Instant::now();
        let mut server = Self::spawn(folder);
        let mut looks = interval(Duration::from_millis(5));
        loop {
            looks.tick().await;
            if let Some(status) = server.child.try_wait().expect("the child can be asked") {
                panic!("the server ended at its start: {status}");
            }
            if is_ready(server.address).await {
                return (server, begin.elapsed());
            }
            assert!(begin.elapsed() < Duration::from_mins(1), "the server never got ready");
        }
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("the server can be waited for");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn is_ready(address: SocketAddr) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let Ok(mut socket) = TcpStream::connect(address).await else {
        return false;
    };
    let request = format!("GET /health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    socket.write_all(request.as_bytes()).await.is_ok()
        && socket.read_to_end(&mut answer).await.is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}

fn board(index: usize) -> String {
    format!("kill-{index}")
}

/// A connection of the own door, in `MessagePack`.
struct Line(Socket);

impl Line {
    async fn open(address: SocketAddr, board: &str, user: &str, client: Uuid, document: bool) -> (Self, u64) {
        let uri = format!("ws://{address}/v1/boards/{board}/ws?user={user}");
        let request = ClientRequestBuilder::new(uri.parse().expect("the address is a URI"))
            .with_sub_protocol("panseo.v1.msgpack");
        let (socket, _) = timeout(ANSWER_WITHIN, connect_async(request))
            .await
            .expect("the upgrade is answered in time")
            .expect("the server takes the upgrade");
        let mut line = Self(socket);
        let hello = ClientFrame::Hello(Hello {
            client,
            token: None,
            user: None,
            document,
            vector: None,
        });
        line.send(&hello).await.expect("the server reads the hello");
        loop {
            if let ServerFrame::Welcome { seq, .. } = line.answer().await {
                return (line, seq);
            }
        }
    }

    async fn send(&mut self, frame: &ClientFrame) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        let bytes = rmp_serde::to_vec_named(frame).expect("a frame can be encoded");
        self.0.send(Message::binary(bytes)).await
    }

    /// The next frame; `None` at the end of the connection.
    async fn next(&mut self) -> Option<ServerFrame> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    return Some(rmp_serde::from_slice(&bytes).expect("the server's frame can be decoded"));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(other)) => panic!("the server sent {other:?}"),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The next frame of a server that is meant to live.
    async fn answer(&mut self) -> ServerFrame {
        timeout(ANSWER_WITHIN, self.next())
            .await
            .expect("the server answers in time")
            .expect("the connection lives")
    }
}

/// What the frame acknowledges; nothing here may be refused.
fn acknowledged(frame: &ServerFrame) -> Option<u64> {
    if let ServerFrame::Error { code, message, seq } = frame {
        panic!("frame {seq:?} was refused: {code:?} {message}");
    }
    if let ServerFrame::Ack { seq, .. } = frame {
        return Some(*seq);
    }
    None
}

/// A client that remembers what it sent and what was acknowledged.
struct Drawer {
    client: Uuid,
    user: String,
    board: String,
    sent: u64,
    acked: u64,
}

impl Drawer {
    fn new(index: usize) -> Self {
        Self {
            client: Uuid::now_v7(),
            user: format!("drawer-{index}"),
            board: board(index % BUSY_BOARDS),
            sent: 0,
            acked: 0,
        }
    }

    fn element(&self) -> String {
        format!("of-{}", self.user)
    }

    /// The frame of a number, the same whenever it is sent: first the element, then one pixel each.
    fn frame(&self, seq: u64) -> ClientFrame {
        let op = if seq == 1 {
            json!({ "op": "element.create", "element": {
                "id": self.element(), "type": "rectangle", "x": 0, "y": 0, "width": 10, "height": 10,
            }})
        } else {
            json!({ "op": "element.move", "targets": [self.element(), "shared"], "dx": 1, "dy": 1 })
        };
        ClientFrame::Op {
            seq,
            gesture: None,
            ops: vec![serde_json::from_value(op).expect("the op is valid")],
        }
    }

    /// Connects, sends again what was not acknowledged, and waits until all of it is.
    async fn settle(&mut self, address: SocketAddr) -> Line {
        let (mut line, known) = Line::open(address, &self.board, &self.user, self.client, false).await;
        assert!(
            known >= self.acked,
            "{} lost edits: {} were acknowledged, {known} are known",
            self.user,
            self.acked
        );
        assert!(known <= self.sent, "the server knows edits that were never sent");
        for seq in self.acked + 1..=self.sent {
            line.send(&self.frame(seq)).await.expect("the server reads");
        }
        while self.acked < self.sent {
            let frame = line.answer().await;
            self.take(&frame);
        }
        line
    }

    fn take(&mut self, frame: &ServerFrame) -> u64 {
        let before = self.acked;
        if let Some(seq) = acknowledged(frame) {
            self.acked = self.acked.max(seq);
        }
        self.acked - before
    }

    /// Sends an edit at every tick and counts acknowledgements until the connection ends.
    async fn draw(mut self, mut line: Line, acks: Arc<AtomicU64>, seen: watch::Sender<u64>) -> Self {
        let mut ticks = interval(EDIT_EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.sent += 1;
                    let frame = self.frame(self.sent);
                    if line.send(&frame).await.is_err() {
                        return self;
                    }
                }
                frame = line.next() => {
                    let Some(frame) = frame else { return self };
                    let fresh = self.take(&frame);
                    if fresh > 0 {
                        seen.send_replace(acks.fetch_add(fresh, Ordering::Relaxed) + fresh);
                    }
                }
            }
        }
    }
}

/// A Yjs client with a document of its own.
struct Painter {
    doc: Doc,
    board: String,
    user: String,
    strokes: u64,
}

impl Painter {
    fn new(index: usize) -> Self {
        Self {
            doc: Doc::new(),
            board: board(index),
            user: format!("painter-{index}"),
            strokes: 0,
        }
    }

    /// Connects and exchanges states until the server has all of ours.
    async fn settle(&mut self, address: SocketAddr) -> Socket {
        let uri = format!("ws://{address}/yjs/{}?user={}", self.board, self.user);
        let (mut socket, _) = timeout(ANSWER_WITHIN, connect_async(uri))
            .await
            .expect("the upgrade is answered in time")
            .expect("the server takes the upgrade");
        let vector = self.doc.transact().state_vector().encode_v1();
        socket.send(y_message(0, &vector)).await.expect("the server reads");
        let (mut asked, mut answered) = (false, false);
        while !(asked && answered) {
            let message = timeout(ANSWER_WITHIN, socket.next())
                .await
                .expect("the handshake goes on");
            let Message::Binary(bytes) = message.expect("the connection lives").expect("the connection lives") else {
                continue;
            };
            if let Some((kind, payload)) = sync_part(&bytes) {
                if kind == 0 {
                    let theirs = StateVector::decode_v1(payload).expect("a state vector");
                    let missing = self.doc.transact().encode_diff_v1(&theirs);
                    socket.send(y_message(1, &missing)).await.expect("the server reads");
                    asked = true;
                } else {
                    self.apply(payload);
                    answered |= kind == 1;
                }
            }
        }
        socket
    }

    fn apply(&mut self, update: &[u8]) {
        let update = Update::decode_v1(update).expect("an update");
        self.doc
            .transact_mut()
            .apply_update(update)
            .expect("the update applies");
    }

    fn stroke(&mut self) -> Vec<u8> {
        let elements = self.doc.get_or_insert_map("board:elements");
        let text = self.doc.get_or_insert_text("another-application");
        let mut txn = self.doc.transact_mut();
        self.strokes += 1;
        let pos = format!("a{:06}V", self.strokes);
        let id = format!("{}-{}", self.user, self.strokes);
        let stroke: MapPrelim = [
            ("type", Any::from("ellipse")),
            ("x", Any::Number(Number::Int(1))),
            ("y", Any::Number(Number::Int(2))),
            ("pos", Any::from(pos)),
        ]
        .into_iter()
        .collect();
        elements.insert(&mut txn, id, stroke);
        text.push(&mut txn, "x");
        txn.commit();
        txn.encode_update_v1()
    }

    async fn paint(mut self, mut socket: Socket) -> Self {
        let mut ticks = interval(EDIT_EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let update = self.stroke();
                    if socket.send(y_message(2, &update)).await.is_err() {
                        return self;
                    }
                }
                message = socket.next() => match message {
                    Some(Ok(Message::Binary(bytes))) => {
                        if let Some((1 | 2, update)) = sync_part(&bytes) {
                            self.apply(update);
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return self,
                }
            }
        }
    }
}

fn y_message(kind: u8, payload: &[u8]) -> Message {
    let mut bytes = vec![0, kind];
    let mut length = payload.len();
    while length >= 0x80 {
        bytes.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    bytes.push(length.to_le_bytes()[0]);
    bytes.extend_from_slice(payload);
    Message::binary(bytes)
}

/// Kind and payload of a sync message; `None` for awareness.
fn sync_part(message: &[u8]) -> Option<(u8, &[u8])> {
    let [0, kind, rest @ ..] = message else {
        return None;
    };
    let digits = rest.iter().position(|byte| *byte < 0x80)? + 1;
    let length = rest[..digits]
        .iter()
        .rev()
        .fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
    Some((*kind, rest.get(digits..digits + length)?))
}

/// What a newcomer without a document is given: element -> (x, y).
async fn places(address: SocketAddr, board: &str) -> std::collections::HashMap<String, (f64, f64)> {
    let (mut line, _) = Line::open(address, board, "reader", Uuid::now_v7(), false).await;
    loop {
        if let ServerFrame::Resync { entries, .. } = line.answer().await {
            let entries = entries.expect("a client without a document is given entries");
            let number = |value: Option<&Value>| value.and_then(Value::as_f64).unwrap_or(f64::NAN);
            return entries
                .into_iter()
                .map(|item| {
                    let place = (
                        number(item.properties.get(Property::X)),
                        number(item.properties.get(Property::Y)),
                    );
                    (item.id.to_string(), place)
                })
                .collect();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand edits")]
fn pixels(edits: u64) -> (f64, f64) {
    (edits as f64, edits as f64)
}

/// Every element lies where its client moved it, once for each edit.
async fn check_drawers(address: SocketAddr, drawers: &[Drawer]) {
    for index in 0..BUSY_BOARDS {
        let name = board(index);
        let places = places(address, &name).await;
        let here = drawers.iter().filter(|drawer| drawer.board == name);
        let mut together = 0;
        for drawer in here {
            let moves = drawer.sent.saturating_sub(1);
            together += moves;
            if drawer.sent > 0 {
                let place = places.get(&drawer.element()).copied();
                assert_eq!(place, Some(pixels(moves)), "{} on {name}", drawer.user);
            }
        }
        assert_eq!(
            places.get("shared").copied(),
            Some(pixels(together)),
            "shared on {name}"
        );
    }
}

/// A newcomer has the same document as the Yjs client that came back.
async fn check_painters(address: SocketAddr, painters: &mut [Painter]) {
    for painter in painters {
        // A second handshake: by now the server has answered with all that came from others meanwhile.
        drop(painter.settle(address).await);
        let mut fresh = Painter::new(0);
        fresh.board.clone_from(&painter.board);
        fresh.user = "newcomer".into();
        drop(fresh.settle(address).await);
        let state = |doc: &Doc| {
            let elements = doc.get_or_insert_map("board:elements");
            let text = doc.get_or_insert_text("another-application");
            let txn = doc.transact();
            (txn.state_vector(), elements.to_json(&txn), text.get_string(&txn))
        };
        assert_eq!(state(&painter.doc), state(&fresh.doc), "{}", painter.user);
        let own = (1..=painter.strokes).filter(|number| {
            let txn = fresh.doc.transact();
            let elements = txn.get_map("board:elements");
            elements.is_some_and(|elements| elements.contains_key(&txn, &format!("{}-{number}", painter.user)))
        });
        assert_eq!(own.count() as u64, painter.strokes, "strokes of {}", painter.user);
    }
}

/// Makes the boards, with the element that everybody moves.
async fn furnish(address: SocketAddr) {
    for index in 0..BOARDS {
        let (mut line, _) = Line::open(address, &board(index), "janitor", Uuid::now_v7(), false).await;
        let op = json!({ "op": "element.create", "element": {
            "id": "shared", "type": "rectangle", "x": 0, "y": 0, "width": 5, "height": 5,
        }});
        let frame = ClientFrame::Op {
            seq: 1,
            gesture: None,
            ops: vec![serde_json::from_value(op).expect("the op is valid")],
        };
        line.send(&frame).await.expect("the server reads");
        while acknowledged(&line.answer().await).is_none() {}
    }
}

/// Draws until `wanted` edits were acknowledged, and kills the server in the middle of the next ones.
async fn draw_and_kill(
    server: &mut Server,
    drawers: Vec<(Drawer, Line)>,
    painters: Vec<(Painter, Socket)>,
    wanted: u64,
) -> (Vec<Drawer>, Vec<Painter>) {
    let acks = Arc::new(AtomicU64::new(0));
    let (seen, mut progress) = watch::channel(0);
    let (mut drawing, mut painting) = (JoinSet::new(), JoinSet::new());
    for (drawer, line) in drawers {
        drawing.spawn(drawer.draw(line, Arc::clone(&acks), seen.clone()));
    }
    for (painter, socket) in painters {
        painting.spawn(painter.paint(socket));
    }
    timeout(ANSWER_WITHIN, progress.wait_for(|acked| *acked >= wanted))
        .await
        .expect("edits are acknowledged in time")
        .expect("somebody draws");
    server.kill();
    (drawing.join_all().await, painting.join_all().await)
}

fn rounds(usual: u64) -> u64 {
    std::env::var("PANSEO_SOAK")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(usual)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_keeps_every_acknowledged_edit_once() {
    kill_again_and_again(rounds(ROUNDS), BUSY_BOARDS).await;
}

/// The harder case: a Yjs client hands back, after the kill, what it saw of an op that was not durable yet, while the
/// author sends that op again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yjs_clients_that_saw_unsaved_ops_do_not_double_them() {
    kill_again_and_again(rounds(ROUNDS / 2), 0).await;
}

/// Yjs clients draw on the boards from `painted_from` on, one each.
async fn kill_again_and_again(rounds: u64, painted_from: usize) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (mut server, _) = Server::start(folder.path()).await;
    furnish(server.address).await;
    let mut drawers: Vec<_> = (0..DRAWERS).map(Drawer::new).collect();
    let mut painters: Vec<_> = (0..YJS_CLIENTS)
        .map(|index| Painter::new(painted_from + index))
        .collect();
    for round in 0..rounds {
        let mut connected = Vec::new();
        for mut drawer in drawers {
            let line = drawer.settle(server.address).await;
            connected.push((drawer, line));
        }
        let mut painting = Vec::new();
        for mut painter in painters {
            let socket = painter.settle(server.address).await;
            painting.push((painter, socket));
        }
        // Another moment in each round, from the first few edits to about a second of load.
        let wanted = 20 + round * 37 % 180;
        (drawers, painters) = draw_and_kill(&mut server, connected, painting, wanted).await;
        let ready;
        (server, ready) = Server::start(folder.path()).await;
        assert!(ready < READY_WITHIN, "round {round}: ready after {ready:?}");
        for drawer in &mut drawers {
            drop(drawer.settle(server.address).await);
        }
        for painter in &mut painters {
            drop(painter.settle(server.address).await);
        }
        check_drawers(server.address, &drawers).await;
        check_painters(server.address, &mut painters).await;
    }
}
