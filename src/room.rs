//! A board live in memory: `handle(now, input) -> effects`. No await, no clock, no channel.
//!
//! The room owns the document and every transaction on it. Inputs come from sessions, from the log and from the clock;
//! effects are carried out by `room/task.rs`, or by the simulation in the tests. Order inside: check, apply, hand to
//! the log, fan out. Only `append` acknowledges; only the log moves position and stacks.

mod appending;
mod busy;
mod connection;
mod counting;
mod edit;
mod gather;
pub mod hub;
mod level;
mod opening;
mod pulse;
mod refusals;
pub mod ring;
mod roles;
mod run;
mod saving;
pub mod session;
mod sharing;
mod showing;
pub mod task;
mod telling;
#[cfg(test)]
mod tests;
mod unchanged;
mod updates;
pub mod yjs;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::board::Board;
use crate::log::Logged;
use crate::presence::{self, Person, Presence};
use crate::protocol::close::CloseCode;
use crate::protocol::codec::{self, Format};
use crate::protocol::element::{Change, Entry, EntryKind, Item, Properties};
use crate::protocol::ids::{ClientId, EditScope, GestureId, Position, Role, SessionId, Timestamp, UserId};
use crate::protocol::limits::Limits;
use crate::protocol::op::Op;
use crate::protocol::relay::{Lane, Relayed};
use crate::protocol::{ClientFrame, ClientLimits, ErrorCode, Record, ServerFrame, Undone};
use crate::store::StoredKeyframe;
pub use edit::{Audit, Deed};
use refusals::Refusals;
use ring::{FORMS, Form, Frame, Lacks};
pub use roles::ReadOnly;
use run::{Content, Edit, Run};
pub use saving::AppendFault;
use saving::Saving;
use session::{Door, Joining, Session};
pub use showing::Unshown;
use yjs::YjsMessage;

/// What reaches a room.
#[derive(Debug)]
pub enum Input {
    /// Somebody joins.
    Join(Joining),
    /// A frame of our own door, or of a request.
    Frame(SessionId, ClientFrame),
    /// A message of the Yjs door.
    Yjs(SessionId, YjsMessage),
    /// A frame of our own door that could not be read: why, and its `seq` if that much was clear.
    BadFrame(SessionId, String, Option<u64>),
    /// An op frame that the door refused: its `seq`, and why.
    Refused(SessionId, u64, ErrorCode, String),
    /// Elements and pages of a file, for a request.
    Import(SessionId, Import),
    /// A reader fell behind the ring and lacks this.
    Behind(SessionId, Lacks),
    /// What stood one behind the other in the queue.
    Queued(Vec<Input>),
    /// Somebody leaves.
    Leave(SessionId),
    /// A user's role is another one now; none: they may not stay.
    Grant(UserId, Option<Role>),
    /// Title and setting of the board as they are now.
    Info(Arc<str>, EditScope),
    /// The log has the record of that number.
    Appended(u64, Position),
    /// The log does not have the record of that number.
    AppendFailed(u64, AppendFault),
    /// The next record of the log.
    Logged(Logged),
    /// What another node's room of the board shows.
    Relayed(Arc<Relayed>),
    /// The state that a restore asked for, or why there is none: no such position, or the store does not answer.
    Restored(SessionId, u64, Result<Vec<Item>, ErrorCode>),
    /// The board takes no edits from now on, or takes them again.
    ReadOnly(Option<ReadOnly>),
    /// Time goes by.
    Tick,
    /// The room is about to close: a keyframe, if there is anything to put in one.
    Closing,
}

/// What a file brings.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// One step of undo for all of it.
    pub gesture: GestureId,
    /// Some of the file is on the board already, and the rest belongs to it.
    pub is_under_way: bool,
    /// Elements, complete.
    pub elements: Vec<Entry>,
    /// Pages; the page `""` too.
    pub pages: Vec<(Arc<str>, Properties)>,
}

/// What a request came to: position and outcome of an undo, or the refusal.
pub type Answer = Result<(Position, Option<Undone>), (ErrorCode, String)>;

