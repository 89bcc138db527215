//! Records on their way to the log: what is acknowledged, held back, tried again, and when a keyframe is due.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::ring::{Frame, Lacks};
use super::session::Door;
use super::unchanged::Unchanged;
use super::{Counter, Effect, Room, yjs};
use crate::log::Logged;
use crate::protocol::codec;
use crate::protocol::ids::{ClientId, Position, RecordId, SessionId, Timestamp};
use crate::protocol::{Record, RecordKind, ServerFrame, Undone};
use crate::store::{StoredKeyframe, keyframe_due_bytes};

/// Life of what a crash could still take back, before others are shown it all the same: a lesson goes on while the log
/// is away.
const HOLD_MS: u64 = 1_000;
/// Time between two attempts to append what failed.
const RETRY_MS: u64 = 500;
/// Time between two `saved` frames: people read them, not programs.
const SAVED_INTERVAL_MS: u64 = 250;
/// Frames of a session that changed nothing and wait behind one record for their `ack`s: more than a client sends without
/// an answer. The `ack` of a newer one speaks for those that are dropped.
const BEHIND_MAX: usize = 1_024;
/// Elements deleted for longer than this, alone or with their page, are purged.
const PURGE_AGE_MS: u64 = 24 * 60 * 60 * 1000;
/// Elements in one purge: it stays far below 20 ms.
const PURGE_ELEMENTS_MAX: usize = 200;

/// Why an append did not come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendFault {
    /// It may go through later.
    TryAgain,
    /// The log will never take this record.
    Never,
}

/// Who hears that a record is durable, and what.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) session: SessionId,
    /// Numbers of frames that the record holds beside the one it names, which is the last of them.
    pub(super) ahead: Vec<u64>,
    pub(super) undone: Option<Undone>,
}

/// A record of this room that is not both durable and read back yet.
struct Pending {
    record: Arc<Record>,
    bytes: usize,
    reply: Reply,
    /// Frames that changed nothing, and came after this one: the newest [`BEHIND_MAX`] of each session.
    behind: BTreeSet<(SessionId, Option<u64>)>,
    position: Option<Position>,
    is_read_back: bool,
}

/// What waits for the log.
pub(super) struct Saving {
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    /// What must not be seen before the record of that number is durable, and all frames behind it.
    held: VecDeque<(u64, Timestamp, Effect)>,
    unchanged: Unchanged,
    in_flight: usize,
    /// Since when appends fail.
    failing: Option<Timestamp>,
    saved: Option<(RecordId, Position)>,
    /// When `saved` was told last.
    saved_told: Timestamp,
    is_saved_told: bool,
    tail_bytes: usize,
    /// Whether keyframes are this room's to write; else its tail just grows.
    is_keeper: bool,
    /// The document seems to be too large, by updates of which nobody knows what is left.
    is_size_doubted: bool,
    /// The tail with which the document was measured without a keyframe.
    measured_tail_bytes: usize,
}

impl Saving {
    pub(super) fn new(tail_bytes: usize) -> Self {
        Self {
            pending: VecDeque::new(),
            pending_bytes: 0,
            held: VecDeque::new(),
            unchanged: Unchanged::default(),
            in_flight: 0,
            failing: None,
            saved: None,
            saved_told: Timestamp(0),
            is_saved_told: true,
            tail_bytes,
            is_keeper: true,
            is_size_doubted: false,
            measured_tail_bytes: 0,
        }
    }

    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Client ids and first clocks of the blocks in frames that are held back.
    pub(super) fn held_blocks(&self) -> impl Iterator<Item = (u64, u32)> {
        let frames = self.held.iter().filter_map(|(.., effect)| {
            if let Effect::FanOut(frame) = effect {
                Some(frame)
            } else {
                None
            }
        });
        frames.flat_map(|frame| frame.advances.iter().map(|&(client, from, _)| (client, from)))
    }

    /// Own records that the log has not brought back yet.
    pub(super) fn unread(&self) -> impl Iterator<Item = &Record> {
        self.pending
            .iter()
            .filter(|pending| !pending.is_read_back)
            .map(|pending| &*pending.record)
    }

