//! Board id -> running room on this node: opens rooms, hands out connections to them, lets them go.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::mapref::entry::Entry as Slot;
use dashmap::{DashMap, DashSet};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::busy::Busy;
pub use super::connection::Connection;
use super::gather::Gathered;
use super::ring::Ring;
use super::session::{Door, Joining};
use super::task::{self, Ended, Message};
use super::{Import, Input, ReadOnly};
use crate::access::Identity;
use crate::board::undo::size_of_properties;
use crate::log::UpdateLog;
use crate::protocol::close::CloseCode;
use crate::protocol::element::{Entry, Item};
use crate::protocol::ids::{BoardId, ClientId, GestureId, Position, Role, SessionId, Timestamp};
use crate::protocol::limits::{IMPORT_BYTES_MAX, IMPORT_ELEMENTS_MAX, Limits};
use crate::protocol::op::Op;
use crate::protocol::{ClientFrame, ErrorCode, Route, Undone};
use crate::store::BoardStore;
use crate::telemetry;

/// A board that was poisoned this often within [`POISON_WINDOW`] is opened for reading only.
const POISONED_MAX: usize = 3;
const POISON_WINDOW: Duration = Duration::from_mins(10);
/// Attempts at a request while its board is opened anew.
const ATTEMPTS_MAX: u32 = 40;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(50);
/// Time over which a drain spreads the ends of its rooms, so that clients do not all come back at once.
const DRAIN_SPREAD: Duration = Duration::from_secs(5);
const DRAIN_MAX: Duration = Duration::from_secs(15);
/// Patience with a room that was opened for its keyframe: somebody may have come, and stay.
const KEEP_MAX: Duration = Duration::from_secs(30);

/// This node's rooms. A clone is the same hub.
#[derive(Clone)]
pub struct Hub(pub(super) Arc<Shared>);

/// What all rooms of a node share.
pub(super) struct Shared {
    pub(super) log: Arc<dyn UpdateLog>,
    pub(super) store: Arc<dyn BoardStore>,
    pub(super) limits: Limits,
    pub(super) clock: fn() -> Timestamp,
    pub(super) rooms: DashMap<BoardId, RoomHandle>,
    /// When boards failed lately.
    poisoned: Mutex<HashMap<BoardId, Vec<Instant>>>,
    /// Boards that failed too often: read-only until the process ends.
    failing: DashSet<BoardId>,
    next_session: AtomicU64,
    /// Changed roles that this node was told of.
    pub(super) grants: AtomicU64,
    pending_bytes: AtomicUsize,
    is_log_healthy: Box<dyn Fn() -> bool + Send + Sync>,
    is_draining: AtomicBool,
    tasks: TaskTracker,
}

#[derive(Clone)]
pub(super) struct RoomHandle {
    pub(super) inbox: mpsc::Sender<Message>,
    ring: Arc<Ring>,
    gathered: Arc<Gathered>,
    busy: Busy,
}

/// One frame of ops from a program without a socket.
#[derive(Debug, Clone)]
pub struct OpsFrame {
    /// Outbox the frame comes from.
    pub client: Option<ClientId>,
    /// Its number there.
    pub seq: Option<u64>,
    /// Step of undo the ops belong to.
    pub gesture: Option<GestureId>,
    /// What is asked for.
    pub ops: Vec<Op>,
}

/// Answer to a frame of ops, given when it is durable.
#[derive(Debug, Clone)]
pub struct OpsAnswer {
    /// Place of its record.
    pub position: Position,
    /// What an undo or redo came to.
    pub undone: Option<Undone>,
}

/// All entries of a board.
#[derive(Debug, Clone)]
pub struct BoardState {
    /// Place in the log they stand at.
    pub position: Position,
    /// The entries.
    pub items: Vec<Item>,
}

/// Why the hub did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubError {
    /// The room refused it; nothing was changed.
    Refused {
        /// What was wrong, for programs.
        code: ErrorCode,
        /// What was wrong and what to do, for people.
        message: String,
    },
    /// No such board.
    NoBoard,
    /// The board cannot be opened now.
    Unavailable,
    /// The change holds, but nodes elsewhere have not heard of it yet.
    Untold,
}

