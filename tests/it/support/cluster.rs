//! Some nodes over one log in memory: rooms without tokio, their effects carried out here, one step at a time.
//!
//! Nothing happens by itself: a record is written, its author hears of it and the nodes read it when a test says so, so
//! that every order of events can be made, and the same one again.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use panseo::board::Board;
use panseo::board::guard::Owner;
use panseo::log::Logged;
use panseo::log::memory::{AppendFault as LogFault, MemoryLog};
use panseo::protocol::close::CloseCode;
use panseo::protocol::element::Item;
use panseo::protocol::ids::{BoardId, EditScope, Position, Role, SessionId, Timestamp, UserId};
use panseo::protocol::limits::Limits;
use panseo::protocol::op::Op;
use panseo::protocol::relay::Relayed;
use panseo::protocol::{ClientFrame, ErrorCode, Record};
use panseo::room::ring::Ring;
use panseo::room::session::{Door, Joining};
use panseo::room::{Answer, AppendFault, Counter, Effect, Input, Opened, Room};
use panseo::store::StoredKeyframe;

const EPOCH: u64 = 7;

/// A record on its way to the log, and what the log said to it.
struct Appending {
    record: Arc<Record>,
    #[expect(clippy::option_option, reason = "not known yet, refused, or written")]
    outcome: Option<Option<Position>>,
}

/// One process: at most one room.
pub(crate) struct Node {
    room: Option<Room>,
    pub(crate) ring: Arc<Ring>,
    appending: VecDeque<Appending>,
    pub(crate) answers: HashMap<SessionId, Answer>,
    /// What rooms of other nodes showed, and its own presence.
    shown: VecDeque<Arc<Relayed>>,
    /// Which opening of the board this is: sessions of an older one are gone.
    pub(crate) opening: u64,
}

/// Some nodes over one log.
pub(crate) struct Cluster {
    pub(crate) log: MemoryLog,
    pub(crate) board: BoardId,
    pub(crate) now: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) keyframes: Vec<StoredKeyframe>,
    pub(crate) counted: HashMap<Counter, usize>,
    /// Why sessions were ended.
    pub(crate) closed: Vec<(SessionId, CloseCode)>,
    limits: Limits,
    openings: u64,
    sessions: u64,
    seed: u64,
}

