//! Updates of documents: what they are refused for, and what clients are asked for that the server lacks.

use bytes::Bytes;

use super::edit::{Audit, Circumstances, Deed, FULL};
use super::run::{Recent, Wrote};
use super::session::{Door, Offence};
use super::{Counter, Effect, Room};
use crate::board::guard::{Admission, CheckContext, Checked, Owner, Refusal, Relay};
use crate::board::rights::Editor;
use crate::board::{Applied, MergeError};
use crate::protocol::close::CloseCode;
use crate::protocol::element::EntryKind;
use crate::protocol::ids::{GestureId, Role, SessionId, Timestamp};
use crate::protocol::{ErrorCode, RecordKind};

/// Gaps of one session in a minute before it is closed.
const GAPS_MAX: usize = 3;

impl Room {
    /// An update of either door; only the own one numbers them and waits for an answer.
    pub(super) fn update(
        &mut self,
        now: Timestamp,
        id: SessionId,
        seq: Option<u64>,
        gesture: Option<GestureId>,
        update: &Bytes,
        effects: &mut Vec<Effect>,
    ) {
        let mut merged = self.merge(now, id, update, false);
        if matches!(merged, Err(MergeError::Refused(Refusal::Gap))) && !self.runs.is_empty() {
            // Tabs of one browser hear each other without us: it may build on what waits here.
            self.finish_runs(now, effects);
            merged = self.merge(now, id, update, false);
        }
        let circumstances = Circumstances {
            seq,
            gesture,
            ..Circumstances::of(RecordKind::Update)
        };
        match (merged, seq) {
            (Ok(Some(applied)), _) => self.record(now, id, circumstances, applied, effects),
            (Ok(None), seq) => self.acknowledge_unchanged(id, seq, effects),
            (Err(error), Some(seq)) => self.refuse_update(now, id, seq, error, effects),
            (Err(error), None) => self.close_for(now, id, error, effects),
        }
    }

    /// What a client of either door hands over because we lack it. Nobody waits for an answer: what was lost is sent
    /// again at the next handshake.
    pub(super) fn hand_over(&mut self, now: Timestamp, id: SessionId, update: &Bytes, effects: &mut Vec<Effect>) {
        if !self.may_merge(id, effects) {
            return;
        }
        let merged = self.merge(now, id, update, true);
        if let Some(session) = self.sessions.get_mut(&id).filter(|_| merged.is_ok()) {
            session.is_settled = true;
        }
        match merged {
            Ok(Some(applied)) => self.record(now, id, Circumstances::of(RecordKind::Update), applied, effects),
            Ok(None) => {}
            Err(error) => self.close_for(now, id, error, effects),
        }
    }

    /// Whether what comes without a number may go on.
    pub(super) fn may_merge(&mut self, id: SessionId, effects: &mut Vec<Effect>) -> bool {
        let Some(session) = self.sessions.get(&id) else {
            return false;
        };
        if session.role < Role::Editor {
            effects.push(Effect::Count(Counter::ViewerEdits));
            return false;
        }
        if !session.is_level {
            effects.push(Effect::Count(Counter::Late));
            return false;
        }
        if self.read_only.is_some() {
            effects.push(Effect::Count(Counter::Refusals(ErrorCode::ReadOnly)));
            return false;
        }
        if self.is_node_busy || self.saving.pending_bytes() >= self.limits.pending_bytes_board_max {
            effects.push(Effect::Count(Counter::Refusals(ErrorCode::Busy)));
            effects.push(Effect::Close(id, CloseCode::TryLater));
            return false;
        }
        true
    }

    fn refuse_update(&mut self, now: Timestamp, id: SessionId, seq: u64, error: MergeError, effects: &mut Vec<Effect>) {
        match error {
            MergeError::Refused(Refusal::ForeignClient { blocks }) => {
                self.audit(id, Deed::ForeignClient, blocks, effects);
                effects.push(Effect::Close(id, CloseCode::ForeignClient));
            }
            MergeError::Refused(Refusal::Gap) => {
                let message = "the update builds on what is not here: send `resync` with all that we lack".into();
                self.refuse(id, Some(seq), ErrorCode::NeedsResync, message, effects);
                self.gap(now, id, effects);
            }
            MergeError::BoardFull => {
                self.refuse(id, Some(seq), ErrorCode::BoardFull, FULL.into(), effects);
            }
            MergeError::TooLarge => self.refuse(id, Some(seq), ErrorCode::TooLarge, error.to_string(), effects),
            error @ (MergeError::Malformed(_)
            | MergeError::Undecodable
            | MergeError::Refused(Refusal::Shape(_) | Refusal::Later { .. })) => {
                self.bad_frame(now, id, error.to_string(), Some(seq), effects);
            }
        }
    }

    fn close_for(&mut self, now: Timestamp, id: SessionId, error: MergeError, effects: &mut Vec<Effect>) {
        let code = match error {
            MergeError::Refused(Refusal::Gap) => return self.gap(now, id, effects),
            MergeError::Refused(Refusal::ForeignClient { blocks }) => {
                self.audit(id, Deed::ForeignClient, blocks, effects);
                CloseCode::ForeignClient
            }
            MergeError::Refused(Refusal::Later { .. }) => CloseCode::NeedsResync,
            MergeError::Refused(Refusal::Shape(_)) | MergeError::BoardFull | MergeError::TooLarge => {
                CloseCode::BadShape
            }
            MergeError::Malformed(_) | MergeError::Undecodable => CloseCode::Malformed,
        };
        effects.push(Effect::Count(Counter::Refusals(ErrorCode::BadOp)));
        effects.push(Effect::Close(id, code));
    }

