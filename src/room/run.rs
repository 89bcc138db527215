//! Runs: edits of one session and one gesture, one behind the other, become one transaction, one record, one frame.
//!
//! Two kinds of edits are gathered. Those that stand one behind the other in the queue are done together. And an update or op
//! that overwrites what the same client wrote less than a tick ago waits for the next tick, or for that client's next
//! other edit: of a value that is overwritten in its own transaction nothing is left in the log. Anything else goes
//! out at once.
//!
//! A run is first tried as a whole. What the board would refuse, or put back, is done one by one instead, so that every
//! frame gets its own answer.

use std::iter::Peekable;

use bytes::Bytes;

use super::edit::{Circumstances, FULL};
use super::task::Message;
use super::yjs::YjsMessage;
use super::{Counter, Effect, Input, Room};
use crate::board::guard;
use crate::protocol::ids::{GestureId, SessionId, Timestamp};
use crate::protocol::op::Op;
use crate::protocol::{ClientFrame, ErrorCode, RecordKind, codec};

/// Edits in one transaction: its cost grows with its size.
const EDITS_MAX: usize = 64;
/// Bytes of a run: what is larger is work of its own, and what changes must fit a record.
const BYTES_MAX: usize = 64 * 1024;

/// What an edit brings.
#[derive(Debug)]
pub(super) enum Content {
    Ops(Vec<Op>),
    Update(Bytes),
}

/// One edit that asks to become a transaction.
#[derive(Debug)]
pub(super) struct Edit {
    /// Its number in the outbox; the Yjs door has none.
    pub(super) seq: Option<u64>,
    pub(super) gesture: Option<GestureId>,
    pub(super) content: Content,
}

/// Edits of one session that wait to become one transaction.
#[derive(Debug, Default)]
pub(super) struct Run {
    edits: Vec<Edit>,
    pub(super) bytes: usize,
}

/// What a session wrote last: what overwrites it soon may wait.
#[derive(Debug)]
pub(super) struct Recent {
    pub(super) at: Timestamp,
    pub(super) wrote: Wrote,
}

#[derive(Debug)]
pub(super) enum Wrote {
    /// Blocks of this client id from this clock on.
    Blocks(u64, u32),
    Ops(Vec<Op>),
}

impl Edit {
    fn bytes(&self) -> usize {
        match &self.content {
            Content::Ops(ops) => codec::pack(ops).len(),
            Content::Update(update) => update.len(),
        }
    }

    fn stands_alone(&self) -> bool {
        matches!(&self.content, Content::Ops(ops) if ops.is_empty() || ops.iter().any(Op::stands_alone))
    }

    fn overwrites(&self, wrote: &Wrote) -> bool {
        match (&self.content, wrote) {
            (Content::Ops(ops), Wrote::Ops(last)) => {
                ops.len() == last.len() && ops.iter().zip(last).all(|(op, last)| op.overwrites(last))
            }
            (Content::Update(update), &Wrote::Blocks(client, from)) => guard::walk(update)
                .is_ok_and(|walk| walk.deletes().any(|range| range.client == client && range.to > from)),
            (Content::Ops(_), Wrote::Blocks(..)) | (Content::Update(_), Wrote::Ops(_)) => false,
        }
    }

    /// Whether the next one, which stands right behind it, may be done together with it.
    fn is_followed_by(&self, next: &Self) -> bool {
        let is_same_kind = matches!(
            (&self.content, &next.content),
            (Content::Ops(_), Content::Ops(_)) | (Content::Update(_), Content::Update(_))
        );
        is_same_kind
            && self.gesture == next.gesture
            && (self.seq.is_none() && next.seq.is_none() || self.seq < next.seq)
    }
}

impl Run {
    fn takes(&self, next: &Edit, bytes: usize) -> bool {
        let last = self.edits.last();
        self.edits.len() < EDITS_MAX
            && self.bytes + bytes <= BYTES_MAX
            && last.is_none_or(|last| last.is_followed_by(next))
    }
}