/// What a room asks to be done.
#[derive(Debug)]
pub enum Effect {
    /// A frame for all sessions.
    FanOut(Frame),
    /// A frame for one session.
    Send(SessionId, Bytes),
    /// A reader reads on from here, once it is level.
    Mark(SessionId),
    /// All that a reader lacked when it was marked.
    Level(SessionId, Vec<Bytes>),
    /// The answer to a request.
    Answer(SessionId, Answer),
    /// End a session.
    Close(SessionId, CloseCode),
    /// Hand a record to the log.
    Append(Arc<Record>),
    /// Show something to the rooms of the board on other nodes.
    Relay(Lane, Box<Relayed>),
    /// Put a keyframe into the store.
    StoreKeyframe(StoredKeyframe),
    /// Find the state at a position, and give it back as [`Input::Restored`] with session and `seq`.
    FindState(SessionId, u64, Position),
    /// Something happened that is counted.
    Count(Counter),
    /// Somebody did what they may have to answer for.
    Audit(Audit),
    /// The document cannot be trusted any more: close all sessions and open the board anew.
    Rebuild,
}

/// What is counted, so that nothing is lost silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counter {
    /// An edit was taken.
    Edits,
    /// An edit went into the record of the one behind it.
    Joined,
    /// An edit was refused.
    Refusals(ErrorCode),
    /// An edit was seen before.
    Repeats,
    /// A viewer's edit was not read.
    ViewerEdits,
    /// An entry was put back that its editor may not touch.
    PutBacks,
    /// Blocks of another user were handed over.
    Relays,
    /// A message that was not read, because its session is to end and will bring it again.
    Late,
    /// An awareness entry was dropped.
    AwarenessDrops,
    /// A reader was brought level with one difference.
    Levels,
    /// Something that another node showed was not shown here.
    Unshown(Unshown),
}

/// A board live in memory.
pub struct Room {
    board: Board,
    title: Arc<str>,
    /// Whether the document is known to say the title.
    is_described: bool,
    scope: EditScope,
    limits: Limits,
    position: Position,
    number: u64,
    /// Boxed: a node of the map has eleven places, and a board mostly fewer sessions.
    sessions: BTreeMap<SessionId, Box<Session>>,
    /// Session that speaks for an outbox.
    clients: HashMap<ClientId, SessionId>,
    /// Sessions by [`Form`].
    forms: [usize; FORMS],
    presence: Presence,
    saving: Saving,
    /// Edits that wait to become one transaction, and their bytes.
    runs: BTreeMap<SessionId, Run>,
    waiting_bytes: usize,
    /// The next input in the queue is an edit of the same session.
    has_next: bool,
    refusals: Refusals,
    server_user: UserId,
    read_only: Option<ReadOnly>,
    /// The node holds as many bytes for the log as it may.
    is_node_busy: bool,
}

/// What a room is opened with.
pub struct Opened {
    /// The document.
    pub board: Board,
    /// Place in the log up to which it has everything.
    pub position: Position,
    /// Bytes of the records after the newest keyframe.
    pub tail_bytes: usize,
    /// The board's title.
    pub title: Arc<str>,
    /// The board's setting.
    pub scope: EditScope,
}

impl Room {
    /// A room around an open board.
    pub fn new(opened: Opened, limits: Limits) -> Self {
        let presence = Presence::new(opened.board.replica() + 1, (&limits).into());
        Self {
            presence,
            board: opened.board,
            title: opened.title,
            is_described: false,
            scope: opened.scope,
            limits,
            position: opened.position,
            number: 0,
            sessions: BTreeMap::new(),
            clients: HashMap::new(),
            forms: [0; FORMS],
            saving: Saving::new(opened.tail_bytes),
            runs: BTreeMap::new(),
            waiting_bytes: 0,
            has_next: false,
            refusals: Refusals::default(),
            server_user: UserId::new("server").expect("a valid name"),
            read_only: None,
            is_node_busy: false,
        }
    }