/// What a room would be if it did not know of anything but the log.
pub(crate) fn fed_by_the_log(log: &MemoryLog, board: &BoardId) -> Board {
    let records = log.read(board, None, usize::MAX).unwrap();
    Board::open(3, None, &records, &BTreeSet::new()).unwrap()
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

impl Cluster {
    pub(crate) fn new(seed: u64, nodes: usize, limits: Limits) -> Self {
        let node = || Node {
            room: None,
            ring: Arc::new(Ring::new(1, 1)),
            appending: VecDeque::new(),
            answers: HashMap::new(),
            shown: VecDeque::new(),
            opening: 0,
        };
        Self {
            log: MemoryLog::new(EPOCH),
            board: BoardId::new("lesson").unwrap(),
            now: 1_000_000,
            nodes: std::iter::repeat_with(node).take(nodes).collect(),
            keyframes: Vec::new(),
            counted: HashMap::new(),
            closed: Vec::new(),
            limits,
            openings: 0,
            sessions: 0,
            seed,
        }
    }

    pub(crate) fn time(&self) -> Timestamp {
        Timestamp(self.now)
    }

    pub(crate) fn records(&self) -> Vec<Logged> {
        self.log.read(&self.board, None, usize::MAX).unwrap()
    }

    pub(crate) fn is_open(&self, node: usize) -> bool {
        self.nodes[node].room.is_some()
    }

    pub(crate) fn room(&self, node: usize) -> &Room {
        self.nodes[node].room.as_ref().unwrap()
    }

    pub(crate) fn board(&self, node: usize) -> &Board {
        self.room(node).board()
    }

    /// Opens the board from the newest keyframe and the log, if this node does not have it.
    pub(crate) fn open(&mut self, node: usize) {
        if self.is_open(node) {
            return;
        }
        self.openings += 1;
        let (after, bytes) = match self.keyframes.last() {
            Some(keyframe) => (Some(keyframe.position), Some(keyframe.bytes.clone())),
            None => (None, None),
        };
        let tail = self.log.read(&self.board, after, usize::MAX).unwrap();
        let position = tail
            .last()
            .map(|last| last.position)
            .or(after)
            .unwrap_or(Position(EPOCH, 0));
        // Ids without an order in time: which of two values wins must not depend on who came first.
        let scrambled = (self.openings + self.seed * 1_000).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        let replica = (1 << 32) + scrambled * 2;
        let board = Board::open(replica, bytes.as_deref(), &tail, &BTreeSet::new()).unwrap();
        let tail_bytes = tail.iter().map(|logged| logged.record.update.0.len()).sum();
        let opened = Opened {
            board,
            position,
            tail_bytes,
            title: "Lesson".into(),
            scope: EditScope::All,
        };
        let slot = &mut self.nodes[node];
        let mut room = Room::new(opened, self.limits.clone());
        room.share();
        slot.room = Some(room);
        slot.ring = Arc::new(Ring::new(self.limits.ring_frames_max, self.limits.unsent_bytes_max));
        slot.opening = self.openings;
    }

    /// Keyframes are this node's to write, or not, while it has the board open.
    pub(crate) fn set_keeper(&mut self, node: usize, is_keeper: bool) {
        if let Some(room) = &mut self.nodes[node].room {
            room.set_keeper(is_keeper);
        }
    }

    /// The process ends: what the log does not have is gone.
    pub(crate) fn kill(&mut self, node: usize) {
        let slot = &mut self.nodes[node];
        slot.room = None;
        slot.appending.clear();
        slot.answers.clear();
        slot.shown.clear();
        slot.opening = 0;
        slot.ring = Arc::new(Ring::new(1, 1));
    }

    pub(crate) fn fresh_session(&mut self) -> SessionId {
        self.sessions += 1;
        SessionId(self.sessions)
    }

    /// Somebody joins: the node reads the log to its end first.
    pub(crate) fn join(&mut self, node: usize, name: &str, door: Door, vector: Option<Vec<(u64, u32)>>) -> SessionId {
        self.open(node);
        while self.read(node) {}
        self.open(node);
        let session = self.fresh_session();
        let ring = Arc::clone(&self.nodes[node].ring);
        if let Some(form) = door.form() {
            ring.join(session, form);
        }
        let role = Role::Editor;
        let joining = Joining {
            session,
            user: user(name),
            name: None,
            role,
            is_level: true,
            door,
            vector,
            route: None,
        };
        self.input(node, Input::Join(joining));
        session
    }

    pub(crate) fn leave(&mut self, node: usize, session: SessionId) {
        self.nodes[node].ring.leave(session);
        if self.is_open(node) {
            self.input(node, Input::Leave(session));
        }
    }

    /// Hands an input to a room and carries out what follows. A room that asks for it is dropped.
    pub(crate) fn input(&mut self, node: usize, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.time();
            let Some(room) = &mut self.nodes[node].room else { return };
            for effect in room.handle(now, input) {
                if let Effect::Rebuild = effect {
                    return self.kill(node);
                }
                inputs.extend(self.carry_out(node, effect));
            }
        }
    }

    fn carry_out(&mut self, node: usize, effect: Effect) -> Option<Input> {
        let slot = &mut self.nodes[node];
        match effect {
            Effect::FanOut(frame) => slot.ring.push(frame),
            Effect::Send(session, bytes) => slot.ring.send(session, bytes),
            Effect::Mark(session) => slot.ring.mark(session),
            Effect::Level(session, frames) => slot.ring.level(session, frames),
            Effect::Answer(session, answer) => {
                slot.answers.insert(session, answer);
                return Some(Input::Leave(session));
            }
            Effect::Close(session, code) => {
                slot.ring.close(session, code);
                self.closed.push((session, code));
            }
            Effect::Append(record) => {
                // What is handed over before the room has heard of a failure fails too.
                let has_failed = slot.appending.iter().any(|appending| appending.outcome == Some(None));
                let outcome = has_failed.then_some(None);
                slot.appending.push_back(Appending { record, outcome });
            }
            Effect::Relay(_, relayed) => {
                let relayed: Arc<Relayed> = Arc::from(relayed);
                for node in self.nodes.iter_mut().filter(|node| node.room.is_some()) {
                    node.shown.push_back(Arc::clone(&relayed));
                }
            }
            Effect::StoreKeyframe(keyframe) => {
                let is_newest = self
                    .keyframes
                    .last()
                    .is_none_or(|last| last.position < keyframe.position);
                self.keyframes.extend(is_newest.then_some(keyframe));
            }
            Effect::FindState(session, seq, at) => {
                return Some(Input::Restored(
                    session,
                    seq,
                    self.state_at(at).ok_or(ErrorCode::UnknownPosition),
                ));
            }
            Effect::Count(counter) => *self.counted.entry(counter).or_default() += 1,
            Effect::Audit(_) | Effect::Rebuild => {}
        }
        None
    }

    fn state_at(&self, at: Position) -> Option<Vec<Item>> {
        let mut records = self.records();
        records.retain(|logged| logged.position <= at);
        Board::open(4, None, &records, &BTreeSet::new())
            .ok()
            .map(|board| board.items())
    }

    /// The log takes, or does not take, the next record of this node; whether there was one. As the port promises,
    /// whatever comes after a failure fails too until the room has heard of it.
    pub(crate) fn write(&mut self, node: usize, fault: Option<LogFault>) -> bool {
        let slot = &mut self.nodes[node];
        let Some(next) = slot.appending.iter_mut().find(|appending| appending.outcome.is_none()) else {
            return false;
        };
        if let Some(fault) = fault {
            self.log.fail_next_append(fault);
        }
        let position = self.log.append_now(&self.board, Arc::clone(&next.record)).ok();
        next.outcome = Some(position);
        if position.is_none() {
            // All that was handed over before the room hears of it, or the order would be another one.
            for behind in slot
                .appending
                .iter_mut()
                .filter(|appending| appending.outcome.is_none())
            {
                behind.outcome = Some(None);
            }
        }
        true
    }

    /// The room hears what became of its oldest record on the way; whether there was one.
    pub(crate) fn hear(&mut self, node: usize) -> bool {
        let slot = &mut self.nodes[node];
        let Some(Appending {
            record,
            outcome: Some(outcome),
        }) = slot.appending.pop_front_if(|appending| appending.outcome.is_some())
        else {
            return false;
        };
        if outcome.is_none() {
            slot.appending
                .iter_mut()
                .for_each(|behind| _ = behind.outcome.get_or_insert(None));
        }
        let number = record.id.1;
        self.input(
            node,
            match outcome {
                Some(position) => Input::Appended(number, position),
                None => Input::AppendFailed(number, AppendFault::TryAgain),
            },
        );
        true
    }

    /// The node reads the next record of the log; whether there was one.
    pub(crate) fn read(&mut self, node: usize) -> bool {
        let Some(room) = &self.nodes[node].room else {
            return false;
        };
        let next = self.log.read(&self.board, Some(room.position()), 1).unwrap().pop();
        let is_more = next.is_some();
        if let Some(logged) = next {
            self.input(node, Input::Logged(logged));
        }
        is_more
    }

    /// The room hears the next of what rooms show, or it is lost; whether there was any.
    pub(crate) fn hear_others(&mut self, node: usize, is_lost: bool) -> bool {
        let Some(relayed) = self.nodes[node].shown.pop_front() else {
            return false;
        };
        if !is_lost && self.is_open(node) {
            self.input(node, Input::Relayed(relayed));
        }
        true
    }

    pub(crate) fn tick(&mut self, node: usize, ms: u64) {
        self.now += ms;
        self.input(node, Input::Tick);
    }

    /// Goes on until nothing is on its way, without any more faults.
    pub(crate) fn rest(&mut self) {
        loop {
            let mut is_moving = false;
            for node in 0..self.nodes.len() {
                while self.write(node, None) | self.hear(node) | self.read(node) | self.hear_others(node, false) {
                    is_moving = true;
                }
                if self.nodes[node]
                    .room
                    .as_ref()
                    .is_some_and(|room| room.pending_bytes() > 0)
                {
                    is_moving = true;
                    self.tick(node, 600);
                }
            }
            if !is_moving {
                return;
            }
        }
    }

    /// One request over HTTP, and its answer once the log has it. Nobody has read the log yet.
    pub(crate) fn request(&mut self, node: usize, name: &str, op: Op) -> Answer {
        let session = self.ask(node, name, None, op);
        while self.write(node, None) | self.hear(node) {}
        self.nodes[node]
            .answers
            .remove(&session)
            .expect("the log answers, so does the room")
    }

    /// The same without waiting for the log.
    pub(crate) fn ask(&mut self, node: usize, name: &str, gesture: Option<uuid::Uuid>, op: Op) -> SessionId {
        self.open(node);
        let session = self.fresh_session();
        let (role, door) = (Role::Editor, Door::Request { client: None });
        let joining = Joining {
            session,
            user: user(name),
            name: None,
            role,
            is_level: true,
            door,
            vector: None,
            route: None,
        };
        self.input(node, Input::Join(joining));
        self.input(
            node,
            Input::Frame(
                session,
                ClientFrame::Op {
                    seq: 1,
                    gesture,
                    ops: vec![op],
                },
            ),
        );
        session
    }

    /// All open rooms are equal, and equal to a board that knows the log only.
    pub(crate) fn assert_equal(&self, context: &str) {
        let all = fed_by_the_log(&self.log, &self.board);
        for node in (0..self.nodes.len()).filter(|node| self.is_open(*node)) {
            let board = self.board(node);
            assert_eq!(vector(board), vector(&all), "{context}: state vector of node {node}");
            assert_eq!(board.items(), all.items(), "{context}: read model of node {node}");
            assert_eq!(reopened(board), all.items(), "{context}: document of node {node}");
            assert_eq!(board.stacks(), all.stacks(), "{context}: stacks of node {node}");
            assert_eq!(owners(board), owners(&all), "{context}: owners on node {node}");
        }
    }
}