impl Input {
    /// The session whose edit this is, if it is one that may be done together with others.
    pub fn editing(&self) -> Option<SessionId> {
        if let Self::Frame(id, ClientFrame::Op { .. } | ClientFrame::Update { .. })
        | Self::Yjs(id, YjsMessage::Update(_)) = self
            // What reads the state is not done together with what stands behind it.
            && !matches!(self, Self::Frame(_, ClientFrame::Op { ops, .. }) if ops.iter().any(Op::stands_alone))
        {
            Some(*id)
        } else {
            None
        }
    }
}

impl Message {
    fn editing(&self) -> Option<SessionId> {
        if let Self::Input(input) = self {
            input.editing()
        } else {
            None
        }
    }

    /// Takes along the edits of the same session that stand right behind this one.
    pub(super) fn with_followers(self, behind: &mut Peekable<impl Iterator<Item = Self>>) -> Self {
        let session = self.editing();
        let mut next = || match behind.next_if(|next| session.is_some() && next.editing() == session) {
            Some(Self::Input(input)) => Some(*input),
            Some(Self::Request(..) | Self::Behind(_) | Self::Gathered | Self::Read(_) | Self::Stop(_)) | None => None,
        };
        let Some(second) = next() else { return self };
        let mut inputs = vec![second];
        inputs.extend(std::iter::from_fn(next));
        if let Self::Input(first) = self {
            inputs.insert(0, *first);
        }
        Self::input(Input::Queued(inputs))
    }
}

impl Room {
    /// Inputs that stood one behind the other in the queue.
    pub(super) fn queued(&mut self, now: Timestamp, inputs: Vec<Input>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut inputs = inputs.into_iter().peekable();
        while let Some(input) = inputs.next() {
            let next = inputs.peek().and_then(Input::editing);
            self.has_next = next.is_some() && next == input.editing();
            effects.extend(self.handle(now, input));
        }
        effects
    }

    /// Does what must not wait behind this input: it changes who may do what, reads the board as its authors know it, or
    /// is another message of the session.
    pub(super) fn finish_runs_before(&mut self, now: Timestamp, input: &Input, effects: &mut Vec<Effect>) {
        if self.runs.is_empty() || input.editing().is_some() {
            return;
        }
        match input {
            Input::Frame(_, ClientFrame::Ephemeral(_) | ClientFrame::More { .. } | ClientFrame::Ping {})
            | Input::Yjs(_, YjsMessage::Step1(_) | YjsMessage::Awareness(_) | YjsMessage::Query)
            | Input::Queued(_)
            | Input::Behind(..)
            | Input::Appended(..)
            | Input::AppendFailed(..)
            | Input::Logged(_)
            | Input::Relayed(_) => {}
            Input::Frame(id, _)
            | Input::Yjs(id, _)
            | Input::BadFrame(id, ..)
            | Input::Refused(id, ..)
            | Input::Leave(id) => self.finish_run(now, *id, effects),
            Input::Join(_)
            | Input::Import(..)
            | Input::Grant(..)
            | Input::Info(..)
            | Input::Restored(..)
            | Input::ReadOnly(_)
            | Input::Tick
            | Input::Closing => self.finish_runs(now, effects),
        }
    }

    /// Takes an edit: it is done at once, or waits for what comes behind it.
    pub(super) fn edit(&mut self, now: Timestamp, id: SessionId, edit: Edit, effects: &mut Vec<Effect>) {
        let waits = !edit.stands_alone() && (self.has_next || self.overwrites_recent(now, id, &edit));
        let is_first = !self.runs.contains_key(&id);
        if is_first && !waits {
            return self.carry_out(now, id, vec![edit], effects);
        }
        let bytes = edit.bytes();
        if self
            .runs
            .get(&id)
            .is_some_and(|run| edit.stands_alone() || !run.takes(&edit, bytes))
        {
            self.finish_run(now, id, effects);
        }
        let run = self.runs.entry(id).or_default();
        run.edits.push(edit);
        run.bytes += bytes;
        self.waiting_bytes += bytes;
        if !waits || bytes > BYTES_MAX {
            self.finish_run(now, id, effects);
        }
    }

    fn overwrites_recent(&self, now: Timestamp, id: SessionId, edit: &Edit) -> bool {
        let Some(recent) = self.sessions.get(&id).and_then(|session| session.recent.as_ref()) else {
            return false;
        };
        let is_recent = now.since(recent.at) < self.limits.tick_ms || self.runs.contains_key(&id);
        is_recent && edit.overwrites(&recent.wrote)
    }