    /// Whether there is something to do by the clock soon.
    pub(super) fn is_restless(&self) -> bool {
        !self.is_saved_told || !self.held.is_empty() || self.failing.is_some()
    }

    /// An update was refused because the document would be too large: it is to be measured.
    pub(super) fn doubt_size(&mut self) {
        self.is_size_doubted = true;
    }

    /// Whether there is a keyframe to write.
    pub(super) fn has_tail(&self) -> bool {
        self.is_keeper && self.tail_bytes > 0
    }
}

impl Room {
    /// Keyframes of the board are this room's to write, or another's from now on.
    pub fn set_keeper(&mut self, is_keeper: bool) {
        self.saving.is_keeper = is_keeper;
    }

    /// Hands a record to the log, and its frame to the others: at once, or when it is durable.
    ///
    /// Blocks that this server made itself must not be seen before they are durable: a crash would take them back
    /// here, but not from a Yjs client, which would bring them again beside the op that its author sends again.
    pub(super) fn commit(
        &mut self,
        now: Timestamp,
        record: Record,
        reply: Reply,
        (frame, is_server_made): (Option<Frame>, bool),
        effects: &mut Vec<Effect>,
    ) {
        let record = Arc::new(record);
        let bytes = record.update.0.len() + 64 * record.changes.len() + 256;
        self.board.note_seq(&record);
        self.forget_unchanged(&record);
        if let Some(frame) = frame {
            if is_server_made || !self.saving.held.is_empty() {
                self.saving.held.push_back((record.id.1, now, Effect::FanOut(frame)));
            } else {
                effects.push(Effect::FanOut(frame));
            }
        }
        self.saving.pending_bytes += bytes;
        self.saving.pending.push_back(Pending {
            record: Arc::clone(&record),
            bytes,
            reply,
            behind: BTreeSet::new(),
            position: None,
            is_read_back: false,
        });
        if self.saving.failing.is_none() {
            self.saving.in_flight += 1;
            effects.push(Effect::Append(record));
        }
    }

    pub(super) fn appended(&mut self, number: u64, position: Position, effects: &mut Vec<Effect>) {
        self.saving.in_flight = self.saving.in_flight.saturating_sub(1);
        let Some(index) = self.index_of(number) else { return };
        let pending = &mut self.saving.pending[index];
        if pending.position.replace(position).is_some() {
            return;
        }
        let (id, reply) = (pending.record.id, pending.reply.clone());
        let (client, seq) = (pending.record.client, pending.record.seq);
        let behind = std::mem::take(&mut pending.behind);
        let door = self.sessions.get(&reply.session).map(|session| session.door);
        let is_request = matches!(door, Some(Door::Request { .. }));
        // Who has connected anew hears of it there; a request is answered itself.
        let session = client
            .filter(|_| !is_request)
            .and_then(|client| self.clients.get(&client).copied())
            .unwrap_or(reply.session);
        self.saving.saved = Some((id, position));
        self.saving.is_saved_told = false;
        for ahead in reply.ahead {
            self.acknowledge(session, Some(ahead), position, None, effects);
        }
        self.acknowledge(session, seq, position, reply.undone, effects);
        for (session, seq) in behind {
            self.acknowledge(session, seq, position, None, effects);
        }
        while self.saving.held.front().is_some_and(|(held, ..)| *held <= number) {
            effects.extend(self.saving.held.pop_front().map(|(.., effect)| effect));
        }
        self.release();
    }

    /// What was made out of all that is on the board now waits behind what is held back.
    pub(super) fn show_durable(&mut self, effect: Effect, effects: &mut Vec<Effect>) {
        match self.saving.held.back() {
            Some(&(number, since, _)) => self.saving.held.push_back((number, since, effect)),
            None => effects.push(effect),
        }
    }

