//! A class that draws all the time, on any node that answers, and remembers what was sent, acknowledged and seen.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use panseo::protocol::ServerFrame;
use panseo::protocol::ids::Role;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use uuid::Uuid;

use crate::support::live::{Socket, hello};

const BOARDS: usize = 12;
/// Four on each board, two of them on each node.
const DRAWERS: usize = 48;
/// 200 edits a second in all.
const EDIT_EVERY: Duration = Duration::from_millis(240);
/// A client that hears nothing for so long tries another node.
const SILENCE_MAX: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Edits that each drawer sends at once in a burst.
const BURST: usize = 50;

/// What is known of a while.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    pub(super) acks: usize,
    pub(super) slowest_ack: Duration,
    /// Between each edit and its sight by another client of the same node, in ms.
    pub(super) sights_ms: Vec<u64>,
    /// Edits without an acknowledgement at one moment.
    pub(super) unsaved_max: usize,
}

#[derive(Default)]
struct Seen {
    figures: Figures,
    unsaved: Vec<usize>,
    /// When the newest acknowledged edit of each drawer was made.
    kept_to: Vec<Option<Instant>>,
    /// Elements that were not sent on the connection they were made for, or not by somebody who might edit.
    late: BTreeSet<String>,
    total: usize,
    faults: Vec<String>,
}

/// What all drawers share.
pub(super) struct Class {
    begin: Instant,
    seen: Mutex<Seen>,
    /// Where the nodes are; none while one is known to be dead.
    nodes: Mutex<[Option<SocketAddr>; 2]>,
    orders: watch::Sender<Orders>,
    /// Something was acknowledged.
    news: Notify,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Orders {
    bursts: usize,
    homings: usize,
    is_over: bool,
}

/// Somebody who draws.
pub(super) struct Drawer {
    index: usize,
    client: Uuid,
    sent: u64,
    waiting: VecDeque<(u64, Instant, Json)>,
    is_viewer: bool,
    /// Elements that were acknowledged.
    pub(super) kept: Vec<String>,
}

pub(super) fn boards() -> impl Iterator<Item = String> {
    (0..BOARDS).map(|board| format!("class-{board}"))
}

impl Class {
    pub(super) fn new(nodes: [SocketAddr; 2]) -> Arc<Self> {
        Arc::new(Self {
            begin: Instant::now(),
            seen: Mutex::new(Seen {
                unsaved: vec![0; DRAWERS],
                kept_to: vec![None; DRAWERS],
                ..Seen::default()
            }),
            nodes: Mutex::new(nodes.map(Some)),
            orders: watch::Sender::default(),
            news: Notify::new(),
        })
    }

    /// All begin to draw.
    pub(super) fn begin(self: &Arc<Self>) -> JoinSet<Drawer> {
        let drawers = (0..DRAWERS).map(|index| Drawer {
            index,
            client: Uuid::now_v7(),
            sent: 0,
            waiting: VecDeque::new(),
            is_viewer: false,
            kept: Vec::new(),
        });
        drawers.map(|drawer| drawer.draw(Arc::clone(self))).collect()
    }

    /// A node has another address, or none.
    pub(super) fn moved(&self, node: usize, address: Option<SocketAddr>) {
        self.nodes.lock()[node] = address;
    }

    /// Everybody goes where they belong.
    pub(super) fn go_home(&self) {
        self.orders.send_modify(|orders| orders.homings += 1);
    }

    pub(super) fn burst(&self) {
        self.orders.send_modify(|orders| orders.bursts += 1);
    }

    /// Nobody draws more; all end when everything is acknowledged.
    pub(super) fn end(&self) {
        self.orders.send_modify(|orders| orders.is_over = true);
    }

    /// A new while begins.
    pub(super) fn count_anew(&self) {
        self.seen.lock().figures = Figures::default();
    }

    pub(super) fn figures(&self) -> Figures {
        let mut figures = self.seen.lock().figures.clone();
        figures.sights_ms.sort_unstable();
        figures
    }

    pub(super) fn acks(&self) -> usize {
        self.seen.lock().total
    }

    /// When others see it says nothing of this node.
    fn note_late(&self, op: &Json) {
        self.seen.lock().late.insert(name_of(op).to_owned());
    }

    /// What no drawer may be told.
    pub(super) fn faults(&self) -> Vec<String> {
        self.seen.lock().faults.clone()
    }

    async fn until(&self, is_so: impl Fn(&Seen) -> bool) {
        loop {
            let news = self.news.notified();
            if is_so(&self.seen.lock()) {
                return;
            }
            news.await;
        }
    }

    /// Waits until so many edits are acknowledged in all.
    pub(super) async fn acknowledged(&self, acks: usize) {
        let all = self.until(|seen| seen.total >= acks);
        let in_time = timeout(Duration::from_mins(5), all).await.is_ok();
        assert!(in_time, "{} of {acks} acknowledged", self.acks());
    }

    /// Waits until everybody has had an edit acknowledged that they made after `since`; how long after it that was.
    pub(super) async fn recovered(&self, since: Instant) -> Duration {
        let is_late = |made: &Option<Instant>| made.is_none_or(|made| made < since);
        let all = self.until(|seen| !seen.kept_to.iter().any(is_late));
        if timeout(Duration::from_mins(3), all).await.is_err() {
            let kept_to = self.seen.lock().kept_to.clone();
            let late: Vec<usize> = (0..DRAWERS).filter(|index| is_late(&kept_to[*index])).collect();
            panic!("nothing is acknowledged to {late:?}; {:?}", self.faults());
        }
        since.elapsed()
    }
}

fn name_of(op: &Json) -> &str {
    op["element"]["id"].as_str().unwrap()
}

impl Drawer {
    pub(super) fn board(&self) -> String {
        format!("class-{}", self.index % BOARDS)
    }

