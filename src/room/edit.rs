//! Edits: ops and raw updates become one transaction, one record and one frame.

use std::sync::Arc;

use bytes::Bytes;

use super::run::{Content, Edit};
use super::saving::Reply;
use super::session::{Door, Offence};
use super::{Counter, Effect, Import, Room};
use crate::board::Applied;
use crate::board::rights::Editor;
use crate::board::undo::{self, Direction};
use crate::presence::PresenceError;
use crate::protocol::close::CloseCode;
use crate::protocol::element::Item;
use crate::protocol::ids::{EditScope, GestureId, RecordId, Role, SessionId, Timestamp, UserId};
use crate::protocol::limits::CHANGES_BYTES_MAX;
use crate::protocol::op::Op;
use crate::protocol::{Blob, ClientFrame, Ephemeral, ErrorCode, Record, RecordKind, codec};

/// What is told to whoever writes on a board whose document is as large as it may be.
pub(super) const FULL: &str = "the board is full: delete or start a new one";
/// Bytes of a change around id and values, about.
const CHANGE_BYTES: usize = 64;
/// Changes that are about as large as this may be above their limit.
const CHANGES_WORTH_MEASURING_BYTES: usize = 256 * 1024;
/// Put-backs of one session in a minute before it is closed.
const PUT_BACKS_MAX: usize = 20;

/// Who wrote, or tried to write, under whose client ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// The person, by their token.
    pub user: UserId,
    /// What they did.
    pub deed: Deed,
    /// The blocks: `(client id, first clock, end clock)`.
    pub blocks: Vec<(u64, u32, u32)>,
}

/// What somebody may have to answer for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// They handed over blocks of other users that the server had lost.
    Relayed,
    /// They were refused, because the client ids are not theirs.
    ForeignClient,
}

/// Circumstances of an edit.
pub(super) struct Circumstances {
    pub(super) kind: RecordKind,
    pub(super) seq: Option<u64>,
    /// Numbers of the frames that went into the same transaction before that one.
    pub(super) ahead: Vec<u64>,
    pub(super) gesture: Option<GestureId>,
    pub(super) owner: Option<UserId>,
}

impl Circumstances {
    /// Those of an edit that nobody numbered.
    pub(super) fn of(kind: RecordKind) -> Self {
        Self {
            kind,
            seq: None,
            ahead: Vec::new(),
            gesture: None,
            owner: None,
        }
    }
}

impl Room {
    pub(super) fn client_frame(
        &mut self,
        now: Timestamp,
        id: SessionId,
        frame: ClientFrame,
        effects: &mut Vec<Effect>,
    ) {
        if self.is_over(id) {
            return effects.push(Effect::Count(Counter::Late));
        }
        match frame {
            ClientFrame::Op { seq, gesture, ops } => {
                let (seq, content) = (Some(seq), Content::Ops(ops));
                self.edit(now, id, Edit { seq, gesture, content }, effects);
            }
            ClientFrame::Update { seq, gesture, update } => {
                let (seq, content) = (Some(seq), Content::Update(update.0));
                self.edit(now, id, Edit { seq, gesture, content }, effects);
            }
            ClientFrame::Resync { update } => self.hand_over(now, id, &update.0, effects),
            ClientFrame::Ephemeral(state) => self.show(now, id, state, effects),
            ClientFrame::More { d } => self.show(now, id, Ephemeral::more(d), effects),
            ClientFrame::Ping {} => {
                if let Some(Door::Own { format, .. }) = self.sessions.get(&id).map(|session| session.door) {
                    let pong = codec::encode_server(format, &crate::protocol::ServerFrame::Pong {});
                    effects.push(Effect::Send(id, pong));
                }
            }
            ClientFrame::Hello(_) => {
                self.bad_frame(now, id, "`hello` comes once, as the first frame".into(), None, effects);
            }
        }
    }

    fn show(&mut self, now: Timestamp, id: SessionId, state: Ephemeral, effects: &mut Vec<Effect>) {
        match self.presence.ephemeral(now, id, state) {
            Ok(()) => {}
            // After a stall of the network an honest stroke comes all at once, or after it was taken for ended.
            Err(error @ (PresenceError::TooFast | PresenceError::NoGesture)) => {
                self.refuse(id, None, ErrorCode::Busy, error.to_string(), effects);
            }
            Err(error) => self.bad_frame(now, id, error.to_string(), None, effects),
        }
    }