    /// What waits of a session is done now.
    pub(super) fn finish_run(&mut self, now: Timestamp, id: SessionId, effects: &mut Vec<Effect>) {
        if let Some(run) = self.runs.remove(&id) {
            self.waiting_bytes -= run.bytes;
            self.carry_out(now, id, run.edits, effects);
        }
    }

    /// All that waits is done now.
    pub(super) fn finish_runs(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some(id) = self.runs.keys().next().copied() {
            self.finish_run(now, id, effects);
        }
    }

    fn carry_out(&mut self, now: Timestamp, id: SessionId, mut edits: Vec<Edit>, effects: &mut Vec<Effect>) {
        edits.retain(|edit| self.may_edit(id, edit.seq, effects) && self.has_room(id, edit, effects));
        if edits.len() > 1 && self.together(now, id, &edits, effects) {
            return;
        }
        for edit in edits {
            // The first that fits nothing ends a Yjs client's session: the others come again.
            if effects
                .iter()
                .any(|effect| matches!(effect, Effect::Close(over, _) if *over == id))
            {
                effects.push(Effect::Count(Counter::Late));
                continue;
            }
            let Edit { seq, gesture, content } = edit;
            match content {
                Content::Ops(ops) => self.ops(now, id, seq.unwrap_or_default(), gesture, ops, effects),
                Content::Update(update) => self.update(now, id, seq, gesture, &update, effects),
            }
        }
    }

    /// Whether the board is small enough for these ops; updates are measured where they are merged.
    fn has_room(&mut self, id: SessionId, edit: &Edit, effects: &mut Vec<Effect>) -> bool {
        let Content::Ops(ops) = &edit.content else { return true };
        if !self.is_full() || ops.iter().all(Op::fits_always) {
            return true;
        }
        self.refuse(id, edit.seq, ErrorCode::BoardFull, FULL.into(), effects);
        false
    }

    /// Does all in one transaction; `false` if nothing was done because some of it would be refused or put back.
    fn together(&mut self, now: Timestamp, id: SessionId, edits: &[Edit], effects: &mut Vec<Effect>) -> bool {
        let Some(editor) = self.editor(now, id) else {
            return true;
        };
        let mut ops = Vec::new();
        let mut walks = Vec::new();
        for edit in edits {
            match &edit.content {
                Content::Ops(more) => ops.extend(more),
                Content::Update(update) => match guard::walk(update) {
                    Ok(walk) => walks.push(walk),
                    Err(_) => return false,
                },
            }
        }
        let kind = if walks.is_empty() {
            RecordKind::Op
        } else {
            RecordKind::Update
        };
        let applied = if kind == RecordKind::Op {
            if ops.iter().any(|op| op.role_needed() > editor.role) {
                return false;
            }
            self.board
                .apply(ops.iter().copied(), &editor, self.limits.elements_max)
                .ok()
        } else {
            guard::join(&walks).and_then(|update| self.merge_harmless(&update, &editor, id))
        };
        let Some(applied) = applied else { return false };
        let last = edits.len() - 1;
        let (ahead, seq) = (
            edits[..last].iter().filter_map(|edit| edit.seq).collect(),
            edits[last].seq,
        );
        if kind == RecordKind::Op {
            let Content::Ops(ops) = &edits[last].content else {
                return true;
            };
            self.note_ops(now, id, ops.clone());
        }
        effects.extend((0..last).flat_map(|_| [Counter::Edits, Counter::Joined].map(Effect::Count)));
        let circumstances = Circumstances {
            seq,
            ahead,
            gesture: edits[last].gesture,
            ..Circumstances::of(kind)
        };
        self.record(now, id, circumstances, applied, effects);
        true
    }

    /// What the session wrote last, in case the next one overwrites it.
    pub(super) fn note_ops(&mut self, at: Timestamp, id: SessionId, ops: Vec<Op>) {
        if let Some(session) = self.sessions.get_mut(&id) {
            let is_rewritable = ops.iter().all(|op| op.overwrites(op));
            session.recent = is_rewritable.then_some(Recent {
                at,
                wrote: Wrote::Ops(ops),
            });
        }
    }
}