    fn home(&self) -> usize {
        self.index / BOARDS % 2
    }

    async fn draw(mut self, class: Arc<Class>) -> Self {
        loop {
            for node in [self.home(), 1 - self.home()] {
                let address = class.nodes.lock()[node];
                let Some(address) = address else { continue };
                if let Some(socket) = self.connect(address).await {
                    self.stay(socket, node, &class).await;
                    break;
                }
            }
            if class.orders.borrow().is_over && self.waiting.is_empty() {
                return self;
            }
            tokio::time::sleep(Duration::from_millis(100 + self.sent % 200)).await;
        }
    }

    async fn connect(&self, address: SocketAddr) -> Option<Socket> {
        let uri = format!("ws://{address}/v1/boards/{}/ws?user=d{}", self.board(), self.index);
        let request = ClientRequestBuilder::new(uri.parse().unwrap()).with_sub_protocol("panseo.v1.json");
        let connected = timeout(CONNECT_TIMEOUT, connect_async(request)).await.ok()?;
        Some(Socket(connected.ok()?.0))
    }

    /// Sends again what was not acknowledged, then draws until the connection ends.
    async fn stay(&mut self, mut socket: Socket, node: usize, class: &Class) {
        let mut orders = class.orders.subscribe();
        let mut done = *orders.borrow_and_update();
        socket.frame(&hello(self.client)).await;
        self.is_viewer = false;
        for (seq, _, op) in &self.waiting {
            class.note_late(op);
            socket.op(*seq, op.clone()).await;
        }
        let mut ticks = interval(EDIT_EVERY);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        return;
                    }
                    if !done.is_over {
                        self.edit(&mut socket, node, class).await;
                    }
                }
                message = socket.0.next() => {
                    let Some(Ok(message)) = message else { return };
                    heard = Instant::now();
                    if let Message::Text(text) = message {
                        self.take(&serde_json::from_str(&text).unwrap(), node, class);
                    }
                }
                _ = orders.changed() => {
                    let told = *orders.borrow_and_update();
                    for _ in 0..(told.bursts - done.bursts) * BURST {
                        self.edit(&mut socket, node, class).await;
                    }
                    if told.homings > done.homings && node != self.home() {
                        return;
                    }
                    done = told;
                }
            }
            if done.is_over && self.waiting.is_empty() {
                socket.0.close(None).await.ok();
                return;
            }
        }
    }

    /// An element whose name says who made it, when, and on which node.
    async fn edit(&mut self, socket: &mut Socket, node: usize, class: &Class) {
        self.sent += 1;
        let now = Instant::now();
        let name = format!(
            "d{}-{}-{node}-{}",
            self.index,
            self.sent,
            (now - class.begin).as_millis()
        );
        let element = json!({ "id": name, "type": "rectangle", "x": 1, "y": 2, "width": 3, "height": 4 });
        let op = json!({ "op": "element.create", "element": element });
        self.waiting.push_back((self.sent, now, op.clone()));
        self.tell(class);
        if self.is_viewer {
            class.note_late(&op);
        }
        socket.op(self.sent, op).await;
    }

    fn tell(&self, class: &Class) {
        let mut seen = class.seen.lock();
        seen.unsaved[self.index] = self.waiting.len();
        let unsaved = seen.unsaved.iter().sum();
        seen.figures.unsaved_max = seen.figures.unsaved_max.max(unsaved);
    }

    fn take(&mut self, frame: &ServerFrame, node: usize, class: &Class) {
        match frame {
            ServerFrame::Ack { seq, .. } => {
                while self.waiting.front().is_some_and(|(waiting, ..)| waiting <= seq) {
                    let (_, made, op) = self.waiting.pop_front().unwrap();
                    self.kept.push(name_of(&op).to_owned());
                    let mut seen = class.seen.lock();
                    seen.total += 1;
                    seen.kept_to[self.index] = Some(made);
                    seen.figures.acks += 1;
                    seen.figures.slowest_ack = seen.figures.slowest_ack.max(made.elapsed());
                }
                self.tell(class);
                class.news.notify_waiters();
            }
            ServerFrame::Event {
                changes: Some(changes), ..
            } => {
                for change in changes {
                    let mut parts = change.id.split('-').skip(2);
                    let made_on = parts.next().and_then(|part| part.parse::<usize>().ok());
                    let made_at = parts.next().and_then(|part| part.parse::<u64>().ok());
                    if let (Some(made_on), Some(made_at)) = (made_on, made_at)
                        && made_on == node
                        && !class.seen.lock().late.contains(&*change.id)
                    {
                        let now = class.begin.elapsed().as_millis();
                        let sight_ms = u64::try_from(now).unwrap().saturating_sub(made_at);
                        class.seen.lock().figures.sights_ms.push(sight_ms);
                    }
                }
            }
            ServerFrame::Welcome { role, .. } if *role == Role::Viewer => {
                self.is_viewer = true;
                self.waiting.iter().for_each(|(.., op)| class.note_late(op));
            }
            ServerFrame::Error { code, message, .. } => {
                let fault = format!("d{} was refused on node {node}: {code:?} {message}", self.index);
                class.seen.lock().faults.push(fault);
            }
            _ => {}
        }
    }
}