    /// Whether an edit may go on: role, repeats and a log that keeps up.
    pub(super) fn may_edit(&mut self, id: SessionId, seq: Option<u64>, effects: &mut Vec<Effect>) -> bool {
        let Some(seq) = seq else {
            return self.may_merge(id, effects);
        };
        let (is_busy, is_caught_up) = {
            let bytes = self.saving.pending_bytes();
            (
                self.is_node_busy || bytes >= self.limits.pending_bytes_board_max,
                bytes < self.limits.pending_bytes_board_max / 2,
            )
        };
        if !self.is_new(id, seq, effects) {
            return false;
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        if session.role < Role::Editor {
            let message = "you may look, not edit: ask a teacher for the pen".into();
            self.refuse(id, Some(seq), ErrorCode::Forbidden, message, effects);
            return false;
        }
        if let Some(why) = self.read_only {
            self.refuse(id, Some(seq), ErrorCode::ReadOnly, why.told().into(), effects);
            return false;
        }
        session.is_held = is_busy || (session.is_held && !is_caught_up);
        if session.is_held {
            let message = "the log does not keep up: send this again in some seconds, and all behind it".into();
            self.refuse(id, Some(seq), ErrorCode::Busy, message, effects);
            return false;
        }
        true
    }

    /// Whether the document is as large as it may be, as far as is known: it is measured soon where it seems so.
    pub(super) fn is_full(&self) -> bool {
        self.board.document_bytes() >= self.limits.document_bytes_max
    }

    /// Whether a frame comes for the first time. A repeat gets the answer that the first one got.
    fn is_new(&mut self, id: SessionId, seq: u64, effects: &mut Vec<Effect>) -> bool {
        let Some(session) = self.sessions.get(&id) else {
            return true;
        };
        if !session.is_level {
            // No answer: a refusal would make it another frame, and this one may be in the log.
            effects.push(Effect::Count(Counter::Late));
            return false;
        }
        let Some(client) = session.door.client() else {
            return true;
        };
        if seq == 0 {
            // Below every number that was taken, it would pass for a repeat.
            let message = "frames are counted from 1: `seq` is never 0".into();
            self.refuse(id, Some(seq), ErrorCode::BadOp, message, effects);
            return false;
        }
        if let Some(code) = self.refused(client).iter().find_map(|refused| refused.code(seq)) {
            effects.push(Effect::Count(Counter::Repeats));
            let message = "this was refused before: what is sent again takes a new `seq`".into();
            self.refuse(id, Some(seq), code, message, effects);
            return false;
        }
        if seq <= self.taken(client) {
            effects.push(Effect::Count(Counter::Repeats));
            self.acknowledge_unchanged(id, Some(seq), effects);
            return false;
        }
        true
    }

    pub(super) fn editor(&self, now: Timestamp, id: SessionId) -> Option<Editor> {
        let session = self.sessions.get(&id)?;
        Some(Editor {
            user: session.user.clone(),
            role: session.role,
            scope: self.scope,
            now,
            seed: self
                .board
                .replica()
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(self.number),
            imports: false,
        })
    }

    pub(super) fn ops(
        &mut self,
        now: Timestamp,
        id: SessionId,
        seq: u64,
        gesture: Option<GestureId>,
        ops: Vec<Op>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(editor) = self.editor(now, id) else { return };
        if ops.is_empty() || (ops.len() > 1 && ops.iter().any(Op::stands_alone)) {
            let message = "a frame holds at least one op; undo, redo and restore stand alone in theirs".into();
            return self.refuse(id, Some(seq), ErrorCode::BadOp, message, effects);
        }
        if let Some(op) = ops.iter().find(|op| op.role_needed() > editor.role) {
            let message = format!("this needs the role {:?}", op.role_needed()).to_lowercase();
            return self.refuse(id, Some(seq), ErrorCode::Forbidden, message, effects);
        }
        if let Op::Undo { step, user } = &ops[0] {
            self.take_back(now, id, seq, (Direction::Undo, *step, user.as_ref()), effects);
        } else if let Op::Redo { step, user } = &ops[0] {
            self.take_back(now, id, seq, (Direction::Redo, *step, user.as_ref()), effects);
        } else if let Op::BoardRestore { at } = &ops[0] {
            effects.push(Effect::FindState(id, seq, *at));
        } else {
            match self.board.apply(&ops, &editor, self.limits.elements_max) {
                Ok(applied) => {
                    self.note_ops(now, id, ops);
                    let circumstances = Circumstances {
                        seq: Some(seq),
                        gesture,
                        ..Circumstances::of(RecordKind::Op)
                    };
                    self.record(now, id, circumstances, applied, effects);
                }
                Err(error) => self.refuse(id, Some(seq), error.code(), error.to_string(), effects),
            }
        }
    }

    fn take_back(
        &mut self,
        now: Timestamp,
        id: SessionId,
        seq: u64,
        (direction, step, user): (Direction, Option<crate::protocol::op::StepName>, Option<&UserId>),
        effects: &mut Vec<Effect>,
    ) {
        let Some(editor) = self.editor(now, id) else { return };
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.end_gesture();
        let owner = user.unwrap_or(&session.user).clone();
        let is_others = owner != session.user;
        match self.board.undo(direction, &owner, step, &editor, self.saving.unread()) {
            Ok(applied) => {
                let kind = if direction == Direction::Undo {
                    RecordKind::Undo
                } else {
                    RecordKind::Redo
                };
                let circumstances = Circumstances {
                    seq: Some(seq),
                    owner: is_others.then_some(owner),
                    ..Circumstances::of(kind)
                };
                self.record(now, id, circumstances, applied, effects);
            }
            Err(error) => self.refuse(id, Some(seq), error.code(), error.to_string(), effects),
        }
    }

    pub(super) fn restored(
        &mut self,
        now: Timestamp,
        id: SessionId,
        seq: u64,
        items: Result<Vec<Item>, ErrorCode>,
        effects: &mut Vec<Effect>,
    ) {
        let items = match items {
            Ok(items) => items,
            Err(code) => {
                let message = if code == ErrorCode::UnknownPosition {
                    "there is no such position in this board's history"
                } else {
                    "the history cannot be read now: try again in some seconds"
                };
                return self.refuse(id, Some(seq), code, message.into(), effects);
            }
        };
        match self.board.restore(&items, now, self.limits.elements_max) {
            Ok(applied) => {
                let circumstances = Circumstances {
                    seq: Some(seq),
                    ..Circumstances::of(RecordKind::Op)
                };
                self.record(now, id, circumstances, applied, effects);
            }
            Err(error) => self.refuse(id, Some(seq), error.code(), error.to_string(), effects),
        }
    }

    pub(super) fn import(&mut self, now: Timestamp, id: SessionId, import: &Import, effects: &mut Vec<Effect>) {
        let Some(editor) = self.editor(now, id) else { return };
        if let Some(why) = self.read_only {
            return self.refuse(id, None, ErrorCode::ReadOnly, why.told().into(), effects);
        }
        if self.is_full() && !import.is_under_way {
            return self.refuse(id, None, ErrorCode::BoardFull, FULL.into(), effects);
        }
        let editor = Editor {
            imports: true,
            ..editor
        };
        match self
            .board
            .import(&import.elements, &import.pages, &editor, self.limits.elements_max)
        {
            Ok(applied) => {
                let circumstances = Circumstances {
                    gesture: Some(import.gesture),
                    ..Circumstances::of(RecordKind::Op)
                };
                self.record(now, id, circumstances, applied, effects);
            }
            Err(error) => self.refuse(id, None, error.code(), error.to_string(), effects),
        }
    }

    /// Writes title and layout version into the document, in a record of their own, unless it is known to have them.
    pub(super) fn describe(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.is_described {
            return;
        }
        self.is_described = true;
        let applied = self.board.describe(&self.title);
        if applied.update.is_some() {
            let author = self.server_user.clone();
            self.commit_applied(now, RecordKind::Op, &author, applied, effects);
        }
    }

    pub(super) fn set_info(&mut self, now: Timestamp, title: Arc<str>, scope: EditScope, effects: &mut Vec<Effect>) {
        self.scope = scope;
        self.is_described &= self.title == title;
        self.title = title;
        // A board that nobody has drawn on yet is described with its first edit.
        if self.board.document_bytes() > 0 {
            self.describe(now, effects);
        }
    }

    /// A record of the server's own doing.
    pub(super) fn commit_applied(
        &mut self,
        now: Timestamp,
        kind: RecordKind,
        author: &UserId,
        applied: Applied,
        effects: &mut Vec<Effect>,
    ) {
        let record = self.new_record(now, author.clone(), kind, applied);
        let frame = self.frame(&record, &record.update.0, &record.changes, None, None);
        let nobody = Reply {
            session: SessionId(0),
            ahead: Vec::new(),
            undone: None,
        };
        self.commit(now, record, nobody, (Some(frame), true), effects);
    }

    /// Turns what a transaction came to into a record and a frame.
    pub(super) fn record(
        &mut self,
        now: Timestamp,
        id: SessionId,
        circumstances: Circumstances,
        mut applied: Applied,
        effects: &mut Vec<Effect>,
    ) {
        let fresh = self.fresh_gesture();
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let is_edit = matches!(circumstances.kind, RecordKind::Op | RecordKind::Update);
        if applied.update.is_none() && applied.undone.is_none() {
            // A request waits for its answer, numbered or not.
            let ahead = circumstances.ahead.iter().copied().map(Some);
            for seq in ahead.chain([circumstances.seq]) {
                self.acknowledge_unchanged(id, seq, effects);
            }
            return;
        }
        let gesture = match circumstances.gesture {
            Some(gesture) => Some(gesture),
            None if is_edit => Some(session.implied_gesture(now, fresh)),
            None => None,
        };
        let (user, client) = (session.user.clone(), session.door.client());
        let put_back = applied.put_back;
        // Who hands over what others did is not to blame for it.
        let is_blamed = put_back > 0 && applied.relayed.is_empty();
        let is_offender = is_blamed && session.strike(Offence::PutBack, now) >= PUT_BACKS_MAX;
        effects.push(Effect::Count(Counter::Edits));
        effects.extend((0..put_back).map(|_| Effect::Count(Counter::PutBacks)));
        effects.extend(applied.relayed.iter().map(|_| Effect::Count(Counter::Relays)));
        if !applied.relayed.is_empty() {
            self.audit(id, Deed::Relayed, applied.relayed.clone(), effects);
            // It may have brought another title.
            self.is_described = false;
        }
        let undone = applied.undone.take();
        let steps = undone.as_ref().map(|undone| undone.steps.clone()).unwrap_or_default();
        let has_update = applied.update.is_some();
        let named = client.zip(circumstances.seq);
        let record = Record {
            client: named.map(|(client, _)| client),
            seq: named.map(|(_, seq)| seq),
            refused: named.map_or_else(Vec::new, |(client, seq)| self.refusals.take(client, seq)),
            gesture,
            owner: circumstances.owner,
            steps,
            ..self.new_record(now, user, circumstances.kind, applied)
        };
        let is_server_made = circumstances.kind != RecordKind::Update || put_back > 0;
        let except = (!is_server_made).then_some(id);
        let frame = has_update.then(|| self.frame(&record, &record.update.0, &record.changes, None, except));
        if let Some(gesture) = gesture {
            self.presence.committed(id, gesture);
        }
        let reply = Reply {
            session: id,
            ahead: circumstances.ahead,
            undone,
        };
        self.commit(now, record, reply, (frame, is_server_made), effects);
        self.describe(now, effects);
        if is_offender {
            effects.push(Effect::Close(id, CloseCode::Forbidden));
        }
    }

    fn new_record(&mut self, now: Timestamp, author: UserId, kind: RecordKind, applied: Applied) -> Record {
        self.number += 1;
        let update = applied.update.unwrap_or_else(|| Bytes::from_static(&[0, 0]));
        let sizes = applied.changes.iter().map(|change| {
            let values = [&change.before, &change.after].into_iter().flatten();
            CHANGE_BYTES + change.id.len() + values.map(undo::size_of_properties).sum::<usize>()
        });
        let bytes: usize = sizes.sum();
        let changes_left_out =
            bytes > CHANGES_WORTH_MEASURING_BYTES && codec::pack(&applied.changes).len() > CHANGES_BYTES_MAX;
        Record {
            id: RecordId(self.board.replica(), self.number),
            base: self.position,
            author,
            client: None,
            seq: None,
            refused: Vec::new(),
            kind,
            gesture: None,
            time: now,
            owner: None,
            steps: Vec::new(),
            changes: if changes_left_out { Vec::new() } else { applied.changes },
            changes_left_out,
            relayed: applied.relayed,
            update: Blob(update),
        }
    }
}