    /// The document.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Place in the log up to which the room has everything.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether nobody is here and nothing is on its way to the log.
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.saving.is_idle()
    }

    /// Whether the clock matters soon: something waits to be told, shown or tried again.
    pub fn is_restless(&self) -> bool {
        self.saving.is_restless() || !self.runs.is_empty() || self.presence.is_asking()
    }

    /// Bytes of records that wait for the log, and of edits that wait to become one.
    pub fn pending_bytes(&self) -> usize {
        self.saving.pending_bytes() + self.waiting_bytes
    }

    /// The node holds as many bytes for the log as it may, or no longer does: new edits are refused meanwhile.
    pub fn set_node_busy(&mut self, is_busy: bool) {
        self.is_node_busy = is_busy;
    }

    /// Why the board takes no edits now, if it takes none.
    pub fn read_only(&self) -> Option<ReadOnly> {
        self.read_only
    }

    /// Whether an input may take so long that it must not run among other rooms' work.
    pub fn is_heavy(&self, input: &Input) -> bool {
        const ENTRIES: usize = 500;
        const UPDATE_BYTES: usize = 64 * 1024;
        let is_large = self.board.index().entry_count(EntryKind::Element) > ENTRIES;
        match input {
            Input::Join(_)
            | Input::Behind(..)
            | Input::Restored(..)
            | Input::Closing
            | Input::Yjs(_, YjsMessage::Step1(_)) => is_large,
            Input::Tick => is_large && (self.saving.has_tail() && self.saving.is_idle() || self.must_measure()),
            Input::Import(..) => true,
            Input::Queued(inputs) => inputs.iter().any(|input| self.is_heavy(input)),
            Input::Yjs(_, YjsMessage::Step2(update) | YjsMessage::Update(update)) => update.len() > UPDATE_BYTES,
            Input::Frame(_, ClientFrame::Update { update, .. } | ClientFrame::Resync { update }) => {
                update.0.len() > UPDATE_BYTES
            }
            Input::Frame(_, ClientFrame::Op { ops, .. }) => {
                ops.iter().map(Op::size).sum::<usize>() > 100 || (is_large && ops.iter().any(Op::stands_alone))
            }
            Input::Frame(..)
            | Input::Yjs(..)
            | Input::BadFrame(..)
            | Input::Refused(..)
            | Input::Leave(_)
            | Input::Grant(..)
            | Input::Info(..)
            | Input::ReadOnly(_)
            | Input::Appended(..)
            | Input::AppendFailed(..)
            | Input::Logged(_)
            | Input::Relayed(_) => false,
        }
    }

    /// Takes an input; everything that follows from it comes back.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.finish_runs_before(now, &input, &mut effects);
        match input {
            Input::Queued(inputs) => effects = self.queued(now, inputs),
            Input::Join(joining) => self.join(now, &joining, &mut effects),
            Input::Frame(session, frame) => self.client_frame(now, session, frame, &mut effects),
            Input::Yjs(session, message) => self.yjs_message(now, session, &message, &mut effects),
            Input::BadFrame(session, message, seq) => self.bad_frame(now, session, message, seq, &mut effects),
            Input::Refused(session, seq, code, message) => {
                if self.may_edit(session, Some(seq), &mut effects) {
                    self.refuse(session, Some(seq), code, message, &mut effects);
                }
            }
            Input::Import(session, import) => self.import(now, session, &import, &mut effects),
            Input::Behind(session, lacks) => self.bring_level(session, &lacks, &mut effects),
            Input::Leave(session) => self.leave(now, session),
            Input::Grant(user, role) => self.grant(&user, role, &mut effects),
            Input::Info(title, scope) => self.set_info(now, title, scope, &mut effects),
            Input::Appended(number, position) => self.appended(number, position, &mut effects),
            Input::AppendFailed(number, fault) => self.append_failed(now, number, fault, &mut effects),
            Input::Logged(logged) => self.logged(&logged, &mut effects),
            Input::Relayed(relayed) => self.relayed(now, &relayed, &mut effects),
            Input::Restored(session, seq, items) => self.restored(now, session, seq, items, &mut effects),
            Input::ReadOnly(why) => self.set_read_only(why, &mut effects),
            Input::Tick => self.tick(now, &mut effects),
            Input::Closing => self.make_keyframe(now, &mut effects),
        }
        for effect in &effects {
            if let Effect::Close(id, _) = effect
                && let Some(session) = self.sessions.get_mut(id)
            {
                session.is_over = true;
                // Its socket may take long to notice: nobody is to see it until then.
                self.presence.leave(now, *id);
            }
        }
        effects
    }

    fn join(&mut self, now: Timestamp, joining: &Joining, effects: &mut Vec<Effect>) {
        let id = joining.session;
        self.sessions.insert(id, Box::new(Session::new(joining)));
        let Some(form) = joining.door.form() else { return };
        if let Some(client) = joining.door.client() {
            self.clients.insert(client, id);
        }
        self.forms[form as usize] += 1;
        let person = Person {
            session: id,
            user: joining.user.clone(),
            name: joining.name.clone(),
        };
        effects.push(Effect::Mark(id));
        match joining.door {
            Door::Yjs => {
                self.presence.join(now, person, presence::Door::Yjs);
                let mut frames = vec![yjs::step1(&self.board.state_vector())];
                frames.extend(self.presence.snapshot_awareness());
                effects.push(Effect::Level(id, frames));
            }
            Door::Own {
                format,
                document,
                client,
            } => {
                let others = self.presence.snapshot_ephemeral();
                self.presence.join(now, person, presence::Door::Own);
                let welcome = ServerFrame::Welcome {
                    session: id,
                    user: joining.user.clone(),
                    role: self.role_now(joining.role, joining.is_level),
                    seq: self.taken(client),
                    refused: self.refused(client),
                    position: self.position,
                    limits: self.client_limits(),
                    route: joining.route.clone(),
                };
                let asks = joining.is_asked();
                let vector = joining.vector.clone().unwrap_or_default();
                effects.push(Effect::Send(id, codec::encode_server(format, &welcome)));
                let frames = [Some(self.resync(document, vector, asks)), others];
                let frames = frames.iter().flatten().map(|frame| codec::encode_server(format, frame));
                self.show_durable(Effect::Level(id, frames.collect()), effects);
                if let Some(why) = self.hindrance(joining.is_level) {
                    self.tell_role(id, why, effects);
                }
            }
            Door::Request { .. } => {}
        }
    }

    fn leave(&mut self, now: Timestamp, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        if let Some(form) = session.door.form() {
            self.forms[form as usize] -= 1;
            self.presence.leave(now, id);
        }
        if let Some(client) = session.door.client()
            && self.clients.get(&client) == Some(&id)
        {
            self.clients.remove(&client);
        }
    }

    fn resync(&self, document: bool, vector: Vec<(u64, u32)>, asks: bool) -> ServerFrame {
        ServerFrame::Resync {
            vector: asks.then(|| self.board.state_vector().into()),
            update: document.then(|| self.board.diff(vector).into()),
            entries: (!document).then(|| self.board.items()),
            position: self.position,
        }
    }

    fn yjs_message(&mut self, now: Timestamp, id: SessionId, message: &YjsMessage, effects: &mut Vec<Effect>) {
        const ASK_AGAIN_MS: u64 = 2_000;
        if self.is_over(id) {
            return effects.push(Effect::Count(Counter::Late));
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let mut asks_too_often = |what: usize| {
            session.asked[what]
                .replace(now)
                .is_some_and(|last| now.0.abs_diff(last.0) < ASK_AGAIN_MS)
        };
        match message {
            YjsMessage::Step1(_) if asks_too_often(0) => effects.push(Effect::Close(id, CloseCode::Rate)),
            YjsMessage::Query if asks_too_often(1) => effects.push(Effect::Close(id, CloseCode::Rate)),
            YjsMessage::Step1(vector) => match crate::board::guard::walk_state_vector(vector) {
                Ok(vector) => {
                    let step2 = Effect::Send(id, yjs::step2(&self.board.diff(vector)));
                    self.show_durable(step2, effects);
                }
                Err(_) => effects.push(Effect::Close(id, CloseCode::Malformed)),
            },
            YjsMessage::Step2(update) => self.hand_over(now, id, update, effects),
            YjsMessage::Update(update) => {
                let content = Content::Update(update.clone());
                let edit = Edit {
                    seq: None,
                    gesture: None,
                    content,
                };
                self.edit(now, id, edit, effects);
            }
            YjsMessage::Awareness(payload) => match crate::board::guard::walk_awareness(payload) {
                Ok(entries) => {
                    let (index, user) = (self.board.index(), &session.user);
                    let may_claim = |client: u64| match index.owner(client) {
                        None => true,
                        Some(crate::board::guard::Owner::User(owner)) => owner == user || index.is_handed(client),
                        Some(crate::board::guard::Owner::Server) => false,
                    };
                    let entries = entries.iter().map(|entry| (entry.client, entry.clock, entry.json));
                    let counted = self.presence.awareness(now, id, entries, may_claim);
                    for _ in 0..counted.foreign + counted.malformed {
                        effects.push(Effect::Count(Counter::AwarenessDrops));
                    }
                }
                Err(_) => effects.push(Effect::Close(id, CloseCode::Malformed)),
            },
            YjsMessage::Query => {
                effects.extend(self.presence.snapshot_awareness().map(|bytes| Effect::Send(id, bytes)));
            }
        }
    }

    fn is_over(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| session.is_over)
    }

    /// The frame that shows a record to the others, in each form that somebody here reads.
    fn frame(
        &self,
        record: &Record,
        update: &Bytes,
        changes: &[Change],
        position: Option<Position>,
        except: Option<SessionId>,
    ) -> Frame {
        let mut frame = Frame {
            except,
            advances: Self::advances(update),
            ..Frame::default()
        };
        for (form, count) in self.forms.iter().enumerate() {
            if *count == 0 {
                continue;
            }
            frame.bytes[form] = Some(if form == Form::Yjs as usize {
                yjs::update(update)
            } else {
                let has_update = form == Form::MsgPackUpdates as usize || form == Form::JsonUpdates as usize;
                let event = ServerFrame::Event {
                    id: record.id,
                    author: record.author.clone(),
                    kind: record.kind,
                    gesture: record.gesture,
                    time: record.time,
                    update: has_update.then(|| crate::protocol::Blob(update.clone())),
                    changes: (!has_update).then(|| changes.to_vec()),
                    position,
                };
                codec::encode_server(format_of(form), &event)
            });
        }
        frame
    }

    /// A frame for our own door, in the formats that somebody here reads.
    fn own_frame(&self, content: &ServerFrame, is_ephemeral: bool) -> Option<Frame> {
        let mut frame = Frame {
            is_ephemeral,
            ..Frame::default()
        };
        for format in [Format::MsgPack, Format::Json] {
            let forms = match format {
                Format::MsgPack => [Form::MsgPackUpdates, Form::MsgPackChanges],
                Format::Json => [Form::JsonUpdates, Form::JsonChanges],
            };
            if forms.iter().any(|form| self.forms[*form as usize] > 0) {
                let bytes = codec::encode_server(format, content);
                for form in forms {
                    frame.bytes[form as usize] = Some(bytes.clone());
                }
            }
        }
        frame.bytes.iter().any(Option::is_some).then_some(frame)
    }

    fn advances(update: &Bytes) -> Vec<(u64, u32, u32)> {
        let walk = crate::board::guard::walk_within(update, &crate::board::guard::WalkLimits::TRUSTED);
        walk.map(|walk| {
            walk.sections()
                .iter()
                .map(|section| (section.client, section.from, section.to))
                .collect()
        })
        .unwrap_or_default()
    }

    fn client_limits(&self) -> ClientLimits {
        ClientLimits {
            op_bytes_max: self.limits.op_bytes_max,
            update_bytes_max: self.limits.update_bytes_max,
            first_update_bytes_max: self.limits.first_update_bytes_max,
            asset_bytes_max: self.limits.asset_bytes_max,
            elements_max: self.limits.elements_max,
            updates_per_second: self.limits.updates_per_second,
            ephemeral_per_second: self.limits.ephemeral_per_second,
            tick_ms: self.limits.tick_ms,
        }
    }

    /// A gesture for edits that name none: made from the record it opens, so that no randomness is needed.
    fn fresh_gesture(&self) -> GestureId {
        Uuid::from_u64_pair(self.board.replica(), self.number + 1)
    }
}

fn format_of(form: usize) -> Format {
    if form == Form::JsonUpdates as usize || form == Form::JsonChanges as usize {
        Format::Json
    } else {
        Format::MsgPack
    }
}