    /// Asks a client for what we lack; one that does so again and again must connect anew. On our own door it was asked
    /// at the handshake: what it sends before its answer may well build on what we lack.
    fn gap(&mut self, now: Timestamp, id: SessionId, effects: &mut Vec<Effect>) {
        effects.push(Effect::Count(Counter::Refusals(ErrorCode::NeedsResync)));
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let is_expected = session.door != Door::Yjs && !session.is_settled;
        if !is_expected && session.strike(Offence::Gap, now) >= GAPS_MAX {
            effects.push(Effect::Close(id, CloseCode::NeedsResync));
        } else if session.door == Door::Yjs {
            effects.push(Effect::Send(id, super::yjs::step1(&self.board.state_vector())));
        }
    }

    /// Checks and merges; `None` if all of it was known.
    fn merge(
        &mut self,
        now: Timestamp,
        id: SessionId,
        update: &Bytes,
        is_handover: bool,
    ) -> Result<Option<Applied>, MergeError> {
        let Some(editor) = self.editor(now, id) else {
            return Ok(None);
        };
        let admitted = self.admit(id, update, is_handover, &editor);
        if let Err(MergeError::BoardFull) = admitted {
            self.saving.doubt_size();
        }
        let Some(admission) = admitted? else {
            return Ok(None);
        };
        let applied = self.board.merge(update, &admission, &editor)?;
        if !is_handover {
            self.note_blocks(now, id, &admission);
        }
        Ok(applied.update.is_some().then_some(applied))
    }

    /// The same for updates that were joined; nothing is done and nothing told unless all of it may stay as it is.
    pub(super) fn merge_harmless(&mut self, update: &[u8], editor: &Editor, id: SessionId) -> Option<Applied> {
        let admission = match self.admit(id, update, false, editor) {
            Ok(Some(admission)) => admission,
            Ok(None) => return Some(Applied::default()),
            Err(_) => return None,
        };
        if self.board.puts_back(&admission, editor) {
            return None;
        }
        let applied = self.board.merge(update, &admission, editor).ok()?;
        self.note_blocks(editor.now, id, &admission);
        Some(applied)
    }

    /// What the update brings, if it may be merged; `None` if all of it is known.
    fn admit(
        &self,
        id: SessionId,
        update: &[u8],
        is_handover: bool,
        editor: &Editor,
    ) -> Result<Option<Admission>, MergeError> {
        let context = CheckContext {
            user: &editor.user,
            is_handover,
            // A client that hands over all it has shows by its awareness which part of that it made itself.
            may_bind: &|client| !is_handover || self.presence.speaks_for(id, client),
            may_relay: &|client| if is_handover { self.may_relay(client) } else { Relay::No },
        };
        let Checked::New(admission) = self.board.check(update, &context)? else {
            return Ok(None);
        };
        let index = self.board.index();
        let elements = index.entry_count(EntryKind::Element) + admission.new_entries(EntryKind::Element);
        let is_full = admission.new_entries(EntryKind::Element) > 0 && elements > self.limits.elements_max;
        let new_clients = admission.advances.iter().filter(|(_, from, _)| *from == 0);
        let clients = index.client_count() + new_clients.count();
        let is_too_large = self.board.document_bytes() + update.len() > self.limits.document_bytes_max;
        if is_full || is_too_large || clients > self.limits.document_clients_max {
            return Err(MergeError::BoardFull);
        }
        Ok(Some(admission))
    }

    /// Remembers what the session wrote last, and under which client id.
    fn note_blocks(&mut self, at: Timestamp, id: SessionId, admission: &Admission) {
        let newest = admission.advances.last();
        if let (Some(session), Some(&(client, from, _))) = (self.sessions.get_mut(&id), newest) {
            session.document = Some(client);
            let wrote = Wrote::Blocks(client, from);
            session.recent = Some(Recent { at, wrote });
        }
    }

    pub(super) fn audit(&self, id: SessionId, deed: Deed, blocks: Vec<(u64, u32, u32)>, effects: &mut Vec<Effect>) {
        if let Some(session) = self.sessions.get(&id) {
            let user = session.user.clone();
            effects.push(Effect::Audit(Audit { user, deed, blocks }));
        }
    }

    /// Whether blocks that a crash took back here may come from those who saw them. Not while their owner is here and
    /// has not handed over all of the own document yet, or goes on under that client id; never blocks of this room, which
    /// has them all.
    fn may_relay(&self, client: u64) -> Relay {
        let owner = match self.board.index().owner(client) {
            Some(Owner::Server) if client == self.board.replica() => return Relay::No,
            Some(Owner::Server) | None => return Relay::Yes,
            Some(Owner::User(owner)) => owner,
        };
        let mut theirs = self
            .sessions
            .iter()
            .filter(|(_, session)| session.user == *owner && session.role >= Role::Editor);
        let may_bring = theirs.any(|(id, session)| {
            !session.is_settled || session.document == Some(client) || self.presence.speaks_for(*id, client)
        });
        if may_bring { Relay::Later } else { Relay::Yes }
    }
}