/// The state vector in one order.
pub(crate) fn vector(board: &Board) -> BTreeSet<(u64, u32)> {
    board.index().state_vector().collect()
}

/// Whose each client id is that has blocks, and whether that is firm.
fn owners(board: &Board) -> Vec<(u64, Owner, bool)> {
    let index = board.index();
    let used = index.owners().filter(|(client, ..)| index.next_clock(*client) > 0);
    let mut owners: Vec<_> = used
        .map(|(client, owner, is_firm)| (client, owner.clone(), is_firm))
        .collect();
    owners.sort_by_key(|(client, ..)| *client);
    owners
}

/// What the document says, however the room's own copy came about.
fn reopened(board: &Board) -> Vec<Item> {
    let document = panseo::protocol::Blob::from(board.diff([]));
    let record = Record {
        id: panseo::protocol::ids::RecordId(5, 1),
        base: Position(EPOCH, 0),
        author: user("nobody"),
        client: None,
        seq: None,
        refused: Vec::new(),
        kind: panseo::protocol::RecordKind::Update,
        gesture: None,
        time: Timestamp(0),
        owner: None,
        steps: Vec::new(),
        changes: Vec::new(),
        changes_left_out: false,
        relayed: Vec::new(),
        update: document,
    };
    let logged = Logged {
        position: Position(EPOCH, 1),
        record: Arc::new(record),
    };
    Board::open(6, None, &[logged], &BTreeSet::new()).unwrap().items()
}