impl Hub {
    /// A hub without rooms.
    pub fn new(
        log: Arc<dyn UpdateLog>,
        store: Arc<dyn BoardStore>,
        limits: Limits,
        clock: fn() -> Timestamp,
        is_log_healthy: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let first_session = if log.relay().is_some() {
            Shared::fresh_session()
        } else {
            1
        };
        Self(Arc::new(Shared {
            log,
            store,
            limits,
            clock,
            rooms: DashMap::new(),
            poisoned: Mutex::default(),
            failing: DashSet::new(),
            next_session: AtomicU64::new(first_session),
            pending_bytes: AtomicUsize::new(0),
            is_log_healthy: Box::new(is_log_healthy),
            grants: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            tasks: TaskTracker::new(),
        }))
    }

    /// Joins a board through one of the socket doors. The board must exist.
    pub async fn connect(
        &self,
        board: &BoardId,
        who: &Identity,
        role: Role,
        door: Door,
        vector: Option<Vec<(u64, u32)>>,
    ) -> Result<Connection, HubError> {
        let is_level = self.level(board).await.is_ok();
        let room = self.room(board)?;
        let session = self.next_session();
        let form = door.form().ok_or(HubError::Unavailable)?;
        let connection = Connection {
            session,
            bell: room.ring.join(session, form),
            inbox: room.inbox,
            ring: room.ring,
            gathered: room.gathered,
        };
        let joining = Joining {
            is_level,
            vector,
            route: self.route(board),
            ..joining(session, who, role, door)
        };
        connection.send(Input::Join(joining)).await?;
        Ok(connection)
    }

    /// One frame of ops; answered when it is durable.
    pub async fn ops(
        &self,
        board: &BoardId,
        who: &Identity,
        role: Role,
        frame: OpsFrame,
    ) -> Result<OpsAnswer, HubError> {
        let client = frame.client.filter(|_| frame.seq.is_some());
        let seq = frame.seq.unwrap_or_default();
        let frame = ClientFrame::Op {
            seq,
            gesture: frame.gesture,
            ops: frame.ops,
        };
        self.request(board, who, role, client, |session| Input::Frame(session, frame.clone()))
            .await
    }

    /// Takes out of a file what fits one record, its pages first, and puts it on the board.
    pub async fn import(
        &self,
        board: &BoardId,
        who: &Identity,
        role: Role,
        file: &mut Import,
    ) -> Result<OpsAnswer, HubError> {
        let rest = Import {
            gesture: file.gesture,
            is_under_way: true,
            elements: file.elements.split_off(fitting(&file.elements)),
            pages: Vec::new(),
        };
        let part = std::mem::replace(file, rest);
        self.request(board, who, role, None, |session| Input::Import(session, part.clone()))
            .await
    }

    /// All entries of the board and the position they stand at.
    pub async fn state(&self, board: &BoardId) -> Result<BoardState, HubError> {
        self.level(board).await?;
        for _ in 0..ATTEMPTS_MAX {
            let (answer, state) = oneshot::channel();
            let room = self.room(board)?;
            if room.inbox.send(Message::Read(answer)).await.is_ok()
                && let Ok(state) = state.await
            {
                return Ok(state);
            }
            tokio::time::sleep(ATTEMPT_PAUSE).await;
        }
        Err(HubError::Unavailable)
    }

    /// Opens a board that is not live here, so that its room writes the keyframe that is due; done when the room has ended.
    pub async fn keep(&self, board: &BoardId) {
        if self.0.is_draining.load(Ordering::Relaxed) {
            return;
        }
        let inbox = match self.0.rooms.entry(board.clone()) {
            // A live room writes its keyframes by itself.
            Slot::Occupied(_) => return,
            Slot::Vacant(slot) => slot.insert(self.open(board, true)).inbox.clone(),
        };
        metrics::counter!(telemetry::KEYFRAME_ROOMS_TOTAL).increment(1);
        if tokio::time::timeout(KEEP_MAX, inbox.closed()).await.is_err() {
            tracing::debug!(board.id = %board, "A board that was opened for its keyframe stayed open.");
        }
    }

    /// Whether the board is live here.
    pub fn is_live(&self, board: &BoardId) -> bool {
        self.0.rooms.contains_key(board)
    }

    /// The nodes that serve the board, the best first, if that is known.
    pub fn route(&self, board: &BoardId) -> Option<Route> {
        self.0.log.route(board)
    }

    /// Whether a node of this cluster has that address.
    pub fn is_node(&self, address: &str) -> bool {
        self.0.log.is_node(address)
    }

    /// Whether the log takes records.
    pub fn is_healthy(&self) -> bool {
        !self.0.is_draining.load(Ordering::Relaxed) && (self.0.is_log_healthy)() && self.0.log.is_reachable()
    }