    /// One difference instead of a backlog.
    pub(super) fn bring_level(&mut self, id: SessionId, lacks: &Lacks, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(&id) else { return };
        let mut lacks = lacks.clone();
        // What is held back is on the board, and in no frame of the ring yet.
        for (client, from) in self.saving.held_blocks() {
            let lacked = lacks.entry(client).or_insert(from);
            *lacked = from.min(*lacked);
        }
        let known = self.board.index().state_vector();
        let vector: Vec<_> = known
            .map(|(client, next)| (client, lacks.get(&client).map_or(next, |from| next.min(*from))))
            .collect();
        let bytes = match session.door {
            Door::Yjs => yjs::update(&self.board.diff(vector)),
            Door::Own { format, document, .. } => codec::encode_server(format, &self.resync(document, vector, false)),
            Door::Request { .. } => return,
        };
        effects.push(Effect::Mark(id));
        effects.push(Effect::Count(Counter::Levels));
        self.show_durable(Effect::Level(id, vec![bytes]), effects);
    }

    /// A frame changed nothing: it is acknowledged once all before it is durable, because an `ack` speaks for all up
    /// to it, and because what it found may be on its way itself.
    pub(super) fn acknowledge_unchanged(&mut self, id: SessionId, seq: Option<u64>, effects: &mut Vec<Effect>) {
        let Some(door) = self.sessions.get(&id).map(|session| session.door) else {
            return;
        };
        if seq.is_none() && !matches!(door, Door::Request { .. }) {
            return;
        }
        if let (Some(client), Some(seq)) = (door.client(), seq)
            && seq > self.taken(client)
        {
            self.saving.unchanged.note(client, seq);
        }
        let mut unsaved = self.saving.pending.iter_mut().rev();
        match unsaved.find(|pending| pending.position.is_none()) {
            Some(last) => {
                last.behind.insert((id, seq));
                let mut own = last.behind.range((id, None)..=(id, Some(u64::MAX))).copied();
                let oldest = own.next();
                if let Some(oldest) = oldest.filter(|_| own.count() >= BEHIND_MAX) {
                    last.behind.remove(&oldest);
                }
            }
            None => self.acknowledge(id, seq, self.position, None, effects),
        }
    }

    /// Highest `seq` of a client that was taken: of those that changed nothing only this room knows, until the next
    /// record of the client says so to all.
    pub(super) fn taken(&self, client: ClientId) -> u64 {
        self.board.outboxes().seq(client).max(self.saving.unchanged.seq(client))
    }

    fn forget_unchanged(&mut self, record: &Record) {
        if let (Some(client), Some(seq)) = (record.client, record.seq) {
            self.saving.unchanged.forget(client, seq);
        }
    }

    /// Tells the author that all up to `seq` is kept; what has no number is answered to a request alone.
    fn acknowledge(
        &self,
        id: SessionId,
        seq: Option<u64>,
        position: Position,
        undone: Option<Undone>,
        effects: &mut Vec<Effect>,
    ) {
        match (self.sessions.get(&id).map(|session| session.door), seq) {
            (Some(Door::Own { format, .. }), Some(seq)) => {
                let frame = ServerFrame::Ack { seq, position, undone };
                effects.push(Effect::Send(id, codec::encode_server(format, &frame)));
            }
            (Some(Door::Request { .. }), _) => effects.push(Effect::Answer(id, Ok((position, undone)))),
            (Some(Door::Own { .. } | Door::Yjs) | None, _) => {}
        }
    }

    pub(super) fn append_failed(&mut self, now: Timestamp, number: u64, fault: AppendFault, effects: &mut Vec<Effect>) {
        self.saving.in_flight = self.saving.in_flight.saturating_sub(1);
        match fault {
            AppendFault::TryAgain => {
                self.saving.failing.get_or_insert(now);
            }
            // The document has it and the log never will: only a rebuild makes them one again.
            AppendFault::Never if self.index_of(number).is_some() => effects.push(Effect::Rebuild),
            AppendFault::Never => {}
        }
    }

    /// A record of the log in its place: an own one moves position and stacks, another's is merged and shown.
    pub(super) fn logged(&mut self, logged: &Logged, effects: &mut Vec<Effect>) {
        let record = &logged.record;
        self.position = self.position.max(logged.position);
        self.saving.tail_bytes += record.update.0.len();
        let is_own = record.id.0 == self.board.replica();
        if !self.board.note(record, logged.position) {
            return;
        }
        if is_own {
            if let Some(index) = self.index_of(record.id.1) {
                self.saving.pending[index].is_read_back = true;
                self.board.settle(record);
            }
            self.release();
            return;
        }
        if let (Some(client), Some(seq)) = (record.client, record.seq) {
            self.refusals.take(client, seq);
            self.saving.unchanged.forget(client, seq);
        }
        if let Some(gesture) = record.gesture {
            self.presence.committed_elsewhere(gesture, record.id);
        }
        match self.board.merge_record(record) {
            Ok(applied) => {
                if let Some(update) = applied.update {
                    // It was merged behind what is held back: some of it may have lost against that.
                    let frame = self.frame(record, &update, &applied.changes, Some(logged.position), None);
                    self.show_durable(Effect::FanOut(frame), effects);
                }
            }
            Err(_) => effects.push(Effect::Rebuild),
        }
    }

    /// What is due by the clock: held frames, another attempt, «saved», purge and keyframe. A clock that was set back
    /// makes it due early, not late.
    pub(super) fn save_tick(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while self
            .saving
            .held
            .front()
            .is_some_and(|(_, since, _)| now.0.abs_diff(since.0) >= HOLD_MS)
        {
            effects.extend(self.saving.held.pop_front().map(|(.., effect)| effect));
        }
        if self
            .saving
            .failing
            .is_some_and(|since| now.0.abs_diff(since.0) >= RETRY_MS)
            && self.saving.in_flight == 0
        {
            self.saving.failing = None;
            let again = self.saving.pending.iter().filter(|pending| pending.position.is_none());
            let again: Vec<_> = again
                .map(|pending| Effect::Append(Arc::clone(&pending.record)))
                .collect();
            self.saving.in_flight = again.len();
            effects.extend(again);
        }
        let is_due = !self.saving.is_saved_told && now.0.abs_diff(self.saving.saved_told.0) >= SAVED_INTERVAL_MS;
        if let Some((id, position)) = self.saving.saved.filter(|_| is_due) {
            self.saving.is_saved_told = true;
            self.saving.saved_told = now;
            effects.extend(
                self.own_frame(&ServerFrame::Saved { id, position }, false)
                    .map(Effect::FanOut),
            );
        }
        let tail = self.saving.tail_bytes;
        if self.must_measure() {
            self.board.measure();
            self.saving.measured_tail_bytes = tail;
            self.saving.is_size_doubted = false;
        }
        let keyframe = if self.seems_full() {
            0
        } else {
            self.board.keyframe_bytes().saturating_sub(tail)
        };
        if tail >= keyframe_due_bytes(keyframe) {
            self.make_keyframe(now, effects);
        }
    }

    fn seems_full(&self) -> bool {
        self.is_full() || self.saving.is_size_doubted
    }

    /// Whether the document is to be measured by a room that writes no keyframes, which would tell its size.
    pub(super) fn must_measure(&self) -> bool {
        let since = self.saving.tail_bytes.saturating_sub(self.saving.measured_tail_bytes);
        !self.saving.is_keeper && self.seems_full() && since >= keyframe_due_bytes(0)
    }

    /// A keyframe, if it is this room's to write and no own record is on its way; a purge goes first and the keyframe follows it.
    pub(super) fn make_keyframe(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if !self.saving.is_idle() || !self.saving.has_tail() {
            return;
        }
        let purged = self
            .board
            .purge(Timestamp(now.0.saturating_sub(PURGE_AGE_MS)), PURGE_ELEMENTS_MAX);
        if purged.update.is_some() {
            let author = self.server_user.clone();
            self.commit_applied(now, RecordKind::Purge, &author, purged, effects);
            return;
        }
        let bytes = self.board.keyframe(self.position, now);
        self.saving.tail_bytes = 0;
        self.saving.measured_tail_bytes = 0;
        self.saving.is_size_doubted = false;
        effects.push(Effect::StoreKeyframe(StoredKeyframe {
            position: self.position,
            bytes,
        }));
    }

    fn index_of(&self, number: u64) -> Option<usize> {
        self.saving
            .pending
            .iter()
            .position(|pending| pending.record.id.1 == number)
    }

    fn release(&mut self) {
        while self
            .saving
            .pending
            .front()
            .is_some_and(|first| first.position.is_some() && first.is_read_back)
        {
            let first = self.saving.pending.pop_front().expect("the queue has a first");
            self.saving.pending_bytes -= first.bytes;
        }
    }
}