    /// The longest time that a room has been at one input by now, and its board.
    pub fn longest_input(&self) -> Option<(BoardId, Duration)> {
        let rooms = self.0.rooms.iter();
        rooms
            .filter_map(|room| Some((room.key().clone(), room.busy.since()?)))
            .max_by_key(|(_, duration)| *duration)
    }

    /// Flushes and closes every room; the ends are spread over some seconds.
    pub async fn drain(&self) {
        self.0.is_draining.store(true, Ordering::Relaxed);
        let boards = self.live();
        let pause = DRAIN_SPREAD / u32::try_from(boards.len().max(100)).unwrap_or(u32::MAX);
        for board in boards {
            let hub = self.clone();
            // A room that takes no more inputs must not keep the others waiting.
            tokio::spawn(async move { hub.tell(&board, Message::Stop(CloseCode::Restart)).await });
            tokio::time::sleep(pause).await;
        }
        self.0.tasks.close();
        if tokio::time::timeout(DRAIN_MAX, self.0.tasks.wait()).await.is_err() {
            tracing::warn!("Some rooms did not end in time.");
        }
    }

    /// Boards that are live here.
    pub(super) fn live(&self) -> Vec<BoardId> {
        self.0.rooms.iter().map(|room| room.key().clone()).collect()
    }

    pub(super) async fn tell(&self, board: &BoardId, message: Message) {
        let room = self.0.rooms.get(board).map(|room| room.value().clone());
        if let Some(room) = room {
            // A room that is just closing has nobody to tell.
            _ = room.inbox.send(message).await;
        }
    }

    async fn request(
        &self,
        board: &BoardId,
        who: &Identity,
        role: Role,
        client: Option<ClientId>,
        input: impl Fn(SessionId) -> Input,
    ) -> Result<OpsAnswer, HubError> {
        if client.is_some() {
            self.level(board).await?;
        }
        for _ in 0..ATTEMPTS_MAX {
            let room = self.room(board)?;
            let session = self.next_session();
            let joining = joining(session, who, role, Door::Request { client });
            let (answer, answered) = oneshot::channel();
            let message = Message::Request(Box::new(joining), Box::new(input(session)), answer);
            if room.inbox.send(message).await.is_err() {
                tokio::time::sleep(ATTEMPT_PAUSE).await;
                continue;
            }
            return match answered.await {
                Ok(Ok((position, undone))) => Ok(OpsAnswer { position, undone }),
                Ok(Err((code, message))) => Err(HubError::Refused { code, message }),
                Err(_) => Err(HubError::Unavailable),
            };
        }
        Err(HubError::Unavailable)
    }

    /// Who comes may have sent frames through another node, or seen there what they ask for: the room has to know it.
    async fn level(&self, board: &BoardId) -> Result<(), HubError> {
        if !self.0.rooms.contains_key(board) {
            // The room that is opened now reads all of it.
            return Ok(());
        }
        self.0.log.level(board).await.map_err(|error| {
            tracing::warn!(board.id = %board, %error, "Somebody came while the log did not say what is new.");
            metrics::counter!(telemetry::JOINS_NOT_LEVEL_TOTAL).increment(1);
            HubError::Unavailable
        })
    }

    fn next_session(&self) -> SessionId {
        SessionId(self.0.next_session.fetch_add(1, Ordering::Relaxed))
    }

    /// The board's room, opened if it is not live.
    fn room(&self, board: &BoardId) -> Result<RoomHandle, HubError> {
        if self.0.is_draining.load(Ordering::Relaxed) {
            return Err(HubError::Unavailable);
        }
        match self.0.rooms.entry(board.clone()) {
            Slot::Occupied(room) if !room.get().inbox.is_closed() => Ok(room.get().clone()),
            Slot::Occupied(mut room) => {
                room.insert(self.open(board, false));
                Ok(room.get().clone())
            }
            Slot::Vacant(slot) => Ok(slot.insert(self.open(board, false)).clone()),
        }
    }

    fn open(&self, board: &BoardId, is_kept: bool) -> RoomHandle {
        let shared = Arc::clone(&self.0);
        let limits = &shared.limits;
        let ring = Arc::new(Ring::new(limits.ring_frames_max, limits.unsent_bytes_max));
        let (sender, inbox) = mpsc::channel(limits.inbox_max);
        let gathered = Arc::new(Gathered::new(limits.inbox_max));
        let handle = RoomHandle {
            inbox: sender,
            ring: Arc::clone(&ring),
            gathered: Arc::clone(&gathered),
            busy: Busy::default(),
        };
        metrics::gauge!(telemetry::ROOMS).increment(1.0);
        let busy = handle.busy.clone();
        self.0
            .tasks
            .spawn(host(shared, board.clone(), ring, gathered, inbox, busy, is_kept));
        handle
    }
}

/// Runs a room to its end and turns away who comes too late.
async fn host(
    shared: Arc<Shared>,
    board: BoardId,
    ring: Arc<Ring>,
    gathered: Arc<Gathered>,
    mut inbox: mpsc::Receiver<Message>,
    busy: Busy,
    is_kept: bool,
) {
    let ended = task::run(
        board.clone(),
        Arc::clone(&shared),
        Arc::clone(&ring),
        gathered,
        &mut inbox,
        busy,
        is_kept,
    )
    .await;
    let code = match ended {
        Ended::Closed | Ended::LostLog => CloseCode::Rebuilt,
        Ended::NotOpened => CloseCode::Loading,
        Ended::Poisoned => {
            metrics::counter!(telemetry::ROOMS_POISONED_TOTAL).increment(1);
            shared.note_poisoned(&board);
            CloseCode::Rebuilt
        }
    };
    inbox.close();
    shared.rooms.remove_if(&board, |_, room| Arc::ptr_eq(&room.ring, &ring));
    while let Some(message) = inbox.recv().await {
        task::turn_away(message, &ring, code);
    }
    metrics::gauge!(telemetry::ROOMS).decrement(1.0);
}

impl Shared {
    /// A CRDT client id that nobody has: above those that Yjs draws, with room behind it for people without one.
    pub(super) fn fresh_replica() -> u64 {
        const LOWEST: u64 = 1 << 32;
        const HIGHEST: u64 = (1 << 53) - (1 << 32);
        LOWEST + Uuid::new_v4().as_u64_pair().0 % (HIGHEST - LOWEST)
    }

    /// A session of which no other node has one near: people see those of all nodes. Below 2^53, with room behind it.
    fn fresh_session() -> u64 {
        Uuid::new_v4().as_u64_pair().0 >> 12
    }

    /// Moves a room's share in the bytes that wait for the log.
    pub(super) fn move_pending(&self, before: usize, now: usize) {
        if before != now {
            let sum = self.pending_bytes.fetch_add(now, Ordering::Relaxed) + now - before;
            self.pending_bytes.fetch_sub(before, Ordering::Relaxed);
            #[expect(clippy::cast_precision_loss, reason = "a gauge of bytes")]
            metrics::gauge!(telemetry::PENDING_BYTES).set(sum as f64);
        }
    }

    /// Whether the node holds as many bytes for the log as it may.
    pub(super) fn is_busy(&self) -> bool {
        self.pending_bytes.load(Ordering::Relaxed) >= self.limits.pending_bytes_node_max
    }

    /// Why the board takes no edits now, if it takes none.
    pub(super) fn read_only(&self, board: &BoardId) -> Option<ReadOnly> {
        if self.failing.contains(board) {
            return Some(ReadOnly::Failing);
        }
        (!(self.is_log_healthy)()).then_some(ReadOnly::Log)
    }

    fn note_poisoned(&self, board: &BoardId) {
        let mut poisoned = self.poisoned.lock();
        poisoned.retain(|_, times| {
            times.retain(|time| time.elapsed() < POISON_WINDOW);
            !times.is_empty()
        });
        let times = poisoned.entry(board.clone()).or_default();
        times.push(Instant::now());
        if times.len() >= POISONED_MAX && self.failing.insert(board.clone()) {
            tracing::error!(board.id = %board, "A board keeps failing and is read-only now.");
            metrics::gauge!(telemetry::BOARDS_FAILING).increment(1.0);
        }
    }
}

/// How many of these elements come into one record.
fn fitting(elements: &[Entry]) -> usize {
    let mut bytes = 0;
    let is_small = |element: &&Entry| {
        bytes += size_of_properties(&element.properties);
        bytes <= IMPORT_BYTES_MAX
    };
    let count = elements.iter().take(IMPORT_ELEMENTS_MAX).take_while(is_small).count();
    count.max(1).min(elements.len())
}

fn joining(session: SessionId, who: &Identity, role: Role, door: Door) -> Joining {
    Joining {
        session,
        user: who.user.clone(),
        name: who.name.clone(),
        role,
        is_level: true,
        door,
        vector: None,
        route: None,
    }
}
